"""Toy: points of a mixture of Gaussians in the plane, whose true density and score are known in closed form."""

from __future__ import annotations

import math
from typing import Literal, Self

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from sfumato.data.base import Dataset, Source, SourceConfig, Split
from sfumato.images import to_uint8
from sfumato.streams import stream


class Toy(Source):
    """Points of the plane as "images" of 2 channels and 1 x 1 pixels: 8 in 10 to train, 1 to validate, 1 to test.

    The modes stand evenly on a circle and weigh the same; a label is the number of the mode that a point came from.
    The coordinates lie in [-1, 1] and are stored as 256 levels like any image, which adds less than 0.3 % to the
    variance at the default sigma. Points are drawn independently, so equal ones may occur in two parts.

    Example:
        >>> toy = Toy(Toy.Config(modes=4))
        >>> toy.load().spec
        DataSpec(channels=2, size=(1, 1), classes=4, condition=0)
        >>> means, sigma, weights = toy.mixture()
        >>> tuple(means.shape), sigma, weights.tolist()
        ((4, 2), 0.05, [0.25, 0.25, 0.25, 0.25])
    """

    class Config(SourceConfig):
        kind: Literal["toy"] = "toy"
        modes: int = Field(default=8, ge=1)
        """Number of Gaussians."""
        radius: float = Field(default=0.7, ge=0)
        """Distance of their means from the origin."""
        sigma: float = Field(default=0.05, gt=0)
        """Standard deviation of each coordinate within a mode."""
        n: int = Field(default=20_000, ge=10)
        """How many points to draw for the three parts together."""

        @model_validator(mode="after")
        def _inside(self) -> Self:
            # Clamping to [-1, 1] would bend the density, and the closed-form score would no longer be the truth.
            if self.radius + 4 * self.sigma > 1:
                raise ValueError(
                    f"radius {self.radius} and sigma {self.sigma} put points outside [-1, 1]; "
                    "radius + 4 sigma may be at most 1, so make one of them smaller"
                )
            return self

    config: Config

    def mixture(self) -> tuple[Float[Tensor, "K 2"], float, Float[Tensor, " K"]]:
        """Means [K, 2], the sigma that all modes share, and weights [K]: what the exact score needs."""
        modes = self.config.modes
        angle = torch.arange(modes, dtype=torch.float64) * (2 * math.pi / modes)
        means = self.config.radius * torch.stack([angle.cos(), angle.sin()], dim=1)
        return means.float(), self.config.sigma, torch.full((modes,), 1.0 / modes)

    def read(self) -> Dataset:
        n = self.config.n
        means, sigma, weights = self.mixture()
        labels = torch.multinomial(weights, n, replacement=True, generator=stream(0, "toy", "mode"))
        points = means[labels] + sigma * torch.randn(n, 2, generator=stream(0, "toy", "point"))
        everything = Split(to_uint8(points[:, :, None, None]), labels)
        tenth = n // 10
        parts = torch.arange(n).tensor_split((n - 2 * tenth, n - tenth))
        train, validation, test = (everything.pick(places) for places in parts)
        return Dataset("toy", train, validation, test, classes=self.config.modes)
