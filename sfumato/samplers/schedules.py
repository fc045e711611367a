"""Noise schedules: x_t = alpha(t) x_0 + sigma(t) eps for real t in [0, 1], from data at 0 to noise at 1; all in float64.

Everything else of a diffusion follows from these two functions: `maths/diffusion.py` has the formulas. A coefficient is cast
to the precision of the images when it multiplies them, never before two of them are subtracted.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Literal, final

import numpy as np
import torch
from jaxtyping import Float64
from pydantic import Field, model_validator
from torch import Generator, Tensor

from sfumato.config import Strict
from sfumato.kinds import Kind
from sfumato.maths.diffusion import Coefficient, Posterior, posterior

FEW = (0.01, 0.05, 0.2, 0.5, 0.8)  # betas of a walk of five steps, for trying
FINE = 4096  # places at which a schedule without a grid is looked at, to invert it


class Schedule(Kind, ABC, root=True):
    """alpha(t) and sigma(t); one that was trained on a grid of T levels says so by `grid`."""

    grid: int | None = None
    """T, where a network only knows the times k / T; None where it knows every time."""

    def __init__(self, config: Strict):
        self.config: Any = config

    @abstractmethod
    def alpha(self, t: Coefficient) -> Coefficient:
        """The factor of the image, 1 at t = 0; float64."""

    @abstractmethod
    def sigma(self, t: Coefficient) -> Coefficient:
        """The standard deviation of the noise, 0 at t = 0; float64."""

    def draw(self, n: int, rng: Generator) -> Float64[Tensor, " n"]:
        """n times to train at: evenly over the grid, or over (0, 1]."""
        if self.grid is not None:
            return torch.randint(1, self.grid + 1, (n,), generator=rng, device=rng.device).double() / self.grid
        return 1.0 - torch.rand(n, generator=rng, device=rng.device, dtype=torch.float64)

    @final
    def at(self, t: float) -> tuple[float, float]:
        """alpha and sigma at one time."""
        time = torch.tensor(t, dtype=torch.float64)
        return float(self.alpha(time)), float(self.sigma(time))

    @final
    def time_at(self, ratio: Float64[Tensor, "..."]) -> Float64[Tensor, "..."]:
        """The times at which sigma / alpha has these values; of a grid the nearest level with noise."""
        t = torch.from_numpy(time_of(self, ratio.cpu().numpy())).to(ratio.device)
        return t if self.grid is None else (t * self.grid).round().clamp(min=1) / self.grid

    @final
    def posterior(self, t: Coefficient, s: Coefficient) -> Posterior[Tensor]:
        """What q(x_s | x_t, x_0) is made of, for times s < t."""
        return posterior((self.alpha(t), self.sigma(t)), (self.alpha(s), self.sigma(s)))

    @final
    def noise(self, x_s: Tensor, s: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """x_t from x_s for s < t: alpha_t / alpha_s x_s + sqrt(sigma_t^2 - (alpha_t / alpha_s)^2 sigma_s^2) eps."""
        ratio = self.alpha(t) / self.alpha(s)
        spread = (self.sigma(t) ** 2 - (ratio * self.sigma(s)) ** 2).clamp(min=0).sqrt()
        if ratio.ndim == 1:  # a time an image
            ratio, spread = (part.view(-1, *[1] * (x_s.ndim - 1)) for part in (ratio, spread))
        return ratio.to(x_s.dtype) * x_s + spread.to(x_s.dtype) * eps

    @property
    def spread(self) -> float:
        """The standard deviation of x_1 for data of variance 1: where a walk begins."""
        alpha, sigma = self.at(1.0)
        return math.sqrt(alpha**2 + sigma**2)

    @final
    def places(self) -> Float64[Tensor, " K"]:
        """The times from 0 to 1 that the network knows, or many of them where it knows all."""
        return torch.linspace(0.0, 1.0, (self.grid or FINE) + 1, dtype=torch.float64)


class Steps(Strict):
    """What every schedule on a grid has."""

    steps: int = Field(default=1000, ge=2)
    """T, the number of noise levels the network is trained on."""
    rounded: bool = False
    """Round alpha_bar to float32 before 1 - alpha_bar is taken, as version 0.1 did: it repeats its figures to the digit."""


class Grid(Schedule, abstract=True):
    """alpha_bar_k = prod_{j <= k} (1 - beta_j) at t = k / T; between two levels log alpha_bar is linear."""

    def __init__(self, config: Steps):
        super().__init__(config)
        self.grid = config.steps
        self.alpha_bar: Float64[Tensor, " T1"] = torch.cat(
            [torch.ones(1, dtype=torch.float64), (1.0 - self.betas()).cumprod(0)]
        )
        if config.rounded:
            self.alpha_bar = self.alpha_bar.float().double()
        self._log = self.alpha_bar.log()
        self._placed: dict[torch.device, tuple[Tensor, Tensor, Tensor]] = {}  # copies on other devices, made once

    @abstractmethod
    def betas(self) -> Float64[Tensor, " T"]:
        """beta_k for k = 1..T: the variance of the noise added by step k."""

    def _tables(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        if device not in self._placed:
            bar = self.alpha_bar.float() if self.config.rounded else self.alpha_bar
            tables = (bar.sqrt().double(), (1 - bar).sqrt().double(), self._log)
            self._placed[device] = tuple(table.to(device) for table in tables)  # type: ignore[assignment]
        return self._placed[device]

    def _look(self, t: Coefficient, table: int) -> Coefficient:
        tables = self._tables(t.device)
        place = t.double() * self.steps
        nearest = place.round()
        found = tables[table][nearest.long()]
        off = (place - nearest).abs() > 1e-6
        if not bool(off.any()):
            return found
        low = place.floor().clamp(max=self.steps - 1).long()
        log = torch.lerp(tables[2][low], tables[2][low + 1], place - low)
        between = (log / 2).exp() if table == 0 else (-torch.expm1(log)).sqrt()
        return torch.where(off, between, found)

    @property
    def steps(self) -> int:
        """T."""
        return int(self.config.steps)

    @final
    def alpha(self, t: Coefficient) -> Coefficient:
        """sqrt(alpha_bar)."""
        return self._look(t, 0)

    @final
    def sigma(self, t: Coefficient) -> Coefficient:
        """sqrt(1 - alpha_bar)."""
        return self._look(t, 1)


class Linear(Grid):
    """beta_k rises linearly from beta_min to beta_max.

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

    def betas(self) -> Float64[Tensor, " T"]:
        """beta_k = beta_min + (k - 1) / (T - 1) (beta_max - beta_min), at most 0.999."""
        factor = 1000.0 / self.steps if self.config.rescale else 1.0
        ends = (self.config.beta_min * factor, self.config.beta_max * factor)
        return torch.linspace(*ends, self.steps, dtype=torch.float64).clamp(max=0.999)


