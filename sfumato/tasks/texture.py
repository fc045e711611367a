"""Texture: a whole picture is shown, and another one like it is asked for."""

from __future__ import annotations

from typing import ClassVar, Literal

from sfumato.config import Strict
from sfumato.errors import CapabilityError
from sfumato.images import Images, Size
from sfumato.streams import Rngs
from sfumato.tasks.base import Region, Task
from sfumato.tasks.operators import Same


class Likeness(Same):
    """y = x, as an example: the answer shall have the law of x and need agree with it nowhere."""

    likens: ClassVar[bool] = True
    linear: ClassVar[bool] = False  # there is nothing to agree with

    def again(self, n: int, size: Size, device: object) -> Likeness:
        return Likeness(n, size, device)  # type: ignore[arg-type]

    def forward(self, x: Images) -> Images:
        """x."""
        return x

    def pinv(self, y: Images) -> Images:
        """Raises: CapabilityError: always; there is nothing to agree with."""
        raise CapabilityError(
            "another picture like the exemplar is asked for, and not the exemplar: nothing is projected"
        )

    def preview(self, y: Images) -> Images:
        """The exemplar."""
        return y


class Texture(Task):
    """From one picture to another of the same texture: each test image is an exemplar, learnt by itself.

    So the images of a study are its replicates: methods are compared exemplar by exemplar.
    """

    class Config(Strict):
        kind: Literal["texture"] = "texture"

    trains: ClassVar[bool] = False
    region: Region = "all"

    def operator(self, rngs: Rngs, n: int, size: Size) -> Likeness:
        """Show everything."""
        return Likeness(n, size)
