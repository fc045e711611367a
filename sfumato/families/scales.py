"""Scales of a texture synthesis: the sizes from coarse to fine of the exemplar and of what is made, in proportion."""

from __future__ import annotations

import math

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sfumato.images import Images, Size


def ladder(size: Size, coarsest: int, ratio: float) -> list[float]:
    """Factors from coarse to fine, 1 last: the shorter side is about `coarsest` first, then 1 / ratio times as long each time.

    Example:
        >>> [round(factor, 2) for factor in ladder((64, 100), 16, 0.5)]
        [0.25, 0.5, 1.0]
    """
    steps = max(round(math.log(max(min(size) / coarsest, 1)) / -math.log(ratio)), 0)
    return [ratio**step for step in reversed(range(steps + 1))]


def at(size: Size, factor: float, least: int) -> Size:
    """A size at a scale, no side shorter than `least` unless the size itself is."""
    rows, columns = (max(round(side * factor), min(least, side)) for side in size)
    return rows, columns


def resized(x: Images, size: Size) -> Images:
    """Bicubic with antialiasing, as it is where the size is the same; not beyond [-1, 1]."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bicubic", antialias=True).clamp(-1, 1)


def counting(known: Float[Tensor, "K 1 H W"], size: Size) -> Float[Tensor, "K 1 h w"]:
    """Where only what counts went into a smaller picture."""
    return 1 - F.adaptive_max_pool2d(1 - known, tuple(size))
