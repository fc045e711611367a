"""Seam: can the border of a hole be seen in the answer?"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from jaxtyping import Float64
from torch import Tensor

from sfumato.config import Strict
from sfumato.images import Pixels
from sfumato.metrics.base import PairedMetric
from sfumato.tasks.base import Observation


class Seam(PairedMetric):
    """Mean |step| across the border of the hole, less the true image's, in levels of 255; 0 is right.

    A step is the difference of two neighbours, one known and one made. Above 0 the border shows as an edge (paper 000 speaks
    of the contrast there); below 0 what was made is smoother than pictures are.
    """

    class Config(Strict):
        kind: Literal["seam"] = "seam"

    better: ClassVar[Literal["lower", "higher", "zero"]] = "zero"
    unit: ClassVar[str] = "levels of 255"

    @property
    def label(self) -> str:
        """seam."""
        return "seam"

    def applies(self, observation: Observation) -> bool:
        """Only where there is a hole."""
        return super().applies(observation) and observation.operator.hides

    def values(self, made: Pixels, true: Pixels, observation: Observation) -> Float64[Tensor, " B"]:
        """One an image; not defined where no known pixel has a made neighbour."""
        known = observation.known.double().round()
        return step(made, known) - step(true, known)


def step(pixels: Pixels, known: Float64[Tensor, "B 1 H W"]) -> Float64[Tensor, " B"]:
    """Mean absolute difference over pairs of neighbours of which one is known.

    Example:
        >>> half = torch.tensor([[[[1.0, 1.0, 0.0]]]]).double()
        >>> float(step(torch.tensor([[[[5, 9, 2]]]], dtype=torch.uint8), half))
        7.0
    """
    x, total, count = pixels.double(), torch.zeros(len(pixels)).double(), torch.zeros(len(pixels)).double()
    for axis in (2, 3):
        across = known.diff(dim=axis).abs()
        total = total + (x.diff(dim=axis).abs().mean(1, keepdim=True) * across).sum((1, 2, 3)).cpu()
        count = count + across.sum((1, 2, 3)).cpu()
    return total / count.where(count > 0, torch.nan)
