"""Patch sliced Wasserstein: how far the laws of all patches of two pictures are apart, at several scales."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float64
from pydantic import Field
from torch import Tensor

from sfumato.config import Strict
from sfumato.images import Pixels
from sfumato.maths.patches import depth, patches, pyramid
from sfumato.maths.sliced import directions, sliced
from sfumato.metrics.base import PairedMetric
from sfumato.streams import stream
from sfumato.tasks.base import Observation


class PatchSliced(PairedMetric):
    """1/S sum_s E_theta W_2^2(theta P_s(made), theta P_s(true)): the patches' laws along random directions, mean over scales.

    P_s are all w x w windows after s - 1 means over 2 x 2 pixels, theta a unit vector; in squared levels a value. All windows
    count, so it is nearly at 0 for another piece of the same texture, and 0 for the same picture. Directions are the same
    for all pictures. It sees no places: a picture that is copied from the exemplar is at 0, so read it beside
    the share that was copied.
    Reference: Rabin, Peyre, Delon and Bernot (2011), Wasserstein barycenter and its application to texture mixing.
    """

    class Config(Strict):
        kind: Literal["patch_sliced"] = "patch_sliced"
        patch: int = Field(default=7, ge=1, le=31)
        """Rows and columns of a patch; at scale s it covers 2^(s-1) times as many pixels."""
        scales: int = Field(default=4, ge=1, le=8)
        """Scales at most; fewer where a picture would be smaller than two patches."""
        directions: int = Field(default=128, ge=1, le=10_000)
        """Random directions at each scale."""

    better: ClassVar[Literal["lower", "higher"]] = "lower"
    span = (0.0, None)
    unit: ClassVar[str] = "levels squared"
    same_size: ClassVar[bool] = False

    def __init__(self, config: Config):
        super().__init__(config)
        self._scales = 0

    @property
    def label(self) -> str:
        """Patch SW, with the side of a patch."""
        return f"Patch SW ({self.config.patch} x {self.config.patch})"

    def about(self) -> dict[str, Any]:
        """The settings, and how many scales there were; of the last batch, where sizes vary."""
        return {"patch": self.config.patch, "directions": self.config.directions, "scales": self._scales}

    def values(self, made: Pixels, true: Pixels, observation: Observation) -> Float64[Tensor, " B"]:
        """One an image."""
        width = self.config.patch
        scales = min(depth(min(*made.shape[2:], *true.shape[2:]), 2 * width), self.config.scales)
        self._scales = scales
        found = []
        for one, other in zip(made.double().cpu(), true.double().cpu(), strict=True):
            total = 0.0
            for s, (m, t) in enumerate(zip(pyramid(one, scales), pyramid(other, scales), strict=True)):
                theta = directions(self.config.directions, len(m) * width**2, stream(0, "patch sliced", s)).double()
                total += float(sliced(patches(m, width), patches(t, width), theta))
            found.append(total / scales)
        return torch.tensor(found, dtype=torch.float64)
