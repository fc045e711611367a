"""DDIM: a deterministic walk (eta = 0) or one with any share of the ancestral noise (Song, Meng and Ermon, 2021)."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from sfumato.images import Images
from sfumato.maths.diffusion import eps_from_x_0, posterior
from sfumato.samplers.base import Past, Sampler, Walk, full, noise_like
from sfumato.samplers.denoiser import Denoiser
from sfumato.streams import Rngs


class DDIM(Sampler):
    """x_s = alpha_s x_0 + sqrt(sigma_s^2 - v) eps + sqrt(v) z, with v = eta^2 times the posterior variance (beta-tilde).

    Reference: Song, Meng and Ermon (2021), Denoising diffusion implicit models, equation 12.
    """

    class Config(Walk):
        kind: Literal["ddim"] = "ddim"
        eta: float = Field(default=0.0, ge=0.0, le=1.0)
        """0: deterministic; 1: as noisy as ancestral sampling."""

    @property
    def draws(self) -> int:
        """One where eta is over 0."""
        return int(self.config.eta > 0)

    def step(self, denoiser: Denoiser, x_t: Images, t: float, s: float, rng: Rngs, past: Past) -> Images:
        schedule, eta = denoiser.schedule, self.config.eta
        (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule.at(t), schedule.at(s)
        x_0 = denoiser(x_t, full(t, x_t)).mean
        variance = eta**2 * posterior((alpha_t, sigma_t), (alpha_s, sigma_s)).beta_tilde
        eps = eps_from_x_0(x_t, x_0, alpha_t, sigma_t)
        x = alpha_s * x_0 + math.sqrt(max(sigma_s**2 - variance, 0.0)) * eps
        return x + math.sqrt(variance) * noise_like(x, rng) if variance > 0 and s > 0 else x
