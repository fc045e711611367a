"""The variational bound of a diffusion, term by term."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float64
from torch import Tensor

from sfumato.images import Images
from sfumato.maths.diffusion import diffuse
from sfumato.samplers.denoiser import Denoiser
from sfumato.samplers.schedules import Schedule
from sfumato.streams import Rngs, normals, uniforms

TERMS = 16  # times at which the walk is looked at for each image, one in each sixteenth of it


def bound(schedule: Schedule, denoiser: Denoiser, x: Images, rng: Rngs) -> dict[str, Float64[Tensor, " B"]]:
    """-log p(x) <= L_T + sum of L_(t-1) + L_0 in nats, each step with the variance beta-tilde or the one that is learnt.

    L_T = KL(q(x_1 | x_0) | N(0, spread^2)); L_(t-1) = KL(q(x_s | x_t, x_0) | p(x_s | x_t)), which with beta-tilde is
    (snr(s) - snr(t)) / 2 |x_0 - x_0-hat(x_t, t)|^2, at one random step of each sixteenth of the walk;
    L_0 = -log N(x_0; x_0-hat, beta_1). A schedule without a grid is taken in 1,000 steps.
    Reference: Ho, Jain and Abbeel (2020), equation 5; Kingma et al. (2021), Variational diffusion models, for its form.
    """
    d, T = x[0].numel(), schedule.grid or 1000
    a, s = schedule.at(1.0)
    prior = schedule.spread**2
    last = 0.5 * (a**2 * x.square().flatten(1).sum(1).double() + d * (s**2 - prior)) / prior
    last = last - 0.5 * d * math.log(s**2 / prior)

    def looked(t: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Squared errors of x_0, sigma, and the learnt variance."""
        alpha, sigma = (part.to(x.dtype).view(-1, 1, 1, 1) for part in (schedule.alpha(t), schedule.sigma(t)))
        told = denoiser(diffuse(x, normals(rng, *x.shape), alpha, sigma), t)
        return (x - told.mean.clamp(-1.0, 1.0)).square(), sigma.flatten().double(), told.step_variance

    walk = torch.zeros_like(last)
    edges = torch.linspace(1, T, min(TERMS, T - 1) + 1).round().long().tolist()
    for low, high in zip(edges, edges[1:], strict=False):  # steps low + 1 .. high
        u = uniforms(rng, len(x)).double()
        k = low + 1 + (u * (high - low)).floor().clamp(max=high - low - 1)
        t, before = k / T, (k - 1) / T
        snr = [(schedule.alpha(time) / schedule.sigma(time)) ** 2 for time in (before, t)]
        error, _, learnt = looked(t)
        apart = 0.5 * (snr[0] - snr[1]) * error.flatten(1).sum(1).double()
        if learnt is not None:
            sigmas = [schedule.sigma(time) for time in (before, t)]
            ratio = schedule.alpha(t) / schedule.alpha(before)
            own = sigmas[0] ** 2 * (1 - (ratio * sigmas[0] / sigmas[1]) ** 2)  # beta-tilde
            share = own.view(-1, 1, 1, 1) / learnt.double()
            each = 0.5 * (share - 1 - share.log())
            moved = (snr[0] - snr[1]).view(-1, 1, 1, 1) * share * error.double() / 2
            apart = (each + moved).flatten(1).sum(1)
        walk = walk + (high - low) * apart
    error, sigma, learnt = looked(torch.full((len(x),), 1.0 / T, dtype=torch.float64, device=x.device))
    squares = error.flatten(1).sum(1).double()
    variance = sigma**2
    first = 0.5 * (squares / variance + d * (2 * math.pi * variance).log())
    if learnt is not None:
        wide = learnt.double()
        first = 0.5 * (error.double() / wide + (2 * math.pi * wide).log()).flatten(1).sum(1)
    return {"L_T": last, "walk": walk, "L_0": first}
