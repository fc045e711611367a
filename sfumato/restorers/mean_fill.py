"""Mean fill: the mean of the known pixels, the answer that any learned one has to beat."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sfumato.config import Strict
from sfumato.restorers.base import Filler


class MeanFill(Filler):
    """Each channel's mean over the known pixels of the same picture."""

    class Config(Strict):
        kind: Literal["mean_fill"] = "mean_fill"

    def fill(self, picture: NDArray[np.uint8], hole: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """One picture."""
        made = picture.copy()
        # Not the mean of picture[~hole], which would copy nearly all of a large picture.
        known = picture.sum((0, 1), dtype=np.int64) - picture[hole].sum(0, dtype=np.int64)
        made[hole] = (known / (hole.size - hole.sum())).round().astype(np.uint8)
        return made
