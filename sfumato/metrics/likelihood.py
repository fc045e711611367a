"""Likelihood: what a family says of the images of a part; each figure of it is a short file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float64, UInt8
from torch import Generator, Tensor

from sfumato.data.base import Split
from sfumato.errors import ShapeError
from sfumato.families.abilities import Likelihood
from sfumato.images import LEVEL, Images, Pixels, to_float
from sfumato.metrics.base import Metric, Score, mean_score
from sfumato.streams import stream
from sfumato.tasks.base import Observation


def dequantised(pixels: UInt8[Tensor, "B C H W"], rng: Generator) -> Images:
    """Each level spread evenly over its bin: x + u - 1/2 levels, u uniform in [0, 1).

    The bins of 0 and 255 reach half a level beyond [-1, 1], so that all 256 have one width.
    """
    u = torch.rand(pixels.shape, generator=rng, device=pixels.device)
    return to_float(pixels) + (u - 0.5) * LEVEL


def log_prob(family: Any, pixels: Pixels, rng: Generator, label: Tensor | None = None) -> Float64[Tensor, " B"]:
    """log p(x) of images of bytes, dequantised where the family has a density."""
    x = dequantised(pixels, rng) if family.density else to_float(pixels)
    found: Float64[Tensor, " B"] = family.log_prob(x, family.condition(None, label), rng).double()
    return found


def log_probs(family: Any, split: Split, seed: int, batch: int) -> Iterator[Float64[Tensor, " B"]]:
    """log p(x) of a part's images, batch after batch."""
    for first in range(0, len(split), batch):
        pixels, labels, _ = split.read(slice(first, first + batch))
        rng, pixels = stream(seed, "bits", first, device=family.device), pixels.to(family.device)
        told = labels.to(family.device) if labels is not None and family.labelled else None
        yield log_prob(family, pixels, rng, told).cpu()


class LikelihoodMetric(Metric, abstract=True):
    """A mean over images of what their log p(x) is worth; of a family, not of images."""

    better: ClassVar[Literal["lower", "higher"]] = "lower"
    paired: ClassVar[bool] = False
    needs: ClassVar[type | None] = Likelihood

    def update(self, made: Pixels, true: Pixels, observation: Observation) -> None:
        """Images tell nothing about a density."""

    def compute(self) -> Score:
        """Raises: ShapeError: always; this figure is of a family, not of images."""
        raise ShapeError("a likelihood is measured on a family, not on images; nothing was taken in")

    def applies(self, observation: Observation) -> bool:
        return False

    @abstractmethod
    def worth(self, log_prob: Float64[Tensor, " N"], family: Any) -> tuple[Float64[Tensor, " N"], str]:
        """The figure of each image, and what it is, in words.

        Raises: CapabilityError: the family rates something else.
        """

    def measure_model(self, family: Any, split: Split, *, seed: int, batch: int) -> list[Score]:
        """One figure: the mean over the images of a part."""
        values, what = self.worth(torch.cat([*log_probs(family, split, seed, batch)]), family)
        card = {"what": what, "bound": "exact" if family.exact else "an upper bound"}
        return [mean_score(self.label, values, self.unit, card, self.better, self.span)]
