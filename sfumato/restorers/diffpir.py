"""DiffPIR: at every step the nearest image that explains y, then noise that is partly old and partly new."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from sfumato.images import Images
from sfumato.maths.diffusion import eps_from_x_0
from sfumato.restorers.zero_shot import Calls, ZeroShot, nearer
from sfumato.samplers.base import Past, full, noise_like
from sfumato.samplers.denoiser import Denoiser
from sfumato.streams import Rngs
from sfumato.tasks.base import Observation


class DiffPIR(ZeroShot):
    """x = argmin |y - A x|^2 + lambda noise^2 / (sigma_t / alpha_t)^2 |x - x_0-hat|^2, then
    x_s = alpha_s x + sigma_s (sqrt(1 - zeta) eps + sqrt(zeta) eps'), eps the noise that x_t and x mean, eps' fresh.

    Where y is exact, x agrees with it.
    Reference: Zhu et al. (2023), Denoising diffusion models for plug-and-play image restoration, algorithm 1.
    """

    draws = 1

    class Config(Calls):
        kind: Literal["diffpir"] = "diffpir"
        lam: float = Field(default=1.0, gt=0.0)
        """lambda: how much the denoiser's answer weighs beside y, where y is noisy."""
        zeta: float = Field(default=1.0, ge=0.0, le=1.0)
        """The share of noise that is new at every step: the paper's 1 for holes, 0.25 for enlarging."""

    def step(
        self, denoiser: Denoiser, observation: Observation, x_t: Images, t: float, s: float, rng: Rngs, past: Past
    ) -> Images:
        (alpha_t, sigma_t), (alpha_s, sigma_s) = denoiser.schedule.at(t), denoiser.schedule.at(s)
        x_0 = denoiser(x_t, full(t, x_t)).mean
        x = nearer(x_0, observation, (sigma_t / max(alpha_t, 1e-9)) ** 2 / self.config.lam)
        eps, zeta = eps_from_x_0(x_t, x, alpha_t, sigma_t), self.config.zeta
        fresh = noise_like(x_t, rng).to(x_t.dtype)
        return alpha_s * x + sigma_s * (math.sqrt(1 - zeta) * eps + math.sqrt(zeta) * fresh)
