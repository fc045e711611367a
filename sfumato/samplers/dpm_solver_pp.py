"""DPM-Solver++ (2M): what the denoiser said one step before tells how its answers change along the walk."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from sfumato.images import Images
from sfumato.maths.diffusion import ddim
from sfumato.samplers.base import Past, Sampler, Walk, full
from sfumato.samplers.denoiser import Denoiser
from sfumato.streams import Rngs

FEW = 15  # of fewer steps the last but one to nothing is of first order, which is steadier


class DPMSolverPP(Sampler):
    """x_s = sigma_s / sigma_t x_t - alpha_s (e^-h - 1) D, D = D_t + (D_t - D_before) / 2r, h = lambda_s - lambda_t.

    lambda = log(alpha / sigma), r = h_before / h. The first step and the last, to sigma = 0, are of first order.
    Reference: Lu et al. (2022), DPM-Solver++: Fast solver for guided sampling of diffusion probabilistic models, algorithm 2.
    """

    combines: ClassVar[bool] = True

    class Config(Walk):
        kind: Literal["dpm_solver_pp"] = "dpm_solver_pp"

    def step(self, denoiser: Denoiser, x_t: Images, t: float, s: float, rng: Rngs, past: Past) -> Images:
        at_t, at_s = denoiser.schedule.at(t), denoiser.schedule.at(s)
        x_0 = told = denoiser(x_t, full(t, x_t)).mean
        now = log_ratio(at_t)
        if past and s > 0 and math.isfinite(past[-1][0]):
            before, earlier = past[-1]
            r = (now - before) / (log_ratio(at_s) - now)
            x_0 = told + (told - earlier) / (2 * r)
        past[:] = [(now, told)]
        return ddim(x_t, x_0, at_t, at_s)


def log_ratio(at: tuple[float, float]) -> float:
    """lambda = log(alpha / sigma); infinite where one of them is 0."""
    alpha, sigma = at
    if sigma == 0:
        return math.inf
    return math.log(alpha / sigma) if alpha > 0 else -math.inf
