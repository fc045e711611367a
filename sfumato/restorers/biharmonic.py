"""Biharmonic in-painting: the smoothest surface through the known pixels."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sfumato.config import Strict
from sfumato.errors import CapabilityError
from sfumato.images import PEAK
from sfumato.restorers.base import Filler


class Biharmonic(Filler):
    """Solve Laplace(Laplace u) = 0 in the hole (scikit-image's `inpaint_biharmonic`).

    Raises: CapabilityError: scikit-image is not installed.
    Reference: Damelin and Hoang (2018), On surface completion and image inpainting by biharmonic functions.
    """

    class Config(Strict):
        kind: Literal["biharmonic"] = "biharmonic"

    def fill(self, picture: NDArray[np.uint8], hole: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """One picture; scikit-image's mask is True where a pixel is *unknown*, as `hole` is."""
        try:
            from skimage.restoration import inpaint_biharmonic
        except ImportError:
            raise CapabilityError(
                "biharmonic needs scikit-image, which is missing; pip install 'sfumato[classical]'"
            ) from None
        made = inpaint_biharmonic(picture.astype(np.float64) / PEAK, hole, channel_axis=2)
        return (np.asarray(made) * PEAK).round().clip(0, PEAK).astype(np.uint8)
