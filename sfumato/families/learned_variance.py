"""The variance of a step down the grid, said by the network: between beta-tilde and beta (Nichol and Dhariwal, 2021)."""

from __future__ import annotations

import torch
from torch import Tensor

from sfumato.images import Images
from sfumato.samplers.denoiser import Times
from sfumato.samplers.schedules import Schedule

SHARE = 1e-3  # of the bound, beside the squared error


def ends(schedule: Schedule, t: Times) -> tuple[Tensor, Tensor]:
    """Log beta and log beta-tilde of the step that ends at t; beta-tilde of the first, which is 0, is that of the second."""
    assert schedule.grid is not None
    k = (t * schedule.grid).round()
    beta = schedule.posterior(t, (k - 1) / schedule.grid).beta
    later = k.clamp(min=2)
    tilde = schedule.posterior(later / schedule.grid, (later - 1) / schedule.grid).beta_tilde
    return beta.log().view(-1, 1, 1, 1), tilde.log().view(-1, 1, 1, 1)


def step_variance(schedule: Schedule, t: Times, said: Images) -> Images:
    """exp(v log beta + (1 - v) log beta-tilde), v = (said + 1) / 2."""
    high, low = ends(schedule, t)
    v = (said + 1) / 2
    return (v * high.to(said.dtype) + (1 - v) * low.to(said.dtype)).exp()


def hybrid(schedule: Schedule, t: Times, x_0: Images, mean: Images, said: Images) -> Images:
    """SHARE T times the bound's term at t, in nats of each number; no slope reaches the mean.

    KL(q(x_s | x_t, x_0) | N(., variance)), and for the first step -log N(x_0; ., variance).
    """
    assert schedule.grid is not None
    k = (t * schedule.grid).round()
    factor = schedule.posterior(t, (k - 1) / schedule.grid).factor.view(-1, 1, 1, 1).to(x_0.dtype)
    apart = (factor * (x_0 - mean)).square()
    high, low = (end.to(x_0.dtype) for end in ends(schedule, t))
    v = (said + 1) / 2
    log = v * high + (1 - v) * low
    first = (k <= 1).view(-1, 1, 1, 1)
    divergence = 0.5 * (log - low - 1 + (low - log).exp() + apart * (-log).exp())
    nats = 0.5 * (apart * (-log).exp() + log)  # beyond a constant
    return SHARE * schedule.grid * torch.where(first, nats, divergence)
