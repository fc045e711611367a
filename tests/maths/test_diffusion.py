"""The algebra of a diffusion: each formula undoes another, and the three predictions say one thing."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sfumato.families.predictions import Prediction
from sfumato.kinds import build, discover, parse
from sfumato.maths.diffusion import diffuse, eps_from_x_0, posterior_mean, velocity, x_0_from_eps, x_0_from_velocity
from sfumato.samplers.schedules import Betas

PREDICTIONS = sorted(discover(Prediction))


def drawn(seed: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(3, 2, 4, 4, generator=rng, dtype=torch.float64) for _ in range(2))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(0.01, 0.99))
def test_each_formula_undoes_another(seed: int, level: float) -> None:
    x_0, eps = drawn(seed)
    at = torch.tensor(level, dtype=torch.float64).sqrt(), torch.tensor(1 - level, dtype=torch.float64).sqrt()
    x_t = diffuse(x_0, eps, *at)
    torch.testing.assert_close(x_0_from_eps(x_t, eps, *at), x_0)
    torch.testing.assert_close(eps_from_x_0(x_t, x_0, *at), eps)
    v = velocity(x_0, eps, *at)
    torch.testing.assert_close(x_0_from_velocity(x_t, v, *at), x_0)
    apart = 0.7, 3.0  # alpha^2 + sigma^2 need not be 1
    back = x_0_from_velocity(diffuse(x_0, eps, *apart), velocity(x_0, eps, *apart), *apart)
    torch.testing.assert_close(back, x_0)
    # (x_t, v) is (x_0, eps) rotated: lengths stay.
    torch.testing.assert_close(x_t.square() + v.square(), x_0.square() + eps.square())


@pytest.mark.parametrize("name", PREDICTIONS)
@pytest.mark.parametrize("level", [0.02, 0.5, 0.98])
def test_a_perfect_network_gives_back_the_image(name: str, level: float) -> None:
    prediction = build(parse(Prediction, name))
    x_0, eps = drawn(0)
    alpha_bar = torch.tensor([level, 0.3, 0.7], dtype=torch.float64).view(3, 1, 1, 1)
    at = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    target = prediction.target(x_0, eps, *at)
    torch.testing.assert_close(prediction.x_0(target, diffuse(x_0, eps, *at), *at), x_0)


def test_predictions_differ() -> None:
    x_0, eps = drawn(0)
    at = [torch.tensor(value).double() for value in (0.4, 0.9)]
    targets = [build(parse(Prediction, name)).target(x_0, eps, *at) for name in PREDICTIONS]
    assert all(not torch.allclose(a, b) for i, a in enumerate(targets) for b in targets[:i])


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 0.9), st.floats(0.01, 0.99))
def test_the_posterior_in_two_steps_is_the_posterior(level: float, share: float) -> None:
    # x_t -> x_s has the marginal q(x_s | x_0) when x_t has q(x_t | x_0): mean and variance, by the law of total variance.
    bar = [level, level + (1 - level) * share]
    t, s = ((a**0.5, (1 - a) ** 0.5) for a in bar)
    a_t, a_s = (torch.tensor(a, dtype=torch.float64) for a in bar)
    x_0 = torch.tensor(0.7, dtype=torch.float64)
    at_zero, at_one = (posterior_mean(x_0, a_t * 0 + x, t, s) for x in (0, 1))
    schedule = Betas(Betas.Config(betas=(1 - bar[1], 1 - bar[0] / bar[1])))  # alpha_bar = 1, a_s, a_t
    variance = schedule.posterior(*torch.tensor([1.0, 0.5], dtype=torch.float64)).beta_tilde
    slope = at_one - at_zero
    torch.testing.assert_close(at_zero + slope * a_t.sqrt() * x_0, a_s.sqrt() * x_0)
    torch.testing.assert_close(variance + slope**2 * (1 - a_t), 1 - a_s)
