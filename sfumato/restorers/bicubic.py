"""Bicubic: a cubic through the pixels of the small image."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sfumato.config import Strict
from sfumato.images import Images, Size
from sfumato.restorers.base import Enlarger


class Bicubic(Enlarger):
    """Keys' cubic convolution with a = -3/4, the usual baseline of super-resolution.

    Reference: Keys (1981), Cubic convolution interpolation for digital image processing.
    """

    class Config(Strict):
        kind: Literal["bicubic"] = "bicubic"

    def enlarge(self, y: Float[Tensor, "B C h w"], size: Size) -> Images:
        """y at full size."""
        return F.interpolate(y, size=size, mode="bicubic")
