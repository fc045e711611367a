"""Noise schedules: how much of the image is left at each time, alpha_bar_t for t = 0 (data) to T (noise).

Everything else of a diffusion follows from alpha_bar: `maths/diffusion.py` has the formulas.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Literal, final

import torch
from jaxtyping import Float64
from pydantic import Field, model_validator
from torch import Tensor

from sfumato.config import Strict
from sfumato.kinds import Kind


class Steps(Strict):
    """What every schedule has."""

    steps: int = Field(default=1000, ge=2)
    """T, the number of noise levels the network is trained on."""


class Schedule(Kind, ABC, root=True):
    """alpha_bar as a table of T + 1 numbers, float64, from 1 at t = 0 down to nearly 0 at t = T."""

    def __init__(self, config: Steps):
        self.config: Any = config
        self.steps: int = config.steps
        self.alpha_bar = self.table()
        self._placed: dict[torch.device, Tensor] = {}  # copies on other devices, made once

    @abstractmethod
    def betas(self) -> Float64[Tensor, "T"]:
        """beta_t for t = 1..T: the variance of the noise added by step t."""

    @final
    def table(self) -> Float64[Tensor, "T1"]:
        """alpha_bar_t = prod_{s <= t} (1 - beta_s), with alpha_bar_0 = 1 (Ho, Jain and Abbeel, 2020)."""
        return torch.cat([torch.ones(1, dtype=torch.float64), (1.0 - self.betas()).cumprod(0)])

    @final
    def at(self, t: Tensor, like: Tensor) -> Tensor:
        """alpha_bar_t for a batch of times, shaped [B, 1, 1, 1] and placed as `like`."""
        if like.device not in self._placed:
            self._placed[like.device] = self.alpha_bar.to(like.device)
        return self._placed[like.device][t].to(like.dtype).view(-1, 1, 1, 1)

    @final
    def times(self, steps: int | None) -> list[int]:
        """A decreasing walk T = t_0 > t_1 > ... > 0 of that many steps, evenly spaced; all T for None.

        Example:
            >>> Linear(Linear.Config(steps=10)).times(4)
            [10, 8, 5, 2, 0]
        """
        steps = min(steps or self.steps, self.steps)
        return [round(t) for t in torch.linspace(self.steps, 0, steps + 1, dtype=torch.float64).tolist()]


class Linear(Schedule):
    """beta_t rises linearly from beta_min to beta_max.

    Reference: Ho, Jain and Abbeel (2020), Denoising diffusion probabilistic models: 1e-4 to 0.02 at T = 1000.
    """

    class Config(Steps):
        kind: Literal["linear"] = "linear"
        beta_min: float = Field(default=1e-4, gt=0.0, lt=1.0)
        """beta_1 at T = 1000."""
        beta_max: float = Field(default=0.02, gt=0.0, lt=1.0)
        """beta_T at T = 1000."""
        rescale: bool = True
        """Multiply both by 1000 / T, so that any T ends in noise; off, they are used as they are."""

        @model_validator(mode="after")
        def _ordered(self) -> Linear.Config:
            if self.beta_min > self.beta_max:
                raise ValueError(f"beta_min = {self.beta_min} is above beta_max = {self.beta_max}; swap them")
            return self

    def betas(self) -> Float64[Tensor, "T"]:
        """beta_t = beta_min + (t - 1) / (T - 1) (beta_max - beta_min), at most 0.999."""
        factor = 1000.0 / self.steps if self.config.rescale else 1.0
        ends = (self.config.beta_min * factor, self.config.beta_max * factor)
        return torch.linspace(*ends, self.steps, dtype=torch.float64).clamp(max=0.999)


class Cosine(Schedule):
    """alpha_bar_t = cos^2((t / T + s) / (1 + s) pi / 2), divided by its value at 0; beta at most 0.999.

    Reference: Nichol and Dhariwal (2021), Improved denoising diffusion probabilistic models.
    """

    class Config(Steps):
        kind: Literal["cosine"] = "cosine"
        s: float = Field(default=0.008, ge=0.0)
        """The offset that keeps beta_1 from vanishing."""

    def betas(self) -> Float64[Tensor, "T"]:
        """beta_t = 1 - alpha_bar_t / alpha_bar_{t-1}."""
        time = torch.arange(self.steps + 1, dtype=torch.float64) / self.steps
        f = ((time + self.config.s) / (1 + self.config.s) * math.pi / 2).cos() ** 2
        return (1 - f[1:] / f[:-1]).clamp(max=0.999)
