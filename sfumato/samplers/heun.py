"""Heun's method: each step is repeated with the mean of what the denoiser says at both of its ends."""

from __future__ import annotations

from typing import ClassVar, Literal

from sfumato.images import Images
from sfumato.maths.diffusion import ddim, eps_from_x_0
from sfumato.samplers.base import Past, Sampler, Walk, full
from sfumato.samplers.denoiser import Denoiser
from sfumato.streams import Rngs


class Heun(Sampler):
    """dx = D d alpha + eps d sigma, by the trapezoid of both ends; the last step, to sigma = 0, has one end alone.

    Along the ratio it is the same for x / alpha, of which sigma / alpha is the time: what is said of noise alone is averaged.
    Along the path x itself is moved, which is exact where images go straight to noise.
    Reference: Karras et al. (2022), Elucidating the design space of diffusion-based generative models, algorithm 1.
    """

    combines: ClassVar[bool] = True

    class Config(Walk):
        kind: Literal["heun"] = "heun"
        along: Literal["path", "ratio"] = "path"
        """path: x against alpha and sigma; ratio: x / alpha against sigma / alpha. With alpha = 1, as EDM has it, both are one;
        where alpha ends near 0 the first steps along the ratio are far too wide (`sfumato exact` shows it)."""

    def step(self, denoiser: Denoiser, x_t: Images, t: float, s: float, rng: Rngs, past: Past) -> Images:
        at_t, at_s = denoiser.schedule.at(t), denoiser.schedule.at(s)
        (alpha_t, sigma_t), (alpha_s, sigma_s) = at_t, at_s
        x_0 = denoiser(x_t, full(t, x_t)).mean
        x_s = ddim(x_t, x_0, at_t, at_s)
        if s == 0:
            return x_s
        eps = eps_from_x_0(x_t, x_0, alpha_t, sigma_t)
        x_0_s = denoiser(x_s, full(s, x_s)).mean
        mean = (eps + eps_from_x_0(x_s, x_0_s, alpha_s, sigma_s)) / 2
        if self.config.along == "ratio" and alpha_t > 0:
            return alpha_s / alpha_t * x_t + (sigma_s - alpha_s * sigma_t / alpha_t) * mean
        return x_t + (alpha_s - alpha_t) * (x_0 + x_0_s) / 2 + (sigma_s - sigma_t) * mean

    def calls_a_step(self, s: float) -> int:
        """Two, and one in the last."""
        return 1 if s == 0 else 2
