"""Samplers judged exactly: where images are normal, a walk stays normal, and how far it ends from them is a formula.

In the axes of the covariance every number walks for itself: its mean and variance after each step follow from what the sampler
makes of 0, of 1 and of noise. The sampler that is judged is the one that draws images, not a copy of its formula.
Reference: Pierret and Galerne (2025), Diffusion models for Gaussian distributions: Exact solutions and Wasserstein errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Float64
from torch import Tensor

from sfumato.images import Images
from sfumato.samplers.base import Sampler
from sfumato.samplers.denoiser import Denoised, Denoiser, From, Times
from sfumato.samplers.schedules import Schedule
from sfumato.streams import normals, stream

SPARE = 2  # seeds beyond those that the noise of a step could be solved for with


class Known(Protocol):
    """A law whose denoiser is a formula."""

    def denoised(self, x_t: Float64[Tensor, "n d"], alpha: float, sigma: float) -> Float64[Tensor, "n d"]:
        """E[x_0 | x_t] of x_t = alpha x_0 + sigma eps."""
        ...


class Law(NamedTuple):
    """Independent normal numbers: the coordinates of normal images in the axes of their covariance."""

    mean: Float64[Tensor, " d"]
    variance: Float64[Tensor, " d"]

    def at(self, schedule: Schedule, t: float) -> Law:
        """What noise makes of it until t: N(alpha m, alpha^2 v + sigma^2)."""
        alpha, sigma = schedule.at(t)
        return Law(alpha * self.mean, alpha**2 * self.variance + sigma**2)

    def denoised(self, x_t: Float64[Tensor, "n d"], alpha: float, sigma: float) -> Float64[Tensor, "n d"]:
        """E[x_0 | x_t] = m + alpha v / (alpha^2 v + sigma^2) (x_t - alpha m)."""
        gain = alpha * self.variance / (alpha**2 * self.variance + sigma**2)
        return self.mean + gain * (x_t - alpha * self.mean)

    def distance(self, other: Law) -> float:
        """W_2, the root of sum (m - m')^2 + (sd - sd')^2."""
        apart = (self.mean - other.mean).square() + (self.variance.sqrt() - other.variance.sqrt()).square()
        return float(apart.sum().sqrt())


@dataclass(frozen=True)
class Errors:
    """W_2 between what is drawn and the images, in all and of each cause alone."""

    total: float
    start: float
    """The exact flow, begun at N(0, spread^2) where it should begin at noisy images."""
    steps: float
    """Begun right: how far the walk is from the noisy images at its last time but 0, over their alpha."""
    end: float
    """The last step alone, from noisy images as they should be there."""
    calls: int


def denoiser_of(law: Known, schedule: Schedule) -> Denoiser:
    """The exact denoiser of a law of images as rows of numbers; coordinates come as pictures of 1 x d."""

    def call(x_t: Images, t: Times) -> Denoised:
        mean = law.denoised(x_t.flatten(1), *schedule.at(float(t.flatten()[0])))
        return Denoised(mean.to(x_t.dtype).view_as(x_t))

    return From(schedule, call)


def walked(sampler: Sampler, denoiser: Denoiser, times: list[float], start: Law) -> Iterator[Law]:
    """The law after each step of a walk over these times."""
    d = len(start.mean)
    if sampler.draws == 0:  # whatever it remembers, the walk is a linear function of its start
        x, past = torch.stack([torch.zeros(1, 1, d), torch.ones(1, 1, d)]).double(), list[object]()
        for t, s in zip(times, times[1:], strict=False):
            x = sampler.step(denoiser, x, t, s, stream(0, "none"), past)
            none, one = x[:, 0, 0]
            yield Law(none + (one - none) * start.mean, (one - none) ** 2 * start.variance)
        return
    law, seeds = start, sampler.draws + 1 + SPARE
    for number, (t, s) in enumerate(zip(times, times[1:], strict=False)):
        x = torch.zeros(seeds + 1, 1, 1, d, dtype=torch.float64)
        x[-1] = 1.0  # and with the noise of the first, so that between the two is what the step makes of 1
        names = [*range(seeds), 0]
        x = sampler.step(denoiser, x, t, s, [stream(0, "noise", number, name) for name in names], [])[:, 0, 0]
        rngs = [stream(0, "noise", number, name) for name in range(seeds)]
        noise = [normals(rngs, seeds, 1, 1, d)[:, 0, 0].double() for _ in range(sampler.draws)]
        known = torch.stack([torch.ones_like(noise[0]), *noise], 2).transpose(0, 1)  # [d, seeds, 1 + draws]
        found = torch.linalg.lstsq(known, x[:-1].T[:, :, None]).solution[:, :, 0]
        slope = x[-1] - x[0]
        law = Law(found[:, 0] + slope * law.mean, slope**2 * law.variance + found[:, 1:].square().sum(1))
        yield law


def errors(sampler: Sampler, schedule: Schedule, law: Law) -> Errors:
    """How far a walk ends from normal images, and why."""
    denoiser, times = denoiser_of(law, schedule), sampler.times(schedule)
    d, spread = law.mean, schedule.spread
    begun = Law(torch.zeros_like(d), torch.full_like(d, spread**2))
    noisy = law.at(schedule, 1.0)
    ratio = (law.variance / noisy.variance).sqrt()  # the flow of probability keeps every number at its quantile
    flowed = Law(law.mean + ratio * (begun.mean - noisy.mean), ratio**2 * begun.variance)
    *_, total = walked(sampler, denoiser, times, begun)
    last = times[-2]
    *_, right = [noisy, *walked(sampler, denoiser, times[:-1], noisy)]
    *_, ended = walked(sampler, denoiser, times[-2:], law.at(schedule, last))
    alpha = max(schedule.at(last)[0], 1e-12)
    return Errors(
        total=total.distance(law),
        start=flowed.distance(law),
        steps=right.distance(law.at(schedule, last)) / alpha,
        end=ended.distance(law),
        calls=sampler.calls(schedule),
    )