class Cosine(Grid):
    """alpha_bar = cos^2((t + s) / (1 + s) pi / 2), divided by its value at 0; beta at most 0.999.

    Reference: Nichol and Dhariwal (2021), Improved denoising diffusion probabilistic models.
    """

    class Config(Steps):
        kind: Literal["cosine"] = "cosine"
        s: float = Field(default=0.008, ge=0.0)
        """The offset that keeps beta_1 from vanishing."""

    def betas(self) -> Float64[Tensor, " T"]:
        """beta_k = 1 - alpha_bar_k / alpha_bar_{k-1}."""
        time = torch.arange(self.steps + 1, dtype=torch.float64) / self.steps
        f = ((time + self.config.s) / (1 + self.config.s) * math.pi / 2).cos() ** 2
        return (1 - f[1:] / f[:-1]).clamp(max=0.999)


class Betas(Grid):
    """Any betas, written down: for networks whose training is known by its table.

    Example:
        >>> Betas(Betas.Config(betas=[0.5, 0.5])).at(1.0)
        (0.5, 0.8660254037844386)
    """

    class Config(Steps):
        kind: Literal["betas"] = "betas"
        steps: int = Field(default=5, ge=2)
        """The number of betas."""
        betas: tuple[float, ...] = Field(default=FEW, min_length=2)
        """beta_1 to beta_T; T is their number, whatever `steps` says."""

        @model_validator(mode="before")
        @classmethod
        def _counted(cls, values: Any) -> Any:
            betas = values.get("betas", FEW) if isinstance(values, dict) else None
            return {**values, "steps": len(betas)} if isinstance(betas, list | tuple) else values

        @model_validator(mode="after")
        def _inside(self) -> Betas.Config:
            if not all(0 < beta < 1 for beta in self.betas):
                raise ValueError("a beta is a variance between 0 and 1, both excluded")
            return self

    def betas(self) -> Float64[Tensor, " T"]:
        """As they are."""
        return torch.tensor(self.config.betas, dtype=torch.float64)


def time_of(schedule: Schedule, ratio: np.ndarray) -> np.ndarray:
    """The times at which sigma / alpha has these values: the schedule inverted between its places."""
    t = schedule.places()
    log = (schedule.sigma(t) / schedule.alpha(t)).clamp(min=1e-12, max=1e12).log().numpy()
    return np.interp(np.log(ratio), log, t.numpy())
