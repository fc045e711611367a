"""Samplers judged exactly: against their formulas written down again, against draws, and their orders of convergence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from sfumato.kinds import build, discover, parse
from sfumato.samplers.base import Sampler
from sfumato.samplers.exact import Law, denoiser_of, errors, walked
from sfumato.samplers.schedules import Schedule
from sfumato.streams import stream

LAW = Law(torch.tensor([0.3, -0.2, 0.0, 0.5]).double(), torch.tensor([0.3, 0.05, 1e-3, 1e-5]).double())


def sampler(**settings: Any) -> Sampler:
    return build(parse(Sampler, settings))


def schedule(kind: str = "cosine", **settings: Any) -> Schedule:
    return build(parse(Schedule, {"kind": kind, **settings}))


def test_ancestral_moments_are_the_ones_of_its_recursion() -> None:
    grid = schedule("linear", steps=60)
    found = list(walked(sampler(kind="ancestral"), denoiser_of(LAW, grid), [k / 60 for k in range(60, -1, -1)], LAW))
    mean, variance = LAW.mean.numpy(), LAW.variance.numpy()
    m, v = mean.copy(), variance.copy()
    bar = grid.alpha_bar.numpy()  # type: ignore[attr-defined]
    for k in range(60, 0, -1):  # equation 7 of Ho et al. (2020), with E[x_0 | x_t] put in
        beta = 1 - bar[k] / bar[k - 1]
        gain = np.sqrt(bar[k]) * variance / (bar[k] * variance + 1 - bar[k])
        of_x_0 = np.sqrt(bar[k - 1]) * beta / (1 - bar[k])
        of_x_t = np.sqrt(1 - beta) * (1 - bar[k - 1]) / (1 - bar[k])
        slope = of_x_0 * gain + of_x_t
        m = of_x_0 * (mean - gain * np.sqrt(bar[k]) * mean) + slope * m
        v = slope**2 * v + (1 - bar[k - 1]) / (1 - bar[k]) * beta * (k > 1)
        np.testing.assert_allclose(found[60 - k].mean.numpy(), m, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(found[60 - k].variance.numpy(), v, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("name", sorted(discover(Sampler)))
def test_draws_have_the_law_that_is_foretold(name: str) -> None:
    noise, walk = schedule(), sampler(kind=name, steps=6)
    x_1 = torch.randn(20_000, 1, 1, 4, generator=stream(0, "x")).double() * noise.spread
    made = walk.sample(denoiser_of(LAW, noise), x_1, stream(0, "walk"))[:, 0, 0]
    *_, told = walked(
        walk, denoiser_of(LAW, noise), walk.times(noise), Law(torch.zeros(4).double(), torch.ones(4).double())
    )
    sd = told.variance.sqrt()
    np.testing.assert_allclose(made.mean(0).numpy(), told.mean.numpy(), atol=4 * float(sd.max()) / 20_000**0.5)
    np.testing.assert_allclose(made.std(0).numpy(), sd.numpy(), rtol=0.025, atol=1e-9)


def test_distances_and_causes() -> None:
    other = Law(LAW.mean + torch.tensor([0.3, 0.0, 0.0, 0.4]).double(), LAW.variance)
    assert LAW.distance(other) == pytest.approx(0.5) and LAW.distance(LAW) == 0
    wide = Law(LAW.mean, (LAW.variance.sqrt() + 0.1) ** 2)
    assert LAW.distance(wide) == pytest.approx(0.2)
    found = errors(sampler(kind="ddim", steps=50), schedule("vp"), LAW)
    assert found.calls == 50 and found.start < 1e-2 < found.total
    short = schedule("linear", steps=20, rescale=False)  # ends with most of the image still there
    assert errors(sampler(kind="ddim", steps=20), short, LAW).start > 0.1
    many = errors(sampler(kind="ddim", steps=1000), schedule("vp"), LAW)
    assert many.steps < 0.05 * found.steps + 0.01


ORDERS = {"ddim": 1, "heun": 2, "dpm_solver_pp": 2, "unipc": 3}  # of two answers, and one more by the corrector


@pytest.mark.parametrize("name", ORDERS)
def test_errors_fall_by_the_order_of_the_method(name: str) -> None:
    """Of steps that are even in log(sigma / alpha), halved: first order halves the error, second quarters it ..."""
    smooth = Law(torch.zeros(2).double(), torch.tensor([0.6, 0.2]).double())
    noise = schedule("edm", rho=1.0, most=20.0)
    found = []
    for n in (20, 40, 80):
        times = [*(np.geomspace(20, 0.05, n + 1) / 20)]
        *_, end = walked(sampler(kind=name), denoiser_of(smooth, noise), times, smooth.at(noise, 1.0))
        found.append(end.distance(smooth.at(noise, times[-1])))
    order = math.log2(found[1] / found[2])
    assert order == pytest.approx(ORDERS[name], abs=0.35), found


@pytest.mark.parametrize(
    "settings",
    [{"kind": "langevin", "turns": 400, "share": 0.02}, {"kind": "predictor_corrector", "turns": 100, "snr": 0.16}],
    ids=lambda settings: settings["kind"],
)
def test_many_turns_at_a_level_end_in_the_law_of_noisy_images(settings: dict[str, Any]) -> None:
    noise, walk = schedule("geometric", steps=10, most=5.0), sampler(**settings)
    wrong = Law(LAW.mean + 3.0, 4 * LAW.variance + 9.0)
    t, s = (0.9, 0.8) if settings["kind"] == "langevin" else (1.0, 0.9)
    *_, made = walked(walk, denoiser_of(LAW, noise), [t, s], wrong)
    right = LAW.at(noise, 0.9)  # alpha is 1, so that a level is left as it is
    np.testing.assert_allclose(made.mean.numpy(), right.mean.numpy(), atol=0.05)
    np.testing.assert_allclose(made.variance.numpy(), right.variance.numpy(), rtol=0.04)


def test_noisy_images_have_their_law() -> None:
    noise = schedule("vp")
    alpha, sigma = noise.at(0.3)
    x = LAW.mean + LAW.variance.sqrt() * torch.randn(50_000, 4, generator=stream(0, "x")).double()
    x_t = alpha * x + sigma * torch.randn(50_000, 4, generator=stream(0, "eps")).double()
    told = LAW.at(noise, 0.3)
    np.testing.assert_allclose(x_t.mean(0).numpy(), told.mean.numpy(), atol=0.02)
    np.testing.assert_allclose(x_t.var(0).numpy(), told.variance.numpy(), rtol=0.03)


def test_heun_is_of_second_order_along_a_path_too() -> None:
    smooth, noise = Law(torch.zeros(2).double(), torch.tensor([0.6, 0.2]).double()), schedule("rectified")
    found = []
    for n in (20, 40, 80):
        times = [1 - 0.9 * k / n for k in range(n + 1)]
        *_, end = walked(sampler(kind="heun"), denoiser_of(smooth, noise), times, smooth.at(noise, 1.0))
        found.append(end.distance(smooth.at(noise, times[-1])))
    assert math.log2(found[1] / found[2]) == pytest.approx(2, abs=0.2), found
