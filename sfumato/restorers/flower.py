"""FLOWER: a flow's idea of the end, refined by y, and a fresh point of the path that leads there."""

from __future__ import annotations

import math
from typing import Literal

from sfumato.images import Images
from sfumato.restorers.zero_shot import Calls, ZeroShot, nearer
from sfumato.samplers.base import Past, full, noise_like
from sfumato.samplers.denoiser import Denoiser
from sfumato.streams import Rngs
from sfumato.tasks.base import Observation


class Flower(ZeroShot):
    """x = E[x | y] for x ~ N(x_0-hat, r^2 I), r^2 = sigma^2 / (alpha^2 + sigma^2); then x_s = alpha_s x + sigma_s eps.

    eps is fresh. The same settings for every problem. It was made for straight paths and is written for any.
    Reference: Pourya et al. (2026), FLOWER: A flow-matching solver for inverse problems, algorithm 1.
    """

    draws = 3

    class Config(Calls):
        kind: Literal["flower"] = "flower"
        uncertain: bool = False
        """Draw x from N(x_0-hat, r^2 I) given y in place of its mean, as the derivation has it (the paper's gamma = 1)."""

    def step(
        self, denoiser: Denoiser, observation: Observation, x_t: Images, t: float, s: float, rng: Rngs, past: Past
    ) -> Images:
        (alpha_t, sigma_t), (alpha_s, sigma_s) = denoiser.schedule.at(t), denoiser.schedule.at(s)
        x_0, seen = denoiser(x_t, full(t, x_t)).mean, observation
        variance = sigma_t**2 / (alpha_t**2 + sigma_t**2)
        if self.config.uncertain and s > 0:
            # A draw of the prior, moved by what it measures wrong, is one of the posterior.
            x_0 = x_0 + math.sqrt(variance) * noise_like(x_t, rng).to(x_t.dtype)
            fresh = noise_like(x_t, rng).to(x_t.dtype).flatten(1)[:, : observation.y[0].numel()].view_as(observation.y)
            y = observation.y + observation.noise * fresh
            seen = Observation(y, observation.operator, observation.weight, observation.noise)
        x = nearer(x_0, seen, variance)
        return alpha_s * x + sigma_s * noise_like(x_t, rng).to(x_t.dtype)
