"""Segmenters: a picture to a mask of what is in it, white = True = to be made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from jaxtyping import Bool, UInt8
from torch import Tensor

from sfumato.config import Strict
from sfumato.kinds import Kind


class Segmenter(Kind, ABC, root=True):
    """Finds something in pictures."""

    nothing: ClassVar[str] = "nothing found"
    """What is said of a picture without it."""

    def __init__(self, config: Strict):
        self.config: Any = config

    @abstractmethod
    def mask(self, pixels: UInt8[Tensor, "3 H W"]) -> Bool[Tensor, "H W"]:
        """True where it is; nowhere if it is not there."""
