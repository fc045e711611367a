"""Nearest: repeat the nearest pixel of the small image."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sfumato.config import Strict
from sfumato.images import Images, Size
from sfumato.restorers.base import Enlarger


class Nearest(Enlarger):
    """Each pixel of y repeated over its block."""

    class Config(Strict):
        kind: Literal["nearest"] = "nearest"

    def enlarge(self, y: Float[Tensor, "B C h w"], size: Size) -> Images:
        """y at full size."""
        return F.interpolate(y, size=size, mode="nearest")
