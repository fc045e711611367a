"""The one door to OpenCV, opened only when it is used."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import CapabilityError


def inpaint(
    picture: NDArray[np.uint8], hole: NDArray[np.bool_], radius: float, flag: Literal["INPAINT_TELEA", "INPAINT_NS"]
) -> NDArray[np.uint8]:
    """`cv2.inpaint` on [H, W, C] with C of any number; OpenCV's mask is 1 where a pixel is *unknown*, as `hole` is.

    Raises: CapabilityError: OpenCV is not installed.
    """
    try:
        import cv2
    except ImportError:
        raise CapabilityError(
            "this restorer needs OpenCV, which is missing; pip install 'sfumato[classical]'"
        ) from None
    mask = hole.astype(np.uint8)
    channels = [
        cv2.inpaint(np.ascontiguousarray(picture[:, :, c]), mask, radius, getattr(cv2, flag))
        for c in range(picture.shape[2])
    ]
    return np.stack(channels, axis=2).astype(np.uint8)
