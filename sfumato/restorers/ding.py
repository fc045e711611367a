"""DING: masks by exact Gaussian steps; what noise a known pixel has is asked at a point of the walk's own making."""

from __future__ import annotations

import math
from typing import Literal

from sfumato.images import Images
from sfumato.maths.diffusion import eps_from_x_0
from sfumato.restorers.zero_shot import Calls, ZeroShot
from sfumato.samplers.base import Past, full, noise_like
from sfumato.samplers.denoiser import Denoiser
from sfumato.samplers.schedules import Schedule
from sfumato.streams import Rngs
from sfumato.tasks.base import Observation, Operator


class DInG(ZeroShot):
    """z ~ N(m, v), a noisy step of DDIM; then x_s ~ N(m, v), told that known pixels are alpha_s (y + noise) + sigma_s eps(z).

    Both are Gaussian and each pixel is for itself, so the draw is exact. Two calls a step, none with a slope, and nothing to
    choose.
    The deviation sqrt(v) is sigma^2 of the path with alpha + sigma = 1, scaled to the schedule at hand: the authors' rule
    (1 - alpha) sigma on their straight paths.
    Reference: Moufad et al. (2026), Efficient zero-shot inpainting with decoupled diffusion guidance.
    """

    draws = 2

    class Config(Calls):
        kind: Literal["ding"] = "ding"

    @classmethod
    def answers(cls, operator: Operator) -> bool:
        """Masks."""
        return operator.hides

    def levels(self, schedule: Schedule) -> int:
        """Two calls a step, one for the last."""
        return min((self.config.calls + 1) // 2, schedule.grid or self.config.calls)

    def calls_a_move(self, t: float, s: float) -> int:
        """Two, but one at the end."""
        return 1 if s == 0 else 2

    def step(
        self, denoiser: Denoiser, observation: Observation, x_t: Images, t: float, s: float, rng: Rngs, past: Past
    ) -> Images:
        (alpha_t, sigma_t), (alpha, sigma) = denoiser.schedule.at(t), denoiser.schedule.at(s)
        x_0 = denoiser(x_t, full(t, x_t)).mean
        if s == 0:
            return x_0
        spread = min(sigma**2 / (alpha + sigma), sigma)
        mean = alpha * x_0 + math.sqrt(sigma**2 - spread**2) * eps_from_x_0(x_t, x_0, alpha_t, sigma_t)
        z = mean + spread * noise_like(x_t, rng).to(x_t.dtype)
        eps = eps_from_x_0(z, denoiser(z, full(s, z)).mean, alpha, sigma)
        seen, loud = alpha * observation.y + sigma * eps, (alpha * observation.noise) ** 2
        trust = observation.operator.known.to(x_t.dtype) * spread**2 / (spread**2 + loud)
        fresh = noise_like(x_t, rng).to(x_t.dtype)
        return mean + trust * (seen - mean) + (1 - trust).sqrt() * spread * fresh
