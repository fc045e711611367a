"""MIND against its closed form for shifted Gaussians, against POT on one direction, and as a metric."""

import numpy as np
import ot
import pytest
import torch
from torch import Tensor

from sfumato.errors import ShapeError
from sfumato.features.lite0 import Lite0
from sfumato.metrics.distribution import Sample
from sfumato.metrics.mind import MIND, directions, mind
from sfumato.streams import stream


def normal(n: int, d: int, *name: str) -> Tensor:
    return torch.randn(n, d, generator=stream(0, *name))


@pytest.mark.parametrize(("d", "shift"), [(4, 1.0), (32, 0.3)])
def test_shifted_gaussians_have_their_closed_form(d: int, shift: float) -> None:
    x, y = normal(8_000, d, "x"), normal(8_000, d, "y") + shift
    floor = mind(x, normal(8_000, d, "z"))
    assert mind(x, y) - floor == pytest.approx(3 * d * shift**2, rel=0.1)
    assert floor < 0.03 * d
    assert mind(x[:2_000], x[:2_000] + shift, 4000) == pytest.approx(3 * d * shift**2, rel=0.05)


def test_scaled_gaussians_too() -> None:
    x = normal(5000, 8, "x")
    # W2^2 of N(0, 1) and N(0, s^2) is (s - 1)^2 along any direction; here with the sample's own second moment.
    u = directions(8, 1000)
    wanted = 3 * 8 * 0.25 * float((x.double() @ u).square().mean())
    assert mind(x, 1.5 * x) == pytest.approx(wanted, rel=1e-6)


def test_one_direction_is_pot_s() -> None:
    x, y = normal(300, 6, "x"), normal(300, 6, "y") * 2 + 1
    u = directions(6, 1)[:, 0]
    assert float(u.norm()) == pytest.approx(1)
    a, b = ((part.double() @ u).numpy() for part in (x, y))
    assert mind(x, y, 1) == pytest.approx(18 * ot.emd2_1d(a, b, metric="sqeuclidean"), rel=1e-9)


def test_many_directions_are_the_mean_of_each() -> None:
    x, y, u = normal(50, 5, "x"), normal(50, 5, "y"), directions(5, 300)
    each = [np.mean((np.sort(x.double() @ u[:, i]) - np.sort(y.double() @ u[:, i])) ** 2) for i in range(300)]
    assert mind(x, y, 300) == pytest.approx(15 * np.mean(each), rel=1e-9)


def test_order_does_not_matter_and_the_larger_set_is_cut() -> None:
    x, y = normal(80, 5, "x"), normal(120, 5, "y")
    assert mind(x, y) == pytest.approx(mind(x.flip(0), y.flip(0)), rel=1e-9)
    assert mind(x, x) == 0
    with pytest.raises(ShapeError, match="at least 2"):
        mind(x[:1], y)


def test_replicates_of_pairs_share_what_is_drawn() -> None:
    metric = MIND(MIND.Config(features=Lite0.Config(layer="b4")))
    real, noise = normal(400, 10, "real"), 0.1 * normal(400, 10, "noise")
    (near,) = metric.judge(Sample.of(real + noise), Sample.of(real, paired=True))
    (apart,) = metric.judge(Sample.of(real + noise), Sample.of(real))
    assert near.value == apart.value and near.label == "MIND-lite0-b4"
    assert np.std(near.samples) < 0.5 * np.std(apart.samples)
    assert near.low is not None and 0 <= near.low < near.value < near.high
    assert near.card["noise_floor"]["n"] == 200


def test_it_sees_what_a_gaussian_does_not() -> None:
    """Two points against a Gaussian of the same mean and variance."""
    x = normal(4000, 1, "x")
    y = torch.where(normal(4000, 1, "y") > 0, 1.0, -1.0)
    assert mind(x, y) > 0.5 > mind(x, normal(4000, 1, "z"))
