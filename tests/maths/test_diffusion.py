"""The algebra of a diffusion: each formula undoes another, and the three predictions say one thing."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sfumato.families.predictions import Prediction
from sfumato.kinds import build, discover, parse
from sfumato.maths.diffusion import diffuse, eps_from_x_0, posterior, velocity, x_0_from_eps, x_0_from_velocity

PREDICTIONS = sorted(discover(Prediction))


def drawn(seed: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(3, 2, 4, 4, generator=rng, dtype=torch.float64) for _ in range(2))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(0.01, 0.99))
def test_each_formula_undoes_another(seed: int, level: float) -> None:
    x_0, eps = drawn(seed)
    alpha_bar = torch.tensor(level, dtype=torch.float64)
    x_t = diffuse(x_0, eps, alpha_bar)
    torch.testing.assert_close(x_0_from_eps(x_t, eps, alpha_bar), x_0)
    torch.testing.assert_close(eps_from_x_0(x_t, x_0, alpha_bar), eps)
    v = velocity(x_0, eps, alpha_bar)
    torch.testing.assert_close(x_0_from_velocity(x_t, v, alpha_bar), x_0)
    # (x_t, v) is (x_0, eps) rotated: lengths stay.
    torch.testing.assert_close(x_t.square() + v.square(), x_0.square() + eps.square())


@pytest.mark.parametrize("name", PREDICTIONS)
@pytest.mark.parametrize("level", [0.02, 0.5, 0.98])
def test_a_perfect_network_gives_back_the_image(name: str, level: float) -> None:
    prediction = build(parse(Prediction, name))
    x_0, eps = drawn(0)
    alpha_bar = torch.tensor([level, 0.3, 0.7], dtype=torch.float64).view(3, 1, 1, 1)
    target = prediction.target(x_0, eps, alpha_bar)
    torch.testing.assert_close(prediction.x_0(target, diffuse(x_0, eps, alpha_bar), alpha_bar), x_0)


def test_predictions_differ() -> None:
    x_0, eps = drawn(0)
    targets = [build(parse(Prediction, n)).target(x_0, eps, torch.tensor(0.4).double()) for n in PREDICTIONS]
    assert all(not torch.allclose(a, b) for i, a in enumerate(targets) for b in targets[:i])


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 0.9), st.floats(0.01, 0.99))
def test_the_posterior_in_two_steps_is_the_posterior(level: float, share: float) -> None:
    # x_t -> x_s has the marginal q(x_s | x_0) when x_t has q(x_t | x_0): mean and variance, by the law of total variance.
    a_t = torch.tensor(level, dtype=torch.float64)
    a_s = a_t + (1 - a_t) * share
    x_0 = torch.tensor(0.7, dtype=torch.float64)
    at_zero, variance = posterior(x_0, a_t * 0, a_t, a_s)
    at_one, _ = posterior(x_0, a_t * 0 + 1, a_t, a_s)
    slope = at_one - at_zero
    torch.testing.assert_close(at_zero + slope * a_t.sqrt() * x_0, a_s.sqrt() * x_0)
    torch.testing.assert_close(variance + slope**2 * (1 - a_t), 1 - a_s)
