"""Outpainting: a central crop is given, everything around it has to be made (paper 000, section 3.2)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from sfumato.config import Strict
from sfumato.images import Size
from sfumato.streams import Rngs, device_of
from sfumato.tasks.base import Region, Task
from sfumato.tasks.operators import Masking


class Outpainting(Task):
    """y = R(x), the centre window that shows a share `visible` of each side.

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
        """Sides of the visible window over those of the image."""
        region: Region = "unknown"
        """Where a loss looks. Paper 000 prints a loss on the *given* crop, R(eps - eps_theta); that is `known`."""
        noise: float = Field(default=0.0, ge=0.0)
        """Standard deviation of the noise in what is given, on the scale of images (-1 to 1); then every pixel is made."""

    @property
    def name(self) -> str:
        """outpainting, with the visible share where it was set and the noise, so that a study can hold several."""
        share = [f"{self.config.visible:g}"] if self.config.changed("visible") else []
        return "-".join(["outpainting", *share, *self.noise_in_name])

    def operator(self, rngs: Rngs, n: int, size: Size) -> Masking:
        """The same centre window for each image, at least one pixel wide and never the whole image."""
        inside = [min(max(round(self.config.visible * side), 1), max(side - 1, 1)) for side in size]
        (top, left) = ((side - part) // 2 for side, part in zip(size, inside, strict=True))
        known = torch.zeros(1, 1, *size, device=device_of(rngs))
        known[:, :, top : top + inside[0], left : left + inside[1]] = 1.0
        return Masking(known.expand(n, -1, -1, -1))
