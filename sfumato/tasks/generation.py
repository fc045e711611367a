"""Generation: nothing is observed; an image is made from noise alone."""

from __future__ import annotations

from typing import ClassVar, Literal

from sfumato.config import Strict
from sfumato.images import Size
from sfumato.streams import Rngs
from sfumato.tasks.base import Region, Task
from sfumato.tasks.operators import Nothing


class Generation(Task):
    """A = 0: no condition, the loss looks everywhere."""

    class Config(Strict):
        kind: Literal["generation"] = "generation"

    conditional: ClassVar[bool] = False
    region: Region = "all"

    def operator(self, rngs: Rngs, n: int, size: Size) -> Nothing:
        """Measure nothing."""
        return Nothing(n, size)
