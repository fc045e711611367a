"""PSNR: the logarithm of the mean squared difference, in decibels."""

from __future__ import annotations

from typing import ClassVar, Literal

from jaxtyping import Float64
from torch import Tensor

from sfumato.images import PEAK, Pixels
from sfumato.metrics.base import PairedMetric, RegionConfig
from sfumato.metrics.mse import mse
from sfumato.tasks.base import Observation

CAP = 100.0  # dB; identical images would have infinitely many and spoil every mean


def psnr(made: Pixels, true: Pixels, weight: Float64[Tensor, "B 1 H W"]) -> Float64[Tensor, " B"]:
    """10 log10(255^2 / MSE) over the weighted pixels, one number an image, at most 100 dB.

    Example:
        >>> import torch
        >>> a = torch.zeros(1, 1, 2, 2).byte()
        >>> round(float(psnr(a, a + 255, torch.ones(1, 1, 2, 2).double())), 6)
        0.0
    """
    error = mse(made, true, weight).clamp(min=PEAK**2 / 10 ** (CAP / 10))
    return 10.0 * (PEAK**2 / error).log10()


class PSNR(PairedMetric):
    """Mean over images of 10 log10(255^2 / MSE)."""

    class Config(RegionConfig):
        kind: Literal["psnr"] = "psnr"

    better: ClassVar[Literal["lower", "higher"]] = "higher"
    unit: ClassVar[str] = "dB"

    @property
    def label(self) -> str:
        """PSNR, PSNR (whole) or PSNR (ring)."""
        return self.named("PSNR")

    def values(self, made: Pixels, true: Pixels, observation: Observation) -> Float64[Tensor, " B"]:
        """One an image."""
        return psnr(made, true, self.weight(observation))
