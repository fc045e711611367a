"""Telea's fast marching: pixels are filled from the border inwards by weighted means of known neighbours."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sfumato.config import Strict
from sfumato.restorers.base import Filler
from sfumato.restorers.opencv import inpaint


class Telea(Filler):
    """OpenCV's `inpaint` with INPAINT_TELEA.

    Raises: CapabilityError: OpenCV is not installed.
    Reference: Telea (2004), An image inpainting technique based on the fast marching method.
    """

    class Config(Strict):
        kind: Literal["telea"] = "telea"
        radius: float = Field(default=3.0, gt=0.0)
        """How far, in pixels, known neighbours count."""

    @property
    def reach(self) -> int:  # type: ignore[override]
        """The radius, and what the gradients there look at."""
        return math.ceil(self.config.radius) + 4

    def fill(self, picture: NDArray[np.uint8], hole: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """One picture."""
        return inpaint(picture, hole, self.config.radius, "INPAINT_TELEA")
