"""Translation: pairs of pictures, one to be made of the other; what relates them is not known."""

from __future__ import annotations

from typing import ClassVar, Literal

from sfumato.config import Strict
from sfumato.images import Size
from sfumato.streams import Rngs
from sfumato.tasks.base import Region, Task
from sfumato.tasks.operators import Unknown


class Translation(Task):
    """Learn to make the second picture of a pair from the first; there is no operator, so nothing is projected.

    Reference: Isola et al. (2017), Image-to-image translation with conditional adversarial networks.
    """

    class Config(Strict):
        kind: Literal["translation"] = "translation"

    paired: ClassVar[bool] = True
    region: Region = "all"

    def operator(self, rngs: Rngs, n: int, size: Size) -> Unknown:
        """None is known."""
        return Unknown(n, size)
