"""The variational bound of a diffusion, term by term."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float64
from torch import Tensor

from sfumato.images import LEVEL, Images
from sfumato.maths.diffusion import diffuse
from sfumato.samplers.denoiser import Denoiser
from sfumato.samplers.schedules import Schedule
from sfumato.streams import Rngs, normals, uniforms

TERMS = 24  # times at which the walk is looked at for each image, one in each part of it
SOFTEST, LOUDEST = LEVEL / 16, 1e3  # sigma / alpha of the first and last of a thousand levels, where there is no grid
LEAST = 1e-3  # of the noise's variance: a smaller error of a denoiser is not believed


def bound(denoiser: Denoiser, x: Images, rng: Rngs) -> dict[str, Float64[Tensor, " B"]]:
    """-log p(x) <= L_T + sum of L_(t-1) + L_0 in nats, for the walk that the denoiser means.

    L_T = KL(q(x_1 | x_0) | N(0, spread^2)); L_(t-1) = KL(q(x_s | x_t, x_0) | p(x_s | x_t)), at one random step of each part of
    the walk, the parts alike in log(sigma / alpha); L_0 = -log p(x_0 | x_t) at the first level. A step has the mean and the
    variance of what is `believed`, or the variance that the network has learnt. Without a grid it is taken in 1,000 steps.
    Reference: Ho, Jain and Abbeel (2020), equation 5; Bao et al. (2022), Analytic-DPM, for the variance of a step.
    """
    schedule, d = denoiser.schedule, x[0].numel()
    a, s = schedule.at(1.0)
    prior = schedule.spread**2
    last = 0.5 * (a**2 * x.square().flatten(1).sum(1).double() + d * (s**2 - prior)) / prior
    last = last - 0.5 * d * math.log(s**2 / prior)

    def looked(t: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Squared errors of x_0, the variance that they are believed to have, and the learnt variance of the step."""
        alpha, sigma = (part.view(-1, 1, 1, 1) for part in (schedule.alpha(t).clamp(min=1e-9), schedule.sigma(t)))
        x_t = diffuse(x, normals(rng, *x.shape), alpha.to(x.dtype), sigma.to(x.dtype))
        told = denoiser(x_t, t)
        if told.step_variance is not None:
            return (x - told.mean).square().double(), torch.zeros_like(alpha), told.step_variance.double()
        mean, variance = believed(told.mean.double(), x_t.double() / alpha, (sigma / alpha) ** 2)
        return (x.double() - mean).square(), variance, None

    walk = torch.zeros_like(last)
    times, edges = levels(schedule, x.device)
    for low, high in zip(edges, edges[1:], strict=False):  # steps low + 1 .. high, counted from 0
        u = uniforms(rng, len(x)).double()
        k = low + 1 + (u * (high - low)).floor().clamp(max=high - low - 1).long()
        t, before = times[k], times[k - 1]
        _, own, factor = (part.view(-1, 1, 1, 1) for part in schedule.posterior(t, before))
        error, variance, learnt = looked(t)
        wide = own + factor**2 * variance if learnt is None else learnt
        each = 0.5 * (wide.log() - own.log() + (own + factor**2 * error) / wide - 1)
        walk = walk + (high - low) * each.flatten(1).sum(1)
    error, variance, learnt = looked(times[:1].expand(len(x)))
    wide = variance if learnt is None else learnt
    first = 0.5 * (error / wide + (2 * math.pi * wide).log()).flatten(1).sum(1)
    return {"L_T": last, "walk": walk, "L_0": first}


def believed(x_0: Tensor, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """The clean image and the variance of its error, from what a denoiser says, x_t / alpha and the variance of its noise.

    The two are as far apart as their errors allow, which tells what the denoiser's are without a look at the image. Nearer than
    the noise is loud, it is a posterior mean, whose error is the noise's less the distance (they are orthogonal). Farther,
    beyond chance and where there is little noise, it is worse than x_t / alpha, and the two are weighed by their precisions, as
    independent measurements.
    """
    apart = (x_0 - x).square().mean((1, 2, 3), keepdim=True)
    excess = apart - noise
    doubted = (excess > 4 * (2 / x[0].numel()) ** 0.5 * noise) & (noise < 1)
    share = torch.where(doubted, noise / (noise + excess), 1.0)
    variance = torch.where(doubted, noise * excess / (noise + excess), noise - apart)
    return x + share * (x_0 - x), torch.minimum(variance.clamp(min=LEAST * noise), torch.ones_like(noise))


def levels(schedule: Schedule, device: torch.device) -> tuple[Float64[Tensor, " T"], list[int]]:
    """The times of a walk, from the softest on, and the ends of parts that are alike in log(sigma / alpha)."""
    if schedule.grid is not None:
        times = torch.arange(1, schedule.grid + 1, dtype=torch.float64) / schedule.grid
    else:
        alpha, sigma = schedule.at(1.0)
        ratios = torch.logspace(math.log10(SOFTEST), math.log10(min(LOUDEST, sigma / max(alpha, 1e-12))), 1000).double()
        times = schedule.time_at(ratios)
        times[-1] = 1.0
    log = (schedule.sigma(times) / schedule.alpha(times).clamp(min=1e-9)).log().clamp(max=math.log(LOUDEST))
    wanted = torch.linspace(float(log[0]), float(log[-1]), TERMS + 1).double()
    edges = torch.searchsorted(log, wanted).clamp(max=len(times) - 1)
    return times.to(device), sorted({0, *edges.tolist(), len(times) - 1})
