"""SinGAN as an in-painter: trained on what is known of the picture, it makes the inside of its holes from a smooth fill."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from sfumato.config import Strict
from sfumato.families.singan import SinGAN
from sfumato.families.singan_uses import inject
from sfumato.images import to_float, to_uint8
from sfumato.maths.push_pull import push_pull
from sfumato.restorers.base import Filler
from sfumato.restorers.synthesis import learnt
from sfumato.streams import stream


class SinGANFill(Filler):
    """What surrounds a hole is carried smoothly inside, and the picture enters SinGAN at a scale: its paper's editing.

    SinGAN sees the largest rectangle without a hole. Minutes for a picture of 64 x 64.
    Reference: Shaham, Dekel and Michaeli (2019), SinGAN: learning a generative model from a single natural image.
    """

    own_patches = True

    class Config(Strict):
        kind: Literal["singan"] = "singan"
        turns: int = Field(default=200, ge=1)
        """Turns at each scale."""
        width: int = Field(default=32, ge=2)
        """Channels of the networks."""
        enters: float = Field(default=0.6, ge=0.0, le=1.0)
        """Where the picture enters: 0 at the finest scale, 1 at the coarsest."""

    reach = 64

    def fill(self, picture: NDArray[np.uint8], hole: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """One picture."""
        x = to_float(torch.from_numpy(picture).permute(2, 0, 1)[None])
        gone = torch.from_numpy(hole).float()[None, None]
        smooth = push_pull(x, 1 - gone)
        model: Any = learnt(SinGAN.Config(turns=self.config.turns, width=self.config.width), x, 0, known=1 - gone)
        last = len(model.sizes(hole.shape)) - 2
        if last >= 0:
            smooth = inject(model, smooth, round(self.config.enters * last), stream(0, "singan"), mask=gone)
        return to_uint8(torch.where(gone > 0, smooth, x))[0].permute(1, 2, 0).numpy()
