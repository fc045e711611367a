"""The semi-discrete dual against POT's exact transport, and closed forms."""

from __future__ import annotations

import numpy as np
import ot
import pytest
import torch

from sfumato.maths.transport import Cost, ascend, assigned, dual
from sfumato.streams import stream


def solved(x: torch.Tensor, y: torch.Tensor, cost: Cost, **settings: float) -> torch.Tensor:
    rng = stream(0, "draw")

    def draw(n: int) -> torch.Tensor:
        return x[torch.randint(len(x), (n,), generator=rng)]

    *_, (_, v) = ascend(draw, y, cost=cost, **settings)  # type: ignore[arg-type]
    return v


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("d", [2, 10])
def test_the_dual_is_within_one_percent_of_pot(power: int, d: int) -> None:
    """The source is a finite sample that is drawn from again and again, so that POT can solve the same problem exactly."""
    x = torch.randn(1000, d, generator=stream(0, "x"), dtype=torch.float64)
    y = 0.7 * torch.randn(60, d, generator=stream(0, "y"), dtype=torch.float64) + 1.0
    cost = Cost(power)
    matrix = ot.dist(x.numpy(), y.numpy(), metric="euclidean" if power == 1 else "sqeuclidean")
    exact = ot.emd2(np.full(1000, 1e-3), np.full(60, 1 / 60), matrix)
    v = solved(x, y, cost, steps=4000, batch=256, rate=0.5)
    found = float(dual(x, y, v, cost=cost))
    assert found <= exact + 1e-9, "a dual value is never above the cost"
    assert found == pytest.approx(exact, rel=0.01)


def test_cells_have_the_weights_of_their_points() -> None:
    x = torch.rand(4000, 1, generator=stream(0, "x"), dtype=torch.float64)
    y, weights = torch.tensor([[0.1], [0.2], [0.9]], dtype=torch.float64), torch.tensor([0.5, 0.3, 0.2]).double()
    rng = stream(1, "draw")
    *_, (_, v) = ascend(
        lambda n: x[torch.randint(len(x), (n,), generator=rng)], y, steps=3000, rate=0.2, weights=weights
    )
    share = torch.bincount(assigned(x, y, v)[0], minlength=3) / len(x)
    np.testing.assert_allclose(share.numpy(), weights.numpy(), atol=0.02)


def test_without_potentials_everybody_goes_to_the_nearest() -> None:
    x, y = torch.randn(50, 3, generator=stream(0, "x")), torch.randn(7, 3, generator=stream(0, "y"))
    for power in (1, 2):
        place, value = assigned(x, y, torch.zeros(7), Cost(power))
        distance = np.linalg.norm(x.numpy()[:, None] - y.numpy()[None], axis=2)
        np.testing.assert_array_equal(place.numpy(), distance.argmin(1))
        np.testing.assert_allclose(value.numpy(), distance.min(1) ** power, rtol=1e-4, atol=1e-4)
