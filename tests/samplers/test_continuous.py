"""Schedules that are formulas: against the stochastic differential equations that they solve, and what shifting does."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from scipy.integrate import solve_ivp

from sfumato.kinds import build, discover, parse
from sfumato.samplers.continuous import Shifted, VarianceExploding, VariancePreserving
from sfumato.samplers.schedules import Cosine, Grid, Schedule, time_of
from sfumato.streams import stream

NAMES = [name for name, kind in discover(Schedule).items() if not issubclass(kind, Grid)]
T = torch.linspace(0, 1, 101, dtype=torch.float64)


@pytest.mark.parametrize("name", NAMES)
def test_from_the_image_to_noise(name: str) -> None:
    made: Schedule = build(parse(Schedule, name))
    alpha, sigma = made.alpha(T), made.sigma(T)
    assert alpha.dtype == sigma.dtype == torch.float64 and made.at(0.0) == (1.0, 0.0)
    ratio = sigma[:-1] / alpha[:-1]
    assert bool((ratio.diff() > 0).all()) and float(sigma[-1]) >= 20 * float(alpha[-1]), (
        "hardly anything is left at t = 1"
    )
    maps = T[:8].view(2, 1, 2, 2)
    assert torch.equal(made.alpha(maps).flatten(), alpha[:8]) and torch.equal(made.sigma(maps).flatten(), sigma[:8])
    t = torch.tensor([0.2, 0.5, 0.9]).double()
    torch.testing.assert_close(made.time_at(made.sigma(t) / made.alpha(t)), t, atol=1e-3 if made.grid else 1e-6, rtol=0)
    drawn = made.draw(1000, stream(0, "t"))
    assert float(drawn.min()) > 0 and float(drawn.max()) <= 1 and float(drawn.mean()) == pytest.approx(0.5, abs=0.04)


Rate = Callable[[float], float]
LOW, HIGH = 0.1, 20.0
SDES: dict[str, tuple[Schedule, Rate, Rate]] = {
    "ve": (
        VarianceExploding(VarianceExploding.Config(least=0.01, most=50)),
        lambda t: 0.0,
        lambda t: 0.01 * (50 / 0.01) ** t * math.sqrt(2 * math.log(50 / 0.01)),  # equation 30 of Song et al. (2021)
    ),
    "vp": (
        VariancePreserving(VariancePreserving.Config(beta_min=LOW, beta_max=HIGH)),
        lambda t: -(LOW + t * (HIGH - LOW)) / 2,
        lambda t: math.sqrt(LOW + t * (HIGH - LOW)),
    ),
}


@pytest.mark.parametrize("name", SDES)
def test_they_solve_their_equation(name: str) -> None:
    made, drift, diffusion = SDES[
        name
    ]  # dx = drift(t) x dt + diffusion(t) dw: of the mean's factor and of the variance

    def slope(t: float, y: tuple[float, float]) -> list[float]:
        return [drift(t) * y[0], 2 * drift(t) * y[1] + diffusion(t) ** 2]

    for t in (0.1, 0.5, 1.0):
        factor, variance = solve_ivp(slope, (0, t), [1.0, 0.0], rtol=1e-10, atol=1e-12).y[:, -1]
        alpha, sigma = made.at(t)
        assert alpha == pytest.approx(factor, rel=1e-6) and sigma**2 == pytest.approx(variance, rel=1e-6)


def test_a_shift_multiplies_the_noise() -> None:
    base = Cosine(Cosine.Config(steps=50))
    made, same = (Shifted(Shifted.Config(of=base.config, factor=factor)) for factor in (3.0, 1.0))
    assert made.grid == 50 and made.at(0.0) == (1.0, 0.0)
    torch.testing.assert_close(made.sigma(T) / made.alpha(T), 3 * base.sigma(T) / base.alpha(T))
    torch.testing.assert_close(made.sigma(T) ** 2 + made.alpha(T) ** 2, torch.ones_like(T))
    torch.testing.assert_close(same.sigma(T), base.sigma(T))


def test_a_ratio_without_end_has_a_time() -> None:
    straight: Schedule = build(parse(Schedule, "rectified"))
    assert straight.at(1.0) == (0.0, 1.0)
    assert time_of(straight, torch.tensor([1.0, 1e15]).numpy()).tolist() == pytest.approx([0.5, 1.0], abs=1e-6)
