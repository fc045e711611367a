"""Restorers judged exactly: where images are normal the posterior is a formula, and so is the end of a walk that is affine.

A step is tried on the images that differ in one number each and on many seeds, which tells what it makes of x_t, of y and of
noise; mean and covariance follow. What is judged is the restorer that answers for people, not a copy of its formula.
Reference: Pierret and Galerne (2025), Exact evaluation of diffusion models for inverse problems with Gaussian data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from sfumato.maths.gaussians import frechet_distance
from sfumato.maths.mixture import Mixture
from sfumato.restorers.zero_shot import ZeroShot
from sfumato.samplers.denoiser import Denoiser
from sfumato.streams import normals, stream
from sfumato.tasks.base import Observation, Operator

SPARE = 2  # seeds beyond those that the noise of a step could be solved for with
HALF = 1.6448536269514722  # deviations on either side that hold nine tenths of a normal number
TINY = 1e-9  # variance below which a number is known and no interval is asked for


class Normal(NamedTuple):
    """For each y a mean, for all of them one covariance."""

    means: Float64[Tensor, "n d"]
    covariance: Float64[Tensor, "d d"]


@dataclass(frozen=True)
class Judged:
    """How far an answer's law is from the posterior, on the scale of images (-1 to 1); root mean squares over numbers and y."""

    distance: float
    """W_2 to the posterior."""
    mean: float
    """Of the mean alone from E[x | y]."""
    spread: float
    """Root of the ratio of the variances, 1 where draws differ as much as they should."""
    coverage: float
    """Share of true numbers between the 5 and 95 % quantiles of the answers: 0.9 where they know what they do not know."""
    error: float = 0.0
    """The standard error of the distance, where it rests on draws."""


def matrix_of(operator: Operator, shape: tuple[int, int, int]) -> Float64[Tensor, "m d"]:
    """A of the first image, from what it makes of the images that are 1 at one place."""
    d = math.prod(shape)
    basis = torch.eye(d, dtype=torch.float64).view(d, *shape)
    return repeated(operator, d).forward(basis).flatten(1).T


def repeated(operator: Operator, n: int) -> Operator:
    """The operator of the first image for n images."""
    return operator.pick(torch.zeros(n, dtype=torch.int64))


def posterior(law: Mixture, a: Float64[Tensor, "m d"], y: Float64[Tensor, "n m"], noise: float) -> Normal:
    """N(m, C) given y = A x + noise n: the mean m + K (y - A m) and C - K A C, K = C A^T (A C A^T + noise^2 I)^+."""
    mean, c = law.means[0], law.covariance
    gain = c @ a.T @ torch.linalg.pinv(a @ c @ a.T + noise**2 * torch.eye(len(a), dtype=torch.float64), hermitian=True)
    left = c - gain @ a @ c
    return Normal(mean + (y - a @ mean) @ gain.T, (left + left.T) / 2)


def seen(operator: Operator, y: Float64[Tensor, "n m"], shape: tuple[int, int, int], noise: float) -> Observation:
    """An observation of n images by the first image's operator."""
    many = repeated(operator, len(y))
    form = many.forward(torch.zeros(len(y), *shape, dtype=torch.float64)).shape
    y = y.view(form)
    return Observation(many.forward(y) if many.hides else y, many, torch.ones_like(many.known), noise)


def walked(
    restorer: ZeroShot, denoiser: Denoiser, operator: Operator, y: Float64[Tensor, "n m"],
    shape: tuple[int, int, int], noise: float,
) -> Normal:  # fmt: skip
    """The law of a walk's end for each y, brought into agreement where y is exact; all by formulas."""
    n, d = len(y), math.prod(shape)
    draws = max(restorer.draws, 1)  # the beginning draws once
    seeds = draws * d + 1 + SPARE
    rows = torch.cat([y, y[:1].expand(seeds + d, -1)])
    observation = seen(operator, rows, shape, noise)
    seed = [0] * n + list(range(seeds)) + [0] * d

    def streams() -> list[torch.Generator]:  # the same numbers at every step: only what is made of them is asked for
        return [stream(0, "noise", name) for name in seed]

    def answered(x: Tensor, t: float, s: float) -> Float64[Tensor, "rows d"]:
        x = x.view(-1, *shape)
        if t == s:
            return restorer.begin(observation, denoiser.schedule, x, streams()).flatten(1)
        return restorer.step(denoiser, observation, x, t, s, streams(), []).flatten(1)

    sources = streams()[n : n + seeds]
    drawn = [normals(sources, seeds, *shape).flatten(1).double() for _ in range(draws)]
    solve = torch.linalg.pinv(torch.cat([torch.ones(seeds, 1, dtype=torch.float64), *drawn], 1))
    law = Normal(torch.zeros(n, d, dtype=torch.float64), torch.zeros(d, d, dtype=torch.float64))
    for t, s in [(1.0, 1.0), *restorer.moves(denoiser.schedule)]:
        x = torch.zeros(n + seeds + d, d, dtype=torch.float64)
        x[:n], x[n + seeds :] = law.means, torch.eye(d, dtype=torch.float64)
        out = answered(x, t, s)
        plain = out[n : n + seeds]
        found = solve @ plain  # a constant, and what each number of noise adds
        mapped = out[n + seeds :] - plain[0]
        covariance = mapped.T @ law.covariance @ mapped + found[1:].T @ found[1:]
        law = Normal(out[:n] - (plain[0] - found[0]), covariance)
    if noise == 0:
        a = matrix_of(operator, shape)
        keep = torch.eye(d, dtype=torch.float64) - torch.linalg.pinv(a) @ a
        law = Normal(law.means @ keep.T + y @ torch.linalg.pinv(a).T, keep @ law.covariance @ keep.T)
    return law


def judged(answer: Normal, true: Normal) -> Judged:
    """An answer's law beside the posterior's."""
    d = len(true.covariance)
    zero = torch.zeros(d, dtype=torch.float64)
    off = (answer.means - true.means).square().sum(1).mean()
    apart = frechet_distance(zero, answer.covariance, zero, true.covariance)
    variance, own = true.covariance.diagonal(), answer.covariance.diagonal().clamp(min=0)
    open_ = variance > TINY
    bias = (answer.means - true.means)[:, open_]
    return Judged(
        distance=math.sqrt((float(off) + apart) / d),
        mean=math.sqrt(float(off) / d),
        spread=math.sqrt(float(own[open_].sum() / variance[open_].sum())),
        coverage=covered(bias, own[open_].sqrt(), variance[open_].sqrt()),
    )


def covered(bias: Float64[Tensor, "*n d"], own: Float64[Tensor, " d"], sd: Float64[Tensor, " d"]) -> float:
    """Share of N(0, sd^2) within bias +- HALF own: how often an interval of nine tenths holds the truth.

    Example:
        >>> one = torch.ones(1, dtype=torch.float64)
        >>> round(covered(0 * one, one, one), 6)
        0.9
    """
    ends = [torch.special.ndtr((bias + sign * HALF * own) / sd) for sign in (1, -1)]
    return float((ends[0] - ends[1]).mean())
