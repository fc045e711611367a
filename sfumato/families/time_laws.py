"""At which times a denoiser is taught: a slot of the diffusion families."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
from jaxtyping import Float64
from pydantic import Field
from torch import Generator, Tensor

from sfumato.config import Strict
from sfumato.kinds import Kind
from sfumato.samplers.schedules import Schedule, time_of

LEAST = 1e-6  # the earliest time that is taught where there is no grid


class TimeLaw(Kind, ABC, root=True):
    """Draws times in (0, 1]; those of a schedule with a grid lie on it."""

    def __init__(self, config: Strict):
        self.config: Any = config

    @abstractmethod
    def draw(self, schedule: Schedule, n: int, rng: Generator) -> Float64[Tensor, " n"]:
        """n times."""


class EvenTimes(TimeLaw):
    """All times, or all levels, alike."""

    class Config(Strict):
        kind: Literal["even"] = "even"

    def draw(self, schedule: Schedule, n: int, rng: Generator) -> Float64[Tensor, " n"]:
        return schedule.draw(n, rng)


class LogNormal(TimeLaw):
    """log(sigma / alpha) ~ N(mean, sd^2): levels between those at which all is decided and those at which nothing is.

    Reference: Karras et al. (2022), Elucidating the design space of diffusion-based generative models, table 1.
    """

    class Config(Strict):
        kind: Literal["log_normal"] = "log_normal"
        mean: float = -1.2
        """Of log(sigma / alpha)."""
        sd: float = Field(default=1.2, gt=0.0)
        """Of the same."""

    def draw(self, schedule: Schedule, n: int, rng: Generator) -> Float64[Tensor, " n"]:
        log = self.config.mean + self.config.sd * torch.randn(n, generator=rng, device=rng.device, dtype=torch.float64)
        times = torch.from_numpy(time_of(schedule, log.exp().cpu().numpy())).to(rng.device)
        return placed(times, schedule)


class LogitNormal(TimeLaw):
    """t = sigmoid(mean + sd z), z ~ N(0, 1): the middle of straight paths, where directions differ most.

    Reference: Esser et al. (2024), Scaling rectified flow transformers for high-resolution image synthesis, section 3.1.
    """

    class Config(Strict):
        kind: Literal["logit_normal"] = "logit_normal"
        mean: float = 0.0
        """Of the logit of t."""
        sd: float = Field(default=1.0, gt=0.0)
        """Of the same."""

    def draw(self, schedule: Schedule, n: int, rng: Generator) -> Float64[Tensor, " n"]:
        z = torch.randn(n, generator=rng, device=rng.device, dtype=torch.float64)
        return placed(torch.sigmoid(self.config.mean + self.config.sd * z), schedule)


def placed(t: Float64[Tensor, " n"], schedule: Schedule) -> Float64[Tensor, " n"]:
    """The nearest times that a network can be told: levels of a grid, or none at which there is no noise at all."""
    if schedule.grid is not None:
        return (t * schedule.grid).round().clamp(1, schedule.grid) / schedule.grid
    return t.clamp(min=LEAST, max=1.0)
