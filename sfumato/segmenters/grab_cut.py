"""GrabCut: what stands in a box that the user gives, separated from what is around it by grabCut."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from pydantic import Field
from torch import Tensor

from sfumato.config import Strict
from sfumato.errors import CapabilityError, ConfigError
from sfumato.segmenters.base import Segmenter


class GrabCut(Segmenter):
    """The foreground of a box, by colour models of what is inside and outside (Rother et al., 2004, GrabCut).

    Raises: CapabilityError: OpenCV is missing. ConfigError: the box is not inside the picture.

    Example:
        >>> pixels = torch.full((3, 40, 40), 200, dtype=torch.uint8)
        >>> pixels[:, 15:25, 10:20] = 20
        >>> mask = GrabCut(GrabCut.Config(box=(5, 10, 20, 20))).mask(pixels)
        >>> int(mask.sum()), bool(mask[15:25, 10:20].all())
        (100, True)
    """

    class Config(Strict):
        kind: Literal["grab_cut"] = "grab_cut"
        box: tuple[int, int, int, int]
        """Left, top, width and height in pixels."""
        refine: bool = True
        """Separate the foreground; else all of the box."""
        rounds: int = Field(default=5, ge=1, le=50)
        """Of grabCut."""

    def mask(self, pixels: UInt8[Tensor, "3 H W"]) -> Bool[Tensor, "H W"]:
        """True on the foreground, or in all of the box where none is told apart."""
        left, top, wide, tall = self.config.box
        rows, columns = pixels.shape[1:]
        if not (left >= 0 <= top and wide > 0 < tall and left + wide <= columns and top + tall <= rows):
            raise ConfigError(
                f"box {left},{top},{wide},{tall} (left, top, width, height) is not inside {columns} x {rows}"
            )
        whole = torch.zeros(rows, columns, dtype=torch.bool)
        whole[top : top + tall, left : left + wide] = True
        if not self.config.refine or bool(whole.all()):
            return whole
        try:
            import cv2
        except ImportError:
            raise CapabilityError(
                "grabCut comes with OpenCV, which is missing; pip install 'sfumato[classical]'"
            ) from None
        cv2.setRNGSeed(0)
        state, models = np.zeros((rows, columns), np.uint8), (np.zeros((1, 65)), np.zeros((1, 65)))
        picture = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()[..., ::-1])
        cv2.grabCut(picture, state, self.config.box, *models, self.config.rounds, cv2.GC_INIT_WITH_RECT)
        front = torch.from_numpy((state == cv2.GC_FGD) | (state == cv2.GC_PR_FGD))
        return front if bool(front.any()) else whole
