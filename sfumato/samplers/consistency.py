"""The walk of a consistency model: jump to the image, put noise back, jump again (Song et al., 2023)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from sfumato.images import Images
from sfumato.kinds import choice
from sfumato.samplers.base import Past, Sampler, Walk, full, noise_like
from sfumato.samplers.denoiser import Denoiser
from sfumato.samplers.spacings import Even, Spacing
from sfumato.streams import Rngs


class Consistency(Sampler):
    """x_s = alpha_s f(x_t, t) + sigma_s z, and f(x_t, t) at the end: one or two calls, of a model whose answers are images.

    Of a denoiser, whose answers are means, it makes nothing sharp in so few.
    Reference: Song et al. (2023), Consistency models, algorithm 1.
    """

    class Config(Walk):
        kind: Literal["consistency"] = "consistency"
        steps: int | None = Field(default=2, ge=1)
        """How many calls; more than a few seldom help."""
        spacing: Annotated[Any, choice(Spacing, "even")] = Even.Config()
        """Where the later calls lie; on `edm`, even puts the second one at sigma = 0.6."""

    @property
    def draws(self) -> int:
        """One."""
        return 1

    def step(self, denoiser: Denoiser, x_t: Images, t: float, s: float, rng: Rngs, past: Past) -> Images:
        alpha, sigma = denoiser.schedule.at(s)
        x_0 = denoiser(x_t, full(t, x_t)).mean
        return alpha * x_0 + sigma * noise_like(x_0, rng) if s > 0 else x_0
