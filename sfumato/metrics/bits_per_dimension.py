"""Bits per dimension: how many bits a family needs, on average, for one channel of one pixel."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from sfumato.config import Strict
from sfumato.data.base import Split
from sfumato.errors import ShapeError
from sfumato.families.base import Likelihood
from sfumato.images import LEVEL, Images, Pixels, to_float
from sfumato.metrics.base import Metric, Score, mean_score
from sfumato.streams import stream
from sfumato.tasks.base import Observation


def dequantised(pixels: UInt8[Tensor, "B C H W"], rng: torch.Generator) -> Images:
    """Each level spread evenly over its bin: x + u - 1/2 levels, u uniform in [0, 1).

    The bins of 0 and 255 reach half a level beyond [-1, 1], so that all 256 have one width.
    """
    u = torch.rand(pixels.shape, generator=rng, device=pixels.device)
    return to_float(pixels) + (u - 0.5) * LEVEL


class BitsPerDimension(Metric):
    """-log2 p(x) / d on uniformly dequantised pixels, p the density of one level: a uniform law over bytes scores 8.

    For a family whose `log_prob` is a lower bound the figure is an upper bound, and its card says so.
    Reference: Theis, van den Oord and Bethge (2016), A note on the evaluation of generative models.
    """

    class Config(Strict):
        kind: Literal["bits_per_dimension"] = "bits_per_dimension"

    better: ClassVar[Literal["lower", "higher"]] = "lower"
    paired: ClassVar[bool] = False
    unit: ClassVar[str] = "bits"
    needs: ClassVar[type | None] = Likelihood

    @property
    def label(self) -> str:
        """bits/dim."""
        return "bits/dim"

    def update(self, made: Pixels, true: Pixels, observation: Observation) -> None:
        """Images tell nothing about a density."""

    def compute(self) -> Score:
        """Raises: ShapeError: always; this figure is of a family, not of images."""
        raise ShapeError("bits per dimension are measured on a family, not on images; nothing was taken in")

    def applies(self, observation: Observation) -> bool:
        return False

    def measure_model(self, family: Any, split: Split, *, seed: int, batch: int) -> list[Score]:
        """One figure: the mean over the images of a part."""
        values = []
        for first in range(0, len(split), batch):
            pixels, labels, _ = split.read(slice(first, first + batch))
            rng = stream(seed, "bits", first, device=family.device)
            told = labels.to(family.device) if labels is not None and family.labelled else None
            x = dequantised(pixels.to(family.device), rng)
            values.append(bits(family.log_prob(x, family.condition(None, told), rng).double(), family.spec.dimensions))
        found: Float64[Tensor, " N"] = torch.cat(values).cpu()
        card = {
            "what": "-log2 of the density of uniformly dequantised pixels, a level of 255 as unit, over d",
            "bound": "exact" if family.exact else "an upper bound",
        }
        return [mean_score(self.label, found, self.unit, card, self.better, self.span)]


def bits(log_prob: Float64[Tensor, " B"], dimensions: int) -> Float64[Tensor, " B"]:
    """-(log p(x) / d + log of a level's width) / log 2, with p a density on the scale -1 to 1.

    Example:
        >>> width = 256 * LEVEL  # all bins together
        >>> [round(float(b), 9) for b in bits(torch.tensor([-3 * math.log(width)], dtype=torch.float64), 3)]
        [8.0]
    """
    return -(log_prob / dimensions + math.log(LEVEL)) / math.log(2)
