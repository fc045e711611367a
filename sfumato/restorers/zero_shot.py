"""Zero-shot restorers: one unconditional denoiser undoes anything, by a walk that is told what was measured.

A method writes `step`, 10-20 lines; how the walk is placed, what it costs and what is done with its end is here. Any schedule
will do: formulas are in alpha and sigma, x_t = alpha x_0 + sigma eps.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import Annotated, Any, ClassVar, final

import torch
from pydantic import Field
from torch import Tensor

from sfumato.config import Strict
from sfumato.families.abilities import Denoises
from sfumato.images import Images
from sfumato.kinds import build, choice
from sfumato.networks.condition import Condition
from sfumato.restorers.base import Restorer, agree
from sfumato.samplers.base import Past, full
from sfumato.samplers.denoiser import Denoiser, clamped
from sfumato.samplers.schedules import Schedule
from sfumato.samplers.spacings import Karras, Spacing
from sfumato.streams import Rngs, normals, stream
from sfumato.tasks.base import Observation

WIDEST = (
    100.0  # variance from which nothing is known of an image in [-1, 1]; more would damp nothing of what a blur loses
)


class Calls(Strict):
    """What every method can be told that has no sampler of its own."""

    calls: int = Field(default=100, ge=1)
    """How many times the denoiser may be asked for an answer."""
    spacing: Annotated[Any, choice(Spacing, "karras")] = Karras.Config()
    """Where the steps lie: karras, quadratic or even."""


class ZeroShot(Restorer, abstract=True):
    """x_1 ~ N(0, spread^2), then `step` along `moves`, which may go up again; then agreement with y.

    The denoiser is clamped to [-1, 1] at every call, but for a walk that combines several answers.
    """

    needs: ClassVar[type | None] = Denoises
    trains_on_tasks: ClassVar[bool] = False
    unconditional: ClassVar[bool] = True
    draws: int = 0
    """How many times a step draws noise, at most."""
    affine: bool = True
    """Whether, with an affine denoiser, the end is an affine function of the noise and of y."""
    price: ClassVar[int] = 1
    """What a call costs, in calls without a slope."""
    combines: bool = False
    """Whether a step is made of several answers: such a walk must not be given clamped ones."""

    @abstractmethod
    def step(
        self, denoiser: Denoiser, observation: Observation, x_t: Images, t: float, s: float, rng: Rngs, past: Past
    ) -> Images:
        """x_s from x_t; s = 0 is the last step."""

    def moves(self, schedule: Schedule) -> list[tuple[float, float]]:
        """From which time to which, in order: down, unless a method jumps up."""
        spacing: Spacing = build(self.config.spacing)
        times = spacing.times(schedule, self.levels(schedule))
        return list(zip(times, times[1:], strict=False))

    def levels(self, schedule: Schedule) -> int:
        """How many steps down its calls allow, at most as many as a grid has."""
        return min(int(self.config.calls), schedule.grid or int(self.config.calls))

    def calls_a_move(self, t: float, s: float) -> int:
        """How often a step asks the denoiser."""
        return 1

    def begin(self, observation: Observation, schedule: Schedule, like: Images, rng: Rngs) -> Images:
        """Where the walk starts: noise of the shape of `like`."""
        return schedule.spread * normals(rng, *like.shape).to(like.dtype)

    @final
    def walk(self, denoiser: Denoiser, observation: Observation, like: Images, rng: Rngs) -> Images:
        """The end of a walk, neither clamped nor put into agreement; `like` has its shape and precision."""
        schedule = denoiser.schedule
        past: Past = []
        x = self.begin(observation, schedule, like, rng)
        for t, s in self.moves(schedule):
            x = self.step(denoiser, observation, x, t, s, rng, past)
        return x

    @final
    @torch.no_grad()
    def restore(self, observation: Observation, *, rng: Rngs) -> Images:
        """One draw for each image; no class is told.

        Raises: CapabilityError: the family was trained for a task, or the operator is not known or none for this method.
        """
        return self.answer(observation, None, rng=rng)

    @final
    @torch.no_grad()
    def answer(self, observation: Observation, label: Tensor | None, *, rng: Rngs) -> Images:
        """One draw for each image, of its class where the family has classes."""
        family: Any = self.family
        self.require_known(observation)
        self.check(observation)
        n, size = len(observation), observation.operator.size
        told = family.labels(label if family.labelled else None, n, rng)
        inner: Denoiser = family.denoiser(Condition(label=told))
        like = torch.empty(n, family.spec.channels, *size, device=observation.y.device)
        x: Images = self.walk(inner if self.combines else clamped(inner), observation, like, rng)
        return agree(torch.clamp(x.float(), -1.0, 1.0), observation)

    @final
    def calls(self) -> int:
        """The calls of one answer."""
        family: Any = self.family
        return self.cost(family.denoiser().schedule)

    @final
    def cost(self, schedule: Schedule) -> int:
        """The calls of a walk on a schedule."""
        return sum(self.calls_a_move(t, s) for t, s in self.moves(schedule))

    @classmethod
    def within(cls, config: Any, calls: int) -> Any:
        """The same settings for at most so many calls."""
        return config.model_copy(update={"calls": calls})

    @final
    @torch.no_grad()
    def seconds_a_call(self) -> float:
        """A second call, when libraries are warm."""
        family: Any = self.family
        x = torch.zeros(1, family.spec.channels, *family.spec.size, device=family.device)
        label = family.labels(None, 1, stream(0, "untold", device=family.device))
        denoiser, taken = family.denoiser(Condition(label=label)), 0.0
        for _ in range(2):
            start = time.perf_counter()
            denoiser(x, full(0.5, x)).mean.sum().item()
            taken = time.perf_counter() - start
        return self.price * taken


def nearer(x_0: Images, observation: Observation, variance: float | Tensor) -> Images:
    """E[x | y] for x ~ N(x_0, variance I): x_0 + A^T (A A^T + noise^2 / variance I)^-1 (y - A x_0); exact y bind it wholly.

    `variance` is a number, or one an image.
    """
    if observation.exact:
        return observation.project(x_0)
    ridge = torch.as_tensor(observation.noise**2 / variance, dtype=x_0.dtype, device=x_0.device)
    ridge = ridge.clamp(min=observation.noise**2 / WIDEST)
    off = observation.y - observation.operator.forward(x_0)
    return x_0 + observation.operator.solve(off, ridge.expand(len(x_0)).view(-1, 1, 1, 1))
