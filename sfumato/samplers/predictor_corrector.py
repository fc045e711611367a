"""Predictor and corrector: a step of the reverse equation, then Langevin steps at the level that it reached."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from sfumato.images import Images
from sfumato.maths.diffusion import score_from_x_0
from sfumato.samplers.ancestral import Ancestral
from sfumato.samplers.base import Past, Sampler, Walk, full, noise_like
from sfumato.samplers.denoiser import Denoiser
from sfumato.streams import Rngs


class PredictorCorrector(Sampler):
    """An ancestral step to s, then x <- x + eta g + sqrt(2 eta) z with g the score at s and eta = 2 (snr sigma_s)^2.

    Song et al. have |z| / |g| for sigma_s, with the lengths that a batch has; this is the ratio that they have on average where
    noise is loud, and no image depends on the others.
    Reference: Song et al. (2021), Score-based generative modeling through stochastic differential equations, algorithms 1 to 5.
    """

    class Config(Walk):
        kind: Literal["predictor_corrector"] = "predictor_corrector"
        turns: int = Field(default=1, ge=0, le=100)
        """Corrector steps at each level."""
        snr: float = Field(default=0.16, gt=0.0)
        """Length of a corrector step against its noise."""

    def __init__(self, config: Walk):
        super().__init__(config)
        self.predictor = Ancestral(Ancestral.Config(steps=self.config.steps, spacing=self.config.spacing))

    def step(self, denoiser: Denoiser, x_t: Images, t: float, s: float, rng: Rngs, past: Past) -> Images:
        x = self.predictor.step(denoiser, x_t, t, s, rng, past)
        if s == 0:
            return x
        alpha, sigma = denoiser.schedule.at(s)
        for _ in range(self.config.turns):
            slope = score_from_x_0(x, denoiser(x, full(s, x)).mean, alpha, sigma)
            eta = 2 * (self.config.snr * sigma) ** 2
            x = x + eta * slope + math.sqrt(2 * eta) * noise_like(x, rng)
        return x

    @property
    def draws(self) -> int:
        """The predictor's, and one a turn."""
        return 1 + int(self.config.turns)

    def calls_a_step(self, s: float) -> int:
        """One, and the corrector's but at the end."""
        return 1 + (int(self.config.turns) if s > 0 else 0)
