"""Colourisation: y is the picture in grey."""

from __future__ import annotations

from typing import Literal

from sfumato.config import Strict
from sfumato.data.base import DataSpec
from sfumato.errors import ConfigError
from sfumato.images import Size
from sfumato.streams import Rngs
from sfumato.tasks.base import Region, Task
from sfumato.tasks.operators import Luma


class Colourisation(Task):
    """The brightness of each pixel is given and its colour has to be made.

    Example:
        >>> import torch
        >>> from sfumato.streams import stream
        >>> task = Colourisation(Colourisation.Config())
        >>> tuple(task.observe(torch.ones(1, 3, 8, 8), stream(0, "mask")).y.shape)
        (1, 1, 8, 8)
    """

    class Config(Strict):
        kind: Literal["colourisation"] = "colourisation"

    region: Region = "all"

    def check(self, spec: DataSpec) -> None:
        """Raises: ConfigError: the images have no colour."""
        if spec.channels != 3:
            raise ConfigError(f"colourisation needs RGB images; these have {spec.channels} channels")

    def operator(self, rngs: Rngs, n: int, size: Size) -> Luma:
        """Alike for each image."""
        return Luma(n, size)
