"""Borders: how much is to be made around a picture."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Shaped
from torch import Tensor

from sfumato.errors import ShapeError
from sfumato.images import LARGEST, Size

Border = int | tuple[int, int, int, int]


def sides(border: Border) -> tuple[int, int, int, int]:
    """Pixels above, right, below and left, as a style sheet orders them.

    Raises: ShapeError: negative ones, or none at all.

    Example:
        >>> sides(3), sides((0, 8, 0, 8))
        ((3, 3, 3, 3), (0, 8, 0, 8))
    """
    four = (int(border),) * 4 if isinstance(border, Integral) else tuple(map(int, border))  # type: ignore[arg-type]
    if len(four) != 4 or min(four) < 0 or max(four) < 1:
        raise ShapeError(f"a border of {border} pixels: give one number above 0, or four: above, right, below, left")
    above, right, below, left = four
    return above, right, below, left


def bordered(x: Shaped[Tensor, "C h w"], border: Border) -> Shaped[Tensor, "C H W"]:
    """The picture with zeros around it.

    Raises: ShapeError: as `sides`; or more pixels than a picture may have.
    """
    above, right, below, left = sides(border)
    rows, columns = x.shape[1] + above + below, x.shape[2] + left + right
    if rows * columns > LARGEST:
        raise ShapeError(f"a border of {border} would make {columns:,} x {rows:,}, more than {LARGEST:,} pixels")
    return F.pad(x, (left, right, above, below))


def frame(size: Size, border: Border) -> Bool[Tensor, "H W"]:
    """True in the border of a picture of so many rows and columns.

    Example:
        >>> frame((1, 2), (0, 1, 0, 0)).tolist()
        [[False, False, True]]
    """
    return ~bordered(torch.ones(1, *size, dtype=torch.bool), border)[0]


def rings(size: Size, border: Border) -> Iterator[tuple[int, int, int, int]]:
    """A wide border in narrow ones, the innermost first, each at most a quarter of what is there by then.

    What is far from a picture has only what was made before to go by; so it is made last.

    Example:
        >>> list(rings((8, 8), (0, 5, 0, 0)))
        [(0, 2, 0, 0), (0, 2, 0, 0), (0, 1, 0, 0)]
    """
    left: tuple[int, ...] = sides(border)
    rows, columns = size
    while max(left):
        most = max(min(rows, columns) // 4, 1)
        above, right, below, before = ring = tuple(min(side, most) for side in left)
        left = tuple(side - part for side, part in zip(left, ring, strict=True))
        rows, columns = rows + above + below, columns + before + right
        yield above, right, below, before
