"""L1: the mean absolute difference of channel values, on 0 to 255."""

from __future__ import annotations

from typing import ClassVar, Literal

from jaxtyping import Float64
from torch import Tensor

from sfumato.images import Pixels
from sfumato.metrics.base import PairedMetric, RegionConfig, region_mean
from sfumato.tasks.base import Observation


def l1(made: Pixels, true: Pixels, weight: Float64[Tensor, "B 1 H W"]) -> Float64[Tensor, " B"]:
    """mean |made - true| over the weighted pixels and all channels, 0 to 255, one number an image.

    Paper 000's code subtracts uint8 from uint8, which wraps around, and sums over channels: its figures have no unit.

    Example:
        >>> import torch
        >>> black, white = torch.zeros(1, 3, 2, 2).byte(), torch.full((1, 3, 2, 2), 255).byte()
        >>> float(l1(black, white, torch.ones(1, 1, 2, 2).double()))
        255.0
    """
    return region_mean((made.double() - true.double()).abs(), weight)


class L1(PairedMetric):
    """Mean absolute difference of channel values, 0 to 255."""

    class Config(RegionConfig):
        kind: Literal["l1"] = "l1"

    better: ClassVar[Literal["lower", "higher"]] = "lower"
    span = (0.0, None)
    unit: ClassVar[str] = "levels of 255"

    @property
    def label(self) -> str:
        """L1, L1 (whole) or L1 (ring)."""
        return self.named("L1")

    def values(self, made: Pixels, true: Pixels, observation: Observation) -> Float64[Tensor, " B"]:
        """One an image."""
        return l1(made, true, self.weight(observation))
