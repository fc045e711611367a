"""Samplers: from noise to an image, given a denoiser. A sampler writes one step; the walk is here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar, final

import torch
from pydantic import Field
from torch import Tensor

from sfumato.config import Strict
from sfumato.images import Images
from sfumato.kinds import Kind, build, choice
from sfumato.samplers.denoiser import Denoiser
from sfumato.samplers.schedules import Schedule
from sfumato.samplers.spacings import Karras, Spacing
from sfumato.streams import Rngs, normals

Past = list[Any]
"""What a multistep solver remembers of its earlier steps; a walk begins with an empty one."""


class Walk(Strict):
    """What every sampler can be asked."""

    steps: int | None = Field(default=25, ge=1)
    """How many steps; all of the schedule's levels when null."""
    spacing: Annotated[Any, choice(Spacing, "karras")] = Karras.Config()
    """Where the steps lie: karras, quadratic or even."""


class Sampler(Kind, ABC, root=True):
    """A walk from x_1 down to x_0; it knows no network, only a denoiser and its schedule."""

    combines: ClassVar[bool] = False
    """Whether a step is made of several answers, as of earlier steps: such a solver must not be given clamped ones."""

    def __init__(self, config: Walk):
        self.config: Any = config
        self.spacing: Spacing = build(config.spacing)

    @abstractmethod
    def step(self, denoiser: Denoiser, x_t: Images, t: float, s: float, rng: Rngs, past: Past) -> Images:
        """x_s from x_t, s < t; s = 0 is the last step."""

    @property
    def draws(self) -> int:
        """How many times a step draws noise, at most."""
        return 0

    def calls_a_step(self, s: float) -> int:
        """How often the step down to s calls the denoiser."""
        return 1

    @final
    def times(self, schedule: Schedule) -> list[float]:
        """The walk's times, from 1 down to 0."""
        return self.spacing.times(schedule, self.config.steps)

    @final
    def sample(self, denoiser: Denoiser, x_1: Images, rng: Rngs) -> Images:
        """x_0, as drawn by this walk from x_1; `rng` is on the device of x_1."""
        times, x = self.times(denoiser.schedule), x_1
        past: Past = []
        for t, s in zip(times, times[1:], strict=False):
            x = self.step(denoiser, x, t, s, rng, past)
        return x

    @final
    def calls(self, schedule: Schedule) -> int:
        """How often one image calls the denoiser: the cost of a sample."""
        return sum(self.calls_a_step(s) for s in self.times(schedule)[1:])


def full(t: float, like: Images) -> Tensor:
    """The same time for every image, float64."""
    return torch.full((len(like),), t, dtype=torch.float64, device=like.device)


def noise_like(x: Images, rng: Rngs) -> Images:
    """Standard normal numbers of the shape of x."""
    return normals(rng, *x.shape)
