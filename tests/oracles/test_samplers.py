"""Diffusion steps and walks. Oracles: diffusers' schedulers, quadrature over a grid, Bayes' rule for Gaussians, autograd
through torch.distributions' mixture, and the mixture itself as what a perfect sampler must draw."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    HeunDiscreteScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from sfumato.maths.diffusion import diffuse, posterior, posterior_mean, score_from_x_0, velocity, x_0_from_velocity
from sfumato.maths.mixture import Mixture
from sfumato.samplers.ancestral import Ancestral
from sfumato.samplers.base import Sampler
from sfumato.samplers.ddim import DDIM
from sfumato.samplers.denoiser import Denoised, From
from sfumato.samplers.dpm_solver_pp import DPMSolverPP
from sfumato.samplers.exact import denoiser_of
from sfumato.samplers.heun import Heun
from sfumato.samplers.schedules import Betas, Cosine, Linear, Schedule
from sfumato.samplers.unipc import UniPC
from sfumato.streams import stream

T = 1000
LINEAR, COSINE = Linear(Linear.Config(steps=T)), Cosine(Cosine.Config(steps=T))
NAMES = {"linear": LINEAR, "squaredcos_cap_v2": COSINE}


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def step(
    sampler: Sampler, schedule: Schedule, x_0: Tensor, x_t: Tensor, t: int, s: int, rng: torch.Generator
) -> Tensor:
    """One step from level t to level s with a denoiser that says x_0."""
    return sampler.step(From(schedule, lambda x, time: Denoised(x_0)), x_t, t / T, s / T, rng, [])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("variance", ["beta", "beta_tilde"])
@pytest.mark.parametrize("t", [2, 37, 500, 990])
@pytest.mark.parametrize("rounded", [False, True])
def test_ancestral_step_is_diffusers(name: str, variance: str, t: int, rounded: bool) -> None:
    # Their time t - 1 is our t: they count noise levels from 0, we keep t = 0 for the clean image.
    theirs = DDPMScheduler(
        num_train_timesteps=T,
        beta_schedule=name,
        variance_type={"beta": "fixed_large", "beta_tilde": "fixed_small"}[variance],
        clip_sample=False,
        prediction_type="sample",
    )
    x_t, x_0 = drawn(0, 3, 1, 4, 4), drawn(1, 3, 1, 4, 4).clamp(-1, 1)
    expected = theirs.step(x_0, t - 1, x_t, generator=torch.Generator().manual_seed(7)).prev_sample
    sampler = Ancestral(Ancestral.Config(variance=variance))
    schedule = type(NAMES[name])(NAMES[name].Config(steps=T, rounded=rounded))
    made = step(sampler, schedule, x_0, x_t, t, t - 1, torch.Generator().manual_seed(7))
    # Theirs subtract in float32, and so does ours where it is rounded.
    torch.testing.assert_close(made, expected, rtol=2e-3, atol=2e-4 if rounded else 5e-4)
    assert (made - x_t).abs().max() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_the_last_step_adds_no_noise(name: str) -> None:
    theirs = DDPMScheduler(num_train_timesteps=T, beta_schedule=name, clip_sample=False, prediction_type="sample")
    x_1, x_0 = drawn(0, 2, 1, 3, 3), drawn(1, 2, 1, 3, 3).clamp(-1, 1)
    sampler = Ancestral(Ancestral.Config(variance="beta"))
    made = step(sampler, NAMES[name], x_0, x_1, 1, 0, stream(0, "sample"))
    torch.testing.assert_close(made, theirs.step(x_0, 0, x_1).prev_sample, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(made, x_0)
    printed = Ancestral(Ancestral.Config(variance="beta", last_noise=True))
    noisy = step(printed, NAMES[name], x_0, x_1, 1, 0, torch.Generator().manual_seed(3))
    beta = float(NAMES[name].betas()[0])
    torch.testing.assert_close(noisy - x_0, math.sqrt(beta) * drawn(3, 2, 1, 3, 3), rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("t", [100, 540, 980])
def test_ddim_step_is_diffusers(name: str, eta: float, t: int) -> None:
    theirs = DDIMScheduler(
        num_train_timesteps=T, beta_schedule=name, clip_sample=False, set_alpha_to_one=True, prediction_type="epsilon"
    )
    theirs.set_timesteps(50)  # strides of 20
    x_t, eps = drawn(0, 3, 1, 4, 4), drawn(1, 3, 1, 4, 4)
    expected = theirs.step(eps, t - 1, x_t, eta=eta, generator=torch.Generator().manual_seed(7)).prev_sample
    alpha_bar = NAMES[name].alpha_bar[t].float()
    x_0 = (x_t - (1 - alpha_bar).sqrt() * eps) / alpha_bar.sqrt()
    sampler = DDIM(DDIM.Config(eta=eta))
    made = step(sampler, NAMES[name], x_0, x_t, t, t - 20, torch.Generator().manual_seed(7))
    torch.testing.assert_close(made, expected, rtol=2e-3, atol=5e-4)


def test_ancestral_and_ddim_of_eta_one_have_one_law() -> None:
    # Song et al. (2021), section 4.1: at eta = 1 both draw from N(posterior mean, beta-tilde), step by step.
    x_t, x_0 = drawn(0, 1, 1, 4, 4), drawn(1, 1, 1, 4, 4)
    samplers = Ancestral(Ancestral.Config()), DDIM(DDIM.Config(eta=1.0))
    one, two = (step(s, COSINE, x_0, x_t, 600, 450, torch.Generator().manual_seed(5)) for s in samplers)
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("t", "s"), [(1000, 999), (500, 499), (500, 100), (2, 1), (10, 0)])
def test_posterior_is_bayes_rule(t: int, s: int) -> None:
    # q(x_s | x_t, x_0) is proportional to q(x_s | x_0) q(x_t | x_s): precisions add, and so do precision x mean.
    a_t, a_s = float(LINEAR.alpha_bar[t]), float(LINEAR.alpha_bar[s])
    x_0, x_t = 0.7, -1.3
    at_t, at_s = LINEAR.at(t / T), LINEAR.at(s / T)
    mean = posterior_mean(*(torch.tensor(v, dtype=torch.float64) for v in (x_0, x_t)), at_t, at_s)
    variance = posterior(at_t, at_s).beta_tilde
    if s == 0:
        assert float(mean) == pytest.approx(x_0) and float(variance) == 0.0
        return
    alpha = a_t / a_s
    precision = 1 / (1 - a_s) + alpha / (1 - alpha)
    weighted = math.sqrt(a_s) * x_0 / (1 - a_s) + math.sqrt(alpha) * x_t / (1 - alpha)
    assert float(variance) == pytest.approx(1 / precision, rel=1e-9)
    assert float(mean) == pytest.approx(weighted / precision, rel=1e-9)


def test_posterior_by_quadrature() -> None:
    a_t, a_s, x_0, x_t = 0.3, 0.6, 0.4, -0.9
    x_s = np.linspace(-8, 8, 20_001)
    forward = np.exp(-((x_t - math.sqrt(a_t / a_s) * x_s) ** 2) / (2 * (1 - a_t / a_s)))
    density = np.exp(-((x_s - math.sqrt(a_s) * x_0) ** 2) / (2 * (1 - a_s))) * forward
    density /= density.sum()
    expected = (density * x_s).sum()
    schedule = Betas(Betas.Config(betas=(1 - a_s, 1 - a_t / a_s)))  # a walk of two steps that goes through both
    at_t, at_s = schedule.at(1.0), schedule.at(0.5)
    mean = posterior_mean(*(torch.tensor(v, dtype=torch.float64) for v in (x_0, x_t)), at_t, at_s)
    variance = posterior(at_t, at_s).beta_tilde
    assert float(mean) == pytest.approx(expected, rel=1e-8)
    assert float(variance) == pytest.approx((density * (x_s - expected) ** 2).sum(), rel=1e-8)


def test_velocity_is_diffusers() -> None:
    theirs = DDPMScheduler(num_train_timesteps=T, beta_schedule="linear")
    x_0, eps, t = drawn(0, 4, 1, 2, 2), drawn(1, 4, 1, 2, 2), torch.tensor([1, 10, 500, 1000])
    at = [part(t / T).float().view(-1, 1, 1, 1) for part in (LINEAR.alpha, LINEAR.sigma)]
    x_t = theirs.add_noise(x_0, eps, t - 1)
    torch.testing.assert_close(diffuse(x_0, eps, *at), x_t, rtol=1e-4, atol=1e-5)
    v = theirs.get_velocity(x_0, eps, t - 1)
    torch.testing.assert_close(velocity(x_0, eps, *at), v, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(x_0_from_velocity(x_t, v, *at), x_0, rtol=1e-3, atol=1e-4)


MEANS = torch.tensor([[0.7, 0.0], [-0.35, 0.6], [-0.35, -0.6]])
SIGMA, WEIGHTS = 0.08, torch.tensor([0.5, 0.3, 0.2])
MIXTURE = Mixture.round(WEIGHTS, MEANS, SIGMA)


def noised(alpha_bar: float) -> MixtureSameFamily:
    scale = math.sqrt(alpha_bar * SIGMA**2 + 1 - alpha_bar)
    return MixtureSameFamily(Categorical(WEIGHTS), Independent(Normal(math.sqrt(alpha_bar) * MEANS, scale), 1))


@pytest.mark.parametrize("alpha_bar", [0.01, 0.5, 0.9, 0.999])
def test_score_is_the_gradient_of_the_log_density(alpha_bar: float) -> None:
    x = (drawn(2, 64, 2) * 0.8).double().requires_grad_(True)
    (expected,) = torch.autograd.grad(noised(alpha_bar).log_prob(x).sum(), x)
    noise = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
    score = MIXTURE.score(x.detach(), *noise)
    torch.testing.assert_close(score, expected, rtol=1e-5, atol=1e-5)
    made = score_from_x_0(x.detach(), MIXTURE.denoised(x.detach(), *noise), *noise)
    torch.testing.assert_close(made, score, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("alpha_bar", [0.2, 0.8, 0.97])
def test_denoiser_by_quadrature(alpha_bar: float) -> None:
    # E[x_0 | x_t] = integral x_0 p(x_0) q(x_t | x_0) / integral p(x_0) q(x_t | x_0), summed over a grid of the plane.
    axis = torch.linspace(-1.4, 1.4, 281, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    prior = noised(1.0).log_prob(grid.float()).double()
    x_t = drawn(3, 6, 2).double() * 0.6
    log = prior - (x_t[:, None] - math.sqrt(alpha_bar) * grid).square().sum(-1) / (2 * (1 - alpha_bar))
    expected = log.softmax(dim=1) @ grid
    made = MIXTURE.denoised(x_t, math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar))
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "sampler",
    [
        Ancestral(Ancestral.Config()),
        Ancestral(Ancestral.Config(variance="beta")),
        DDIM(DDIM.Config(steps=500)),
        DDIM(DDIM.Config(steps=None, eta=1.0)),
    ],
    ids=["ancestral", "ancestral-beta", "ddim", "ddim-eta-1"],
)
def test_an_exact_denoiser_draws_the_mixture(sampler: Ancestral | DDIM) -> None:
    n, schedule = 4000, Cosine(Cosine.Config(steps=1000))

    made = sampler.sample(denoiser_of(MIXTURE, schedule), drawn(4, n, 2, 1, 1), stream(0, "sample"))[:, :, 0, 0]
    mode = torch.cdist(made, MEANS).argmin(1)
    share = torch.bincount(mode, minlength=3) / n
    assert torch.allclose(share, WEIGHTS, atol=0.03)  # four standard errors of a share
    offset = made - MEANS[mode]
    for k in range(3):
        assert torch.allclose(made[mode == k].mean(0), MEANS[k], atol=0.015)
        assert torch.allclose(offset[mode == k].std(0), torch.full((2,), SIGMA), rtol=0.06)


placed = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # NumPy's, of diffusers


def bent(x: Tensor, t: Tensor) -> Tensor:
    """What no solver integrates exactly."""
    law = Mixture.round(torch.tensor([0.7, 0.3]), torch.tensor([[0.8], [-0.5]]), 0.1)
    return law.denoised(x.reshape(-1, 1), *LINEAR.at(float(t[0]))).view(x.shape)


def walked(sampler: Sampler, levels: list[int], x: Tensor) -> list[Tensor]:
    """Where a walk over these levels of the linear schedule comes by."""
    denoiser, past, found = From(LINEAR, lambda x, t: Denoised(bent(x, t))), [], []
    for t, s in zip(levels, levels[1:], strict=False):
        x = sampler.step(denoiser, x, t / T, s / T, stream(0, "none"), past)
        found.append(x)
    return found


@placed
@pytest.mark.parametrize("steps", [5, 20])
@pytest.mark.parametrize("name", ["dpm_solver_pp", "unipc", "unipc of order 1"])
def test_multistep_walks_are_diffusers(name: str, steps: int) -> None:
    settings = {"num_train_timesteps": T, "beta_schedule": "linear", "prediction_type": "sample"}
    order = 1 if name.endswith("1") else 2
    theirs: Any = (
        DPMSolverMultistepScheduler(**settings, algorithm_type="dpmsolver++", final_sigmas_type="zero")
        if name == "dpm_solver_pp"
        else UniPCMultistepScheduler(**settings, solver_order=order, final_sigmas_type="zero")
    )
    ours: Sampler = DPMSolverPP(DPMSolverPP.Config()) if name == "dpm_solver_pp" else UniPC(UniPC.Config(order=order))
    theirs.set_timesteps(steps)
    levels = [int(t) + 1 for t in theirs.timesteps] + [0]
    x = start = drawn(0, 1, 1, 4, 4).double()
    for t, made in zip(theirs.timesteps, walked(ours, levels, start), strict=True):
        x = theirs.step(bent(x, torch.full((1,), (float(t) + 1) / T).double()), t, x).prev_sample
        torch.testing.assert_close(made, x.double(), atol=1e-5, rtol=1e-5)


@placed
def test_heun_s_walk_is_diffusers() -> None:
    theirs: Any = HeunDiscreteScheduler(
        num_train_timesteps=T, beta_start=1e-4, beta_end=0.02, beta_schedule="linear", timestep_spacing="trailing"
    )
    theirs.set_timesteps(8)
    times = list(dict.fromkeys(float(t) for t in theirs.timesteps))
    sigmas = list(dict.fromkeys(float(s) for s in theirs.sigmas))
    levels = [round(t) + 1 for t in times] + [0]
    ratios = [float(LINEAR.sigma(one) / LINEAR.alpha(one)) for one in torch.tensor(levels).double() / T]
    assert ratios == pytest.approx(sigmas, rel=1e-4), "their walk is on the grid, so that ours is the same"
    y = drawn(0, 1, 1, 4, 4).double() * sigmas[0]
    ours = walked(Heun(Heun.Config(along="ratio")), levels, y * LINEAR.at(levels[0] / T)[0])
    found = []
    for t in theirs.timesteps:
        time = torch.full((1,), (float(t) + 1) / T).double()
        x = theirs.scale_model_input(y, t)
        alpha, sigma = LINEAR.at(float(time))
        y = theirs.step((x - alpha * bent(x, time)) / sigma, t, y).prev_sample
        found.append(y)
    for made, place, other in zip(ours, levels[1:], found[1::2] + found[-1:], strict=True):
        torch.testing.assert_close(made, other.double() * LINEAR.at(place / T)[0], atol=1e-4, rtol=1e-4)
