"""DPS: every step is pulled along the slope of |y - A x_0-hat|, through the network."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field

from sfumato.images import Images
from sfumato.maths.diffusion import posterior, posterior_mean
from sfumato.restorers.zero_shot import Calls, ZeroShot
from sfumato.samplers.base import Past, full, noise_like
from sfumato.samplers.denoiser import Denoiser
from sfumato.streams import Rngs
from sfumato.tasks.base import Observation


class DPS(ZeroShot):
    """x_s = x_s' - zeta grad_x |y - A x_0-hat(x_t)|, x_s' ancestral from x_t, where alpha^2 + sigma^2 = 1.

    On any other path the step is that of the same walk brought to such lengths, so that zeta means the same.

    The norm is that of each image. (The authors' code takes one over the batch, so that images pull less the more there are.)
    A call goes forward and back, which costs about three. zeta was chosen at 1,000 steps; with fewer more may be better.
    Reference: Chung et al. (2023), Diffusion posterior sampling for general noisy inverse problems, algorithm 1.
    """

    draws, affine, price = 1, False, 3

    class Config(Calls):
        kind: Literal["dps"] = "dps"
        calls: int = Field(default=1000, ge=1)
        """How many times the denoiser is asked, each with a slope."""
        zeta: float = Field(default=0.5, ge=0.0)
        """How far a step follows the slope: the paper's 0.5 for holes, 0.3 for enlarging."""

    def step(
        self, denoiser: Denoiser, observation: Observation, x_t: Images, t: float, s: float, rng: Rngs, past: Past
    ) -> Images:
        at_t, at_s = denoiser.schedule.at(t), denoiser.schedule.at(s)
        with torch.enable_grad():
            x = x_t.detach().requires_grad_(True)
            x_0 = denoiser(x, full(t, x)).mean
            off = (observation.y - observation.operator.forward(x_0)).flatten(1)
            (slope,) = torch.autograd.grad(off.square().sum(1).clamp(min=1e-20).sqrt().sum(), x)
        zeta = self.config.zeta * math.hypot(*at_t) * math.hypot(*at_s)
        mean = posterior_mean(x_0.detach(), x_t, at_t, at_s) - zeta * slope
        return mean + math.sqrt(max(posterior(at_t, at_s).beta_tilde, 0.0)) * noise_like(x_t, rng).to(x_t.dtype)
