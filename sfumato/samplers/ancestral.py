"""Ancestral sampling: draw x_s from p(x_s | x_t) step by step (Ho, Jain and Abbeel, 2020, algorithm 2)."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from sfumato.images import Images
from sfumato.maths.diffusion import posterior, posterior_mean
from sfumato.samplers.base import Past, Sampler, Walk, full, noise_like
from sfumato.samplers.denoiser import Denoiser
from sfumato.streams import Rngs


class Ancestral(Sampler):
    """x_s = mean of q(x_s | x_t, x_0-hat) + sqrt(variance) z, with no noise in the last step.

    The large variance (beta) belongs to the trained steps alone: over a longer step it is the noise of the whole stride, far
    more than a sample has, so a walk that leaves steps out always takes beta-tilde. Paper 000 prints sqrt(beta_t) z at every
    step, the last one too; noise added there stays in the picture.
    """

    class Config(Walk):
        kind: Literal["ancestral"] = "ancestral"
        steps: int | None = Field(default=None, ge=1)
        """How many steps; all of the schedule's levels when left out."""
        variance: Literal["beta", "beta_tilde"] = "beta_tilde"
        """beta: the variance of the forward step, where no step is left out; beta_tilde: that of the posterior given x_0."""
        last_noise: bool = False
        """Add noise in the last step too, as paper 000 prints (only `beta` has any there)."""

    @property
    def draws(self) -> int:
        """One."""
        return 1

    def step(self, denoiser: Denoiser, x_t: Images, t: float, s: float, rng: Rngs, past: Past) -> Images:
        schedule = denoiser.schedule
        at_t, at_s = schedule.at(t), schedule.at(s)
        told = denoiser(x_t, full(t, x_t))
        mean = posterior_mean(told.mean, x_t, at_t, at_s)
        if s == 0 and not self.config.last_noise:
            return mean
        trained = schedule.grid is not None and round((t - s) * schedule.grid) == 1
        if trained and told.step_variance is not None:
            return mean + told.step_variance.sqrt() * noise_like(mean, rng)
        known = posterior(at_t, at_s)
        every = self.config.steps is None or self.config.steps >= (schedule.grid or 0)
        variance = known.beta if trained and every and self.config.variance == "beta" else known.beta_tilde
        return mean + math.sqrt(max(variance, 0.0)) * noise_like(mean, rng)
