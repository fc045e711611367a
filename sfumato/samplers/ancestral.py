"""Ancestral sampling: draw x_s from p(x_s | x_t) step by step (Ho, Jain and Abbeel, 2020, algorithm 2)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Generator

from sfumato.config import Strict
from sfumato.images import Images
from sfumato.maths.diffusion import posterior
from sfumato.maths.schedules import Schedule
from sfumato.samplers.base import Denoise, Sampler


class Ancestral(Sampler):
    """x_s = mean of q(x_s | x_t, x_0-hat) + sqrt(variance) z, with no noise in the last step.

    Paper 000 prints sqrt(beta_t) z at every step, the last one too; noise added there stays in the picture.
    """

    class Config(Strict):
        kind: Literal["ancestral"] = "ancestral"
        steps: int | None = Field(default=None, ge=1)
        """How many steps, evenly spaced; all T when left out."""
        variance: Literal["beta", "beta_tilde"] = "beta_tilde"
        """beta: the variance of the forward step; beta_tilde: that of the posterior given x_0."""
        last_noise: bool = False
        """Add noise in the last step too, as paper 000 prints (only `beta` has any there)."""

    def calls(self, schedule: Schedule) -> int:
        """One a step."""
        return len(schedule.times(self.config.steps)) - 1

    def sample(self, denoise: Denoise, schedule: Schedule, x_T: Images, rng: Generator) -> Images:
        """Draw x_0."""
        x = x_T
        times = schedule.times(self.config.steps)
        for t, s in zip(times, times[1:], strict=False):
            alpha_bar_t, alpha_bar_s = schedule.alpha_bar[t], schedule.alpha_bar[s]
            x_0 = denoise(x, torch.full((len(x),), t, device=x.device))
            mean, variance = posterior(x_0, x, alpha_bar_t.float(), alpha_bar_s.float())
            if self.config.variance == "beta":
                variance = 1 - (alpha_bar_t / alpha_bar_s).float()
            x = mean
            if s > 0 or self.config.last_noise:
                x = x + variance.sqrt() * torch.randn(x.shape, generator=rng, device=x.device)
        return x
