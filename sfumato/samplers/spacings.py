"""Spacings: at which times a walk of few steps looks at the network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal, final

import numpy as np
from pydantic import Field

from sfumato.config import Strict
from sfumato.kinds import Kind
from sfumato.samplers.schedules import Schedule, time_of


class Spacing(Kind, ABC, root=True):
    """A decreasing walk 1 = t_0 > t_1 > ... > t_n = 0."""

    def __init__(self, config: Strict):
        self.config: Any = config

    @abstractmethod
    def spaced(self, schedule: Schedule, n: int) -> np.ndarray:
        """n + 1 rising numbers from 0 to 1."""

    @final
    def times(self, schedule: Schedule, steps: int | None) -> list[float]:
        """The walk; a schedule on a grid is only looked at on it, so that no time comes twice. All of the grid for None.

        Example:
            >>> from sfumato.samplers.schedules import Linear
            >>> [round(1000 * t) for t in Even(Even.Config()).times(Linear(Linear.Config(steps=1000)), 4)]
            [1000, 750, 500, 250, 0]
            >>> [round(1000 * t) for t in Quadratic(Quadratic.Config()).times(Linear(Linear.Config(steps=1000)), 4)]
            [1000, 562, 250, 62, 0]
        """
        grid = schedule.grid
        n = min(steps or grid or 1000, grid or 10**9)
        rising = self.spaced(schedule, n)
        if grid is not None:
            places = [round(float(t) * grid) for t in rising]
            for k in range(1, n + 1):  # no two alike, and room for those above
                places[k] = min(max(places[k], places[k - 1] + 1), grid - (n - k))
            rising = np.array(places) / grid
        return [float(t) for t in rising[::-1]]


class Even(Spacing):
    """Times one like the other."""

    class Config(Strict):
        kind: Literal["even"] = "even"

    def spaced(self, schedule: Schedule, n: int) -> np.ndarray:
        """k / n."""
        return np.linspace(0.0, 1.0, n + 1)


class Quadratic(Spacing):
    """Most of the steps near the data, where details are decided.

    Reference: Song, Meng and Ermon (2021), Denoising diffusion implicit models, appendix D.2 (their choice on CIFAR-10).
    """

    class Config(Strict):
        kind: Literal["quadratic"] = "quadratic"

    def spaced(self, schedule: Schedule, n: int) -> np.ndarray:
        """(k / n)^2."""
        return np.linspace(0.0, 1.0, n + 1) ** 2


class Karras(Spacing):
    """Even steps of the noise-to-signal ratio to the power 1 / rho.

    Reference: Karras et al. (2022), Elucidating the design space of diffusion-based generative models, equation 5.
    """

    class Config(Strict):
        kind: Literal["karras"] = "karras"
        rho: float = Field(default=7.0, gt=0.0)
        """How much finer the steps are near the data."""
        least: float = Field(default=0.002, gt=0.0)
        """sigma / alpha of the last step before 0."""
        most: float = Field(default=80.0, gt=0.0)
        """sigma / alpha of the first step, where the schedule has so much."""

    def spaced(self, schedule: Schedule, n: int) -> np.ndarray:
        """0, then (least^(1/rho) + k (most^(1/rho) - least^(1/rho)))^rho as times, the last one 1."""
        alpha, sigma = schedule.at(1.0)
        most = min(self.config.most, sigma / max(alpha, 1e-12))
        power = 1 / self.config.rho
        ratio = np.linspace(self.config.least**power, most**power, n) ** self.config.rho
        times = np.concatenate([[0.0], time_of(schedule, ratio)])
        times[-1] = 1.0
        return times
