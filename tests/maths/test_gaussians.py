"""What the Gaussian formulas refuse, and the ends of the mixture's formulas."""

import pytest
import torch

from sfumato.errors import ShapeError
from sfumato.maths.gaussians import frechet_distance
from sfumato.maths.mixture import Mixture
from sfumato.maths.moments import Moments


def moments(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    found = Moments.of(x)
    return found.mean, found.covariance


MEANS, WEIGHTS = torch.tensor([[0.5, 0.0], [-0.5, 0.2]]), torch.tensor([0.5, 0.5])


@pytest.mark.parametrize("shape", [(1, 4), (0, 4), (5,), (2, 3, 4)])
def test_no_covariance(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"at least 2|vectors"):
        moments(torch.zeros(shape))


def test_parts_that_do_not_fit() -> None:
    eye, zero = torch.eye(3), torch.zeros(3)
    for parts in ((zero, eye, zero[:2], eye), (zero, eye, zero, eye[:2]), (zero[:2], eye, zero, eye)):
        with pytest.raises(ShapeError, match="two means"):
            frechet_distance(*parts)


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite(place: int, value: float) -> None:
    parts = [torch.zeros(2), torch.eye(2), torch.zeros(2), torch.eye(2)]
    parts[place].view(-1)[0] = value
    with pytest.raises(ValueError, match="not finite"):
        frechet_distance(*parts)


def test_moments_do_not_depend_on_the_order() -> None:
    x = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    for one, two in zip(moments(x), moments(x.flip(0)), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-14)


def test_nothing_is_left_to_guess_without_noise() -> None:
    x = torch.tensor([[0.4, 0.1], [0.0, 0.0]])
    torch.testing.assert_close(Mixture.round(WEIGHTS, MEANS, 0.1).denoised(x, 1.0, 0.0), x.double())


def test_pure_noise_says_the_mean() -> None:
    weights = torch.tensor([0.9, 0.1])
    made = Mixture.round(weights, MEANS, 0.1).denoised(torch.randn(5, 2), 1e-6, 1.0)
    torch.testing.assert_close(made, (weights[:, None] * MEANS).sum(0).double().expand(5, 2), atol=1e-4, rtol=0)


def test_far_away_the_score_points_home_and_stays_finite() -> None:
    x = torch.tensor([[1e4, 0.0], [0.0, -1e4]])
    score = Mixture.round(WEIGHTS, MEANS, 0.1).score(x, 0.5**0.5, 0.5**0.5)
    assert bool(score.isfinite().all()) and float(score[0, 0]) < 0 < float(score[1, 1])
