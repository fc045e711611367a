"""Bits per dimension: how many bits a family needs, on average, for one channel of one pixel."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

from jaxtyping import Float64
from torch import Tensor

from sfumato.config import Strict
from sfumato.errors import CapabilityError
from sfumato.images import LEVEL
from sfumato.metrics.likelihood import LikelihoodMetric


class BitsPerDimension(LikelihoodMetric):
    """-log2 p(x) / d on uniformly dequantised pixels, p the density of one level: a uniform law over bytes scores 8.

    For a family whose `log_prob` is a lower bound the figure is an upper bound, and its card says so.
    Reference: Theis, van den Oord and Bethge (2016), A note on the evaluation of generative models.
    """

    class Config(Strict):
        kind: Literal["bits_per_dimension"] = "bits_per_dimension"

    unit: ClassVar[str] = "bits"

    @property
    def label(self) -> str:
        """bits/dim."""
        return "bits/dim"

    def worth(self, log_prob: Float64[Tensor, " N"], family: Any) -> tuple[Float64[Tensor, " N"], str]:
        """Bits of a dimension."""
        if not family.density:
            raise CapabilityError("this model rates black and white pictures, not grey values; measure 'nats'")
        what = "-log2 of the density of uniformly dequantised pixels, a level of 255 as unit, over d"
        return bits(log_prob, family.spec.dimensions), what


def bits(log_prob: Float64[Tensor, " B"], dimensions: int) -> Float64[Tensor, " B"]:
    """-(log p(x) / d + log of a level's width) / log 2, with p a density on the scale -1 to 1.

    Example:
        >>> import torch
        >>> width = 256 * LEVEL  # all bins together
        >>> [round(float(b), 9) for b in bits(torch.tensor([-3 * math.log(width)], dtype=torch.float64), 3)]
        [8.0]
    """
    return -(log_prob / dimensions + math.log(LEVEL)) / math.log(2)
