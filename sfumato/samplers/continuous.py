"""Schedules that are formulas of the time, most of them without a grid: the network knows every time between 0 and 1."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from sfumato.config import Strict
from sfumato.kinds import build, choice
from sfumato.maths.diffusion import Coefficient
from sfumato.samplers.schedules import Cosine, Schedule


class Rectified(Schedule):
    """alpha = 1 - t, sigma = t: a straight line from each image to its noise.

    Reference: Liu, Gong and Liu (2023), Flow straight and fast; Lipman et al. (2023), Flow matching for generative modeling.
    """

    class Config(Strict):
        kind: Literal["rectified"] = "rectified"

    def alpha(self, t: Coefficient) -> Coefficient:
        return 1 - t.double()

    def sigma(self, t: Coefficient) -> Coefficient:
        return t.double()


class Edm(Schedule):
    """alpha = 1, sigma = most t^rho: with times evenly spaced, EDM's spacing of noise levels from nothing to the most.

    Reference: Karras et al. (2022), Elucidating the design space of diffusion-based generative models, equation 5.
    """

    class Config(Strict):
        kind: Literal["edm"] = "edm"
        most: float = Field(default=80.0, gt=0.0)
        """sigma at t = 1."""
        rho: float = Field(default=7.0, gt=0.0)
        """How much finer levels are near the data."""

    def alpha(self, t: Coefficient) -> Coefficient:
        return t.double().new_ones(t.shape)

    def sigma(self, t: Coefficient) -> Coefficient:
        return self.config.most * t.double() ** self.config.rho


class VarianceExploding(Schedule):
    """alpha = 1, sigma^2 = least^2 ((most / least)^(2 t) - 1): the VE SDE, what it adds to an image until t.

    Reference: Song et al. (2021), Score-based generative modeling through stochastic differential equations, equation 30.
    """

    class Config(Strict):
        kind: Literal["ve"] = "ve"
        least: float = Field(default=0.01, gt=0.0)
        """How fast noise is added at first."""
        most: float = Field(default=50.0, gt=0.0)
        """sigma at t = 1, nearly; Song and Ermon take the largest distance between two images."""

    def alpha(self, t: Coefficient) -> Coefficient:
        return t.double().new_ones(t.shape)

    def sigma(self, t: Coefficient) -> Coefficient:
        rate = 2 * math.log(self.config.most / self.config.least)
        return self.config.least * (rate * t.double()).expm1().sqrt()


class Geometric(Schedule):
    """alpha = 1, sigma from `least` at k = 1 to `most` at k = T by equal factors, and 0 at k = 0 (Song and Ermon, 2019)."""

    class Config(Strict):
        kind: Literal["geometric"] = "geometric"
        steps: int = Field(default=100, ge=2)
        """T, the number of levels; Song and Ermon take 10, and later 232 for images of 32 x 32."""
        least: float = Field(default=0.02, gt=0.0)
        """sigma of the softest level, on the scale -1 to 1."""
        most: float = Field(default=20.0, gt=0.0)
        """sigma of the loudest: about the largest distance between two images (20 for 16 x 16, 50 for 32 x 32)."""

    def __init__(self, config: Strict):
        super().__init__(config)
        self.grid = self.config.steps

    def alpha(self, t: Coefficient) -> Coefficient:
        return t.double().new_ones(t.shape)

    def sigma(self, t: Coefficient) -> Coefficient:
        c = self.config
        k = t.double() * c.steps
        levels = c.least * (c.most / c.least) ** ((k - 1) / (c.steps - 1))
        return torch.where(k < 1, k * c.least, levels)  # between none and the first level evenly


class VariancePreserving(Schedule):
    """log alpha = -t^2 (beta_max - beta_min) / 4 - t beta_min / 2, alpha^2 + sigma^2 = 1: the VP SDE.

    Reference: Song et al. (2021), Score-based generative modeling through stochastic differential equations, equation 32.
    """

    class Config(Strict):
        kind: Literal["vp"] = "vp"
        beta_min: float = Field(default=0.1, ge=0.0)
        """Rate at which noise is added at t = 0."""
        beta_max: float = Field(default=20.0, gt=0.0)
        """The same at t = 1."""

    def _log(self, t: Coefficient) -> Coefficient:
        low, high = self.config.beta_min, self.config.beta_max
        return -(t.double() ** 2) * (high - low) / 4 - t.double() * low / 2

    def alpha(self, t: Coefficient) -> Coefficient:
        return self._log(t).exp()

    def sigma(self, t: Coefficient) -> Coefficient:
        return (-(2 * self._log(t)).expm1()).sqrt()


class Shifted(Schedule):
    """Another schedule with `factor` times the noise at every time: sigma / alpha is multiplied, alpha^2 + sigma^2 = 1.

    Reference: Hoogeboom, Heek and Salimans (2023), Simple diffusion: End-to-end diffusion for high resolution images, section
    3.1: the same noise hides less of a larger image, whose neighbours say more.
    """

    class Config(Strict):
        kind: Literal["shifted"] = "shifted"
        of: Annotated[Any, choice(Schedule, "cosine")] = Cosine.Config()
        """The schedule that is shifted; if it knows a grid, this one knows the same."""
        factor: float = Field(default=2.0, gt=0.0)
        """Side of the images over 32, for images larger than 32 pixels; under 1: less noise."""

    def __init__(self, config: Strict):
        super().__init__(config)
        self.of: Schedule = build(self.config.of)
        self.grid = self.of.grid

    def _parts(self, t: Coefficient) -> tuple[Coefficient, Coefficient, Coefficient]:
        alpha, sigma = self.of.alpha(t), self.config.factor * self.of.sigma(t)
        return alpha, sigma, (alpha**2 + sigma**2).sqrt()

    def alpha(self, t: Coefficient) -> Coefficient:
        alpha, _, length = self._parts(t)
        return alpha / length

    def sigma(self, t: Coefficient) -> Coefficient:
        _, sigma, length = self._parts(t)
        return sigma / length
