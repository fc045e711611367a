"""Annealed Langevin dynamics: noisy steps uphill at each level of noise, from the loudest to the softest."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from sfumato.images import Images
from sfumato.kinds import choice
from sfumato.maths.diffusion import score_from_x_0
from sfumato.samplers.base import Past, Sampler, Walk, full, noise_like
from sfumato.samplers.denoiser import Denoiser
from sfumato.samplers.spacings import Even, Spacing
from sfumato.streams import Rngs


class Langevin(Sampler):
    """x <- x + eta / 2 grad log q(x) + sqrt(eta) z, `turns` times at each level, eta = 2 a sigma^2.

    Steps are as long as the noise of the level is, by a share a that leaves as much noise as belongs there (Song and Ermon,
    2020, technique 4). Paper 000 prints one eta for all levels, which tears the softest ones apart or never leaves the loudest.
    The walk ends in the expected clean image, without which the last level's noise stays in the picture
    (Jolicoeur-Martineau et al., 2021).
    Reference: Song and Ermon (2019), Generative modeling by estimating gradients of the data distribution, algorithm 1.
    """

    class Config(Walk):
        kind: Literal["langevin"] = "langevin"
        steps: int | None = Field(default=None, ge=1)
        """Levels of noise that are visited; all of the schedule's when left out."""
        spacing: Annotated[Any, choice(Spacing, "even")] = Even.Config()
        """Where they lie; a schedule of levels is even by itself."""
        turns: int = Field(default=3, ge=1, le=1000)
        """Steps at each level; Song and Ermon take 100 at 10 levels, and later 5 at 232."""
        share: float | None = Field(default=None, gt=0.0, lt=1.0)
        """a; left out, the best for the levels that are visited."""
        constant: float | None = Field(default=None, gt=0.0)
        """eta itself, for images on the scale -1 to 1, one for all levels as paper 000 prints it."""
        denoise: bool = True
        """End in the expected clean image."""

    def step(self, denoiser: Denoiser, x_t: Images, t: float, s: float, rng: Rngs, past: Past) -> Images:
        schedule, config = denoiser.schedule, self.config
        (alpha, sigma), at_s = schedule.at(t), schedule.at(s)
        if not past:
            ratios = [b / a for a, b in map(schedule.at, self.times(schedule)[:-1])]
            past.append(config.share or best_share(float(np.exp(np.abs(np.diff(np.log(ratios))).mean())), config.turns))
        eta = config.constant * alpha**2 if config.constant else 2 * past[0] * sigma**2
        x = x_t
        for _ in range(config.turns):
            slope = score_from_x_0(x, denoiser(x, full(t, x)).mean, alpha, sigma)
            x = x + eta / 2 * slope + math.sqrt(eta) * noise_like(x, rng)
        if s > 0 or not config.denoise:
            return at_s[0] / alpha * x
        return denoiser(x, full(t, x)).mean

    @property
    def draws(self) -> int:
        """One a turn."""
        return int(self.config.turns)

    def calls_a_step(self, s: float) -> int:
        """The turns, and one to denoise at the end."""
        return int(self.config.turns) + int(s == 0 and self.config.denoise)


def best_share(ratio: float, turns: int) -> float:
    """The a for which noise that was `ratio` times too loud is nearest to right after so many turns.

    Its variance, as a share of the right one, goes v <- (1 - a)^2 v + 2 a, from ratio^2.

    Example:
        >>> round(best_share(1.1, 5), 3)
        0.127
    """
    a = np.linspace(1e-4, 0.999, 2000)
    v = np.full_like(a, ratio**2)
    for _ in range(turns):
        v = (1 - a) ** 2 * v + 2 * a
    return float(a[np.abs(v - 1).argmin()])
