"""The mixture of Gaussians: shapes, moments against the closed form, and settings that would bend it."""

import pytest
import torch

from sfumato.config import load
from sfumato.data.toy import Toy
from sfumato.errors import ConfigError
from sfumato.images import to_float


def test_parts_are_points_of_two_channels() -> None:
    data = Toy(Toy.Config(n=1_000)).load()
    assert [len(part) for part in (data.train, data.validation, data.test)] == [800, 100, 100]
    assert data.train.images.shape[1:] == (2, 1, 1) and data.train.images.dtype == torch.uint8
    assert data.spec.model_dump() == {"channels": 2, "size": (1, 1), "classes": 8, "condition": 0}


def test_the_draw_is_fixed() -> None:
    one, two = Toy(Toy.Config()).load(), Toy(Toy.Config()).load()
    assert torch.equal(one.test.images, two.test.images)
    assert one.test.labels is not None and two.test.labels is not None and torch.equal(one.test.labels, two.test.labels)
    assert not torch.equal(one.validation.images, one.test.images)


def test_points_follow_the_mixture_that_it_states() -> None:
    toy = Toy(Toy.Config(modes=3, n=60_000))
    means, sigma, weights = toy.mixture()
    train = toy.load().train
    points = to_float(train.images).flatten(1)
    assert torch.allclose((means - means.roll(1, 0)).norm(dim=1), torch.full((3,), 0.7 * 3**0.5))  # evenly spaced
    assert torch.allclose(means.norm(dim=1), torch.full((3,), 0.7)) and weights.sum() == pytest.approx(1)
    for mode in range(3):
        own = points[train.labels == mode]
        # 16,000 points a mode: the mean is known to sigma / 126, the deviation to sigma / 180, so four of these
        assert len(own) / len(points) == pytest.approx(float(weights[mode]), abs=0.01)
        assert torch.allclose(own.mean(0), means[mode], atol=4 * sigma / 126)
        assert torch.allclose(own.std(0), torch.full((2,), sigma), atol=4 * sigma / 180)


@pytest.mark.parametrize("values", [{"radius": 0.9}, {"sigma": 0.1}])
def test_a_mixture_that_would_be_clamped_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"radius \+ 4 sigma may be at most 1") as caught:
        load(Toy.Config, values)
    assert "\n" not in str(caught.value)
