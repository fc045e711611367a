"""Biharmonic in-painting: the smoothest surface through the known pixels."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sfumato.config import Strict
from sfumato.errors import CapabilityError
from sfumato.images import PEAK
from sfumato.memory import free_memory
from sfumato.restorers.base import Filler

A_PIXEL = 5600  # bytes a pixel of the hole that the factorised system was seen to take
MOST = 2 << 30  # bytes; a larger hole takes minutes too


class Biharmonic(Filler):
    """Solve Laplace(Laplace u) = 0 in the hole (scikit-image's `inpaint_biharmonic`).

    Raises: CapabilityError: scikit-image is not installed.
    Reference: Damelin and Hoang (2018), On surface completion and image inpainting by biharmonic functions.
    """

    class Config(Strict):
        kind: Literal["biharmonic"] = "biharmonic"

    reach = 8  # the equation looks at two pixels beyond the hole

    def fits(self, unknown: int, at_once: int | None = None) -> None:
        """Raises: CapabilityError: the linear system of so many pixels, or of the largest hole, needs too much memory."""
        free = min(free_memory(), MOST)
        if (need := A_PIXEL * (at_once or unknown)) > free:
            raise CapabilityError(
                f"biharmonic needs about {need / 2**20:,.0f} MiB to fill {unknown:,} pixels, and {free / 2**20:,.0f} MiB may "
                "be used; fill a smaller hole, make the picture smaller, or use telea"
            )

    def fill(self, picture: NDArray[np.uint8], hole: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """One picture; scikit-image's mask is True where a pixel is *unknown*, as `hole` is."""
        try:
            from skimage.measure import label
            from skimage.morphology import dilation
            from skimage.restoration import inpaint_biharmonic
        except ImportError:
            raise CapabilityError(
                "biharmonic needs scikit-image, which is missing; pip install 'sfumato[classical]'"
            ) from None
        unknown, apart = int(hole.sum()), A_PIXEL * int(hole.sum()) > MOST // 8
        # Holes that are four pixels apart share no equation, so that many small ones are solved one after the other.
        self.fits(unknown, int(np.bincount(label(dilation(hole))[hole]).max()) if apart else None)
        made = inpaint_biharmonic(picture.astype(np.float64) / PEAK, hole, channel_axis=2, split_into_regions=apart)
        return (np.asarray(made) * PEAK).round().clip(0, PEAK).astype(np.uint8)
