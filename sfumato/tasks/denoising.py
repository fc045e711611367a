"""Denoising: y = x + sigma n; every pixel is seen, none exactly."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sfumato.config import Strict
from sfumato.images import Size
from sfumato.streams import Rngs
from sfumato.tasks.base import Region, Task
from sfumato.tasks.operators import Identity


class Denoising(Task):
    """White Gaussian noise is added to the image.

    Example:
        >>> import torch
        >>> from sfumato.streams import stream
        >>> seen = Denoising(Denoising.Config(sigma=0.5)).observe(torch.zeros(1, 3, 64, 64), stream(0, "mask"))
        >>> round(float(seen.y.std()), 1), float(seen.known.sum())
        (0.5, 0.0)
    """

    class Config(Strict):
        kind: Literal["denoising"] = "denoising"
        sigma: float = Field(default=0.2, gt=0.0)
        """Standard deviation of the noise, on the scale of images (-1 to 1); 0.2 is 25 levels of 255."""

    region: Region = "all"

    def __init__(self, config: Config):
        super().__init__(config)
        self.noise = config.sigma

    @property
    def name(self) -> str:
        """denoising, with sigma where it was set, so that a study can hold several."""
        return "denoising" + (f"-{self.config.sigma:g}" if self.config.changed("sigma") else "")

    def operator(self, rngs: Rngs, n: int, size: Size) -> Identity:
        """Everything is measured."""
        return Identity(n, size)
