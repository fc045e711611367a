"""UniPC: a predictor that remembers, and a corrector that uses what the denoiser says where the predictor went."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from sfumato.images import Images
from sfumato.samplers.base import Past, Sampler, Walk, full
from sfumato.samplers.denoiser import Denoiser
from sfumato.samplers.dpm_solver_pp import log_ratio
from sfumato.streams import Rngs

At = tuple[float, float]  # alpha and sigma
Answers = list[tuple[float, Images]]  # log(alpha / sigma) and what was said there, the latest last


class UniPC(Sampler):
    """x_s = sigma_s / sigma_t x_t - alpha_s (e^-h - 1) D_t - alpha_s B(h) sum_i rho_i (D_i - D_t) / r_i, then once more.

    The corrector has the same form with the answer at s among the D_i; that one is needed for the next step anyway, so a step
    costs one call. B(h) = e^-h - 1 (the paper's B_2), r_i = (lambda_i - lambda_t) / h, the rho_i by its equations 5 and 9.
    Reference: Zhao, Bai, Rao, Zhou and Lu (2023), UniPC: A unified predictor-corrector framework for fast sampling.
    """

    combines: ClassVar[bool] = True

    class Config(Walk):
        kind: Literal["unipc"] = "unipc"
        order: int = Field(default=2, ge=1, le=3)
        """Answers that a step is made of; 3 is for walks without guidance."""

    def step(self, denoiser: Denoiser, x_t: Images, t: float, s: float, rng: Rngs, past: Past) -> Images:
        at_t, at_s = denoiser.schedule.at(t), denoiser.schedule.at(s)
        told = denoiser(x_t, full(t, x_t)).mean
        answers: Answers = []
        if past:
            x, at, answers = past.pop()
            x_t = moved(x, at, at_t, answers, told)
        answers = [*(one for one in answers if math.isfinite(one[0])), (log_ratio(at_t), told)]
        answers = answers[-1:] if s == 0 else answers[-self.config.order :]
        past.append((x_t, at_t, answers))
        return moved(x_t, at_t, at_s, answers)


def moved(x_t: Images, at_t: At, at_s: At, answers: Answers, at_end: Images | None = None) -> Images:
    """From t to s by the answers until t, and by the one at s where that is known."""
    (_, sigma_t), (alpha_s, sigma_s) = at_t, at_s
    now, told = answers[-1]
    h = log_ratio(at_s) - now
    phi = math.expm1(-h)
    x = sigma_s / sigma_t * x_t - alpha_s * phi * told
    if not math.isfinite(h):
        return x
    places = [(place - now) / h for place, _ in answers[:-1]]
    slopes = [(answer - told) / r for r, (_, answer) in zip(places, answers[:-1], strict=True)]
    if at_end is not None:
        places, slopes = [*places, 1.0], [*slopes, at_end - told]
    if not slopes:
        return x
    for rho, slope in zip(shares(places, h), slopes, strict=True):
        x = x - alpha_s * phi * rho * slope
    return x


def shares(places: list[float], h: float) -> list[float]:
    """The rho_i: sum_i rho_i r_i^(k - 1) = k! phi_(k + 1)(-h) / B(h), k = 1 .. p; 1/2 where there is one."""
    if len(places) == 1:
        return [0.5]
    phi, factorial, right = math.expm1(-h) / -h - 1, 1.0, []
    for k in range(1, len(places) + 1):
        right.append(phi * factorial / math.expm1(-h))
        factorial *= k + 1
        phi = phi / -h - 1 / factorial
    rows = np.vander(np.array(places), increasing=True).T
    found: list[float] = np.linalg.solve(rows, np.array(right)).tolist()
    return found
