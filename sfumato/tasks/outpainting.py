"""Outpainting: a central crop is given, everything around it has to be made (paper 000, section 3.2)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from sfumato.config import Strict
from sfumato.streams import Rngs
from sfumato.tasks.base import Region, Task
from sfumato.tasks.operators import Masking


class Outpainting(Task):
    """y = R(x), the centre square that shows a share `visible` of each side.

    Example:
        >>> import torch
        >>> from sfumato.streams import stream
        >>> task = Outpainting(Outpainting.Config(visible=0.5))
        >>> float(task.observe(torch.ones(1, 3, 8, 8), stream(0, "mask")).known.mean())
        0.25
    """

    class Config(Strict):
        kind: Literal["outpainting"] = "outpainting"
        visible: float = Field(default=0.625, gt=0.0, lt=1.0)
        """Side of the visible square over the side of the image."""
        region: Region = "unknown"
        """Where a loss looks. Paper 000 prints a loss on the *given* crop, R(eps - eps_theta); that is `known`."""

    @property
    def name(self) -> str:
        """outpainting, with the visible share where it was set, so that a study can hold several."""
        return "outpainting" + (f"-{self.config.visible:g}" if self.config.changed("visible") else "")

    def operator(self, rngs: Rngs, n: int, size: int) -> Masking:
        """The same centre square for each image, at least one pixel wide and never the whole image."""
        visible: float = self.config.visible
        side = min(max(round(visible * size), 1), max(size - 1, 1))
        margin = (size - side) // 2
        known = torch.zeros(n, 1, size, size)
        known[:, :, margin : margin + side, margin : margin + side] = 1.0
        return Masking(known)
