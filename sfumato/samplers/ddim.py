"""DDIM: a deterministic walk (eta = 0) or one with any share of the ancestral noise (Song, Meng and Ermon, 2021)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Generator

from sfumato.config import Strict
from sfumato.images import Images
from sfumato.maths.diffusion import eps_from_x_0
from sfumato.maths.schedules import Schedule
from sfumato.samplers.base import Denoise, Sampler


class DDIM(Sampler):
    """x_s = sqrt(alpha_bar_s) x_0 + sqrt(1 - alpha_bar_s - sigma^2) eps + sigma z, sigma = eta sqrt(beta-tilde).

    Reference: Song, Meng and Ermon (2021), Denoising diffusion implicit models, equation 12.
    """

    class Config(Strict):
        kind: Literal["ddim"] = "ddim"
        steps: int | None = Field(default=25, ge=1)
        """How many steps, evenly spaced; all T when null."""
        eta: float = Field(default=0.0, ge=0.0, le=1.0)
        """0: deterministic; 1: as noisy as ancestral sampling."""

    def calls(self, schedule: Schedule) -> int:
        """One a step."""
        return len(schedule.times(self.config.steps)) - 1

    def sample(self, denoise: Denoise, schedule: Schedule, x_T: Images, rng: Generator) -> Images:
        """Walk down to x_0."""
        x, eta = x_T, self.config.eta
        times = schedule.times(self.config.steps)
        for t, s in zip(times, times[1:], strict=False):
            alpha_bar_t, alpha_bar_s = schedule.alpha_bar[t], schedule.alpha_bar[s]
            beta_tilde = (1 - alpha_bar_s) / (1 - alpha_bar_t) * (1 - alpha_bar_t / alpha_bar_s)
            sigma = eta * beta_tilde.sqrt()
            x_0 = denoise(x, torch.full((len(x),), t, device=x.device))
            eps = eps_from_x_0(x, x_0, alpha_bar_t.float())
            x = alpha_bar_s.sqrt().float() * x_0 + (1 - alpha_bar_s - sigma**2).clamp(min=0).sqrt().float() * eps
            if eta > 0 and s > 0:
                x = x + sigma.float() * torch.randn(x.shape, generator=rng, device=x.device)
        return x
