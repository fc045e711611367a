"""MSE: the mean squared difference of channel values, on 0 to 255."""

from __future__ import annotations

from typing import ClassVar, Literal

from jaxtyping import Float64
from torch import Tensor

from sfumato.images import Pixels
from sfumato.metrics.base import PairedMetric, RegionConfig, region_mean
from sfumato.tasks.base import Observation


def mse(made: Pixels, true: Pixels, weight: Float64[Tensor, "B 1 H W"]) -> Float64[Tensor, " B"]:
    """mean (made - true)^2 over the weighted pixels and all channels, one number an image."""
    return region_mean((made.double() - true.double()).square(), weight)


class MSE(PairedMetric):
    """Mean squared difference of channel values, 0 to 255^2."""

    class Config(RegionConfig):
        kind: Literal["mse"] = "mse"

    better: ClassVar[Literal["lower", "higher"]] = "lower"
    span = (0.0, None)
    unit: ClassVar[str] = "levels squared"

    @property
    def label(self) -> str:
        """MSE, MSE (whole) or MSE (ring)."""
        return self.named("MSE")

    def values(self, made: Pixels, true: Pixels, observation: Observation) -> Float64[Tensor, " B"]:
        """One an image."""
        return mse(made, true, self.weight(observation))
