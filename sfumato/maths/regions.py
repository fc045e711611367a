"""Regions: the connected parts of a mask, and boxes, the rectangular parts of a picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float64
from torch import Tensor

COARSE = 128  # cells along the longer side in which parts are told from one another
LONG = 5.0  # a region so many times as long as it is thick is taken in pieces


class Box(NamedTuple):
    """A rectangular part of a picture.

    Example:
        >>> x = torch.arange(12).view(3, 4)
        >>> x[Box(1, 2, 2, 1).place].tolist()
        [[6], [10]]
    """

    top: int
    left: int
    rows: int
    columns: int

    @property
    def place(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        return slice(self.top, self.top + self.rows), slice(self.left, self.left + self.columns)

    def within(self, outer: Box) -> Box:
        """The same part, of what lies in a larger box."""
        return self._replace(top=self.top - outer.top, left=self.left - outer.left)


@dataclass(frozen=True)
class Region:
    """One part: its box, and what of the box belongs to it."""

    box: Box
    mask: Bool[Tensor, "h w"]

    @property
    def thickness(self) -> float:
        """Twice the area over the length of the rim: about the shorter side of a long box, half the side of a square.

        Example:
            >>> Region(Box(0, 0, 10, 10), torch.ones(10, 10, dtype=torch.bool)).thickness
            5.0
        """
        inside = F.pad(self.mask, (1, 1, 1, 1))
        rim = sum(int((inside.diff(dim=axis) != 0).sum()) for axis in (0, 1))
        return 2 * int(self.mask.sum()) / rim

    def pieces(self, cell: int, least: int) -> Iterator[Region]:
        """Itself, or where it is long and thin, as a stroke or a frame, pieces that are not, or are `least` pixels long.

        Example:
            >>> frame = torch.ones(40, 40, dtype=torch.bool)
            >>> frame[4:36, 4:36] = False
            >>> pieces = list(Region(Box(0, 0, 40, 40), frame).pieces(1, 4))
            >>> sum(int(piece.mask.sum()) for piece in pieces) == int(frame.sum())
            True
            >>> max(max(piece.box.rows, piece.box.columns) for piece in pieces) <= 20
            True
        """
        longer = max(self.box.rows, self.box.columns)
        if longer <= max(LONG * self.thickness, least):
            yield self
            return
        axis, half = int(self.box.rows < longer), longer // 2
        for first, part in zip((0, half), self.mask.split([half, longer - half], axis), strict=True):
            for inner in regions(part, cell):
                down, across = (first, 0) if axis == 0 else (0, first)
                top, left, rows, columns = inner.box
                box = Box(self.box.top + down + top, self.box.left + across + left, rows, columns)
                yield from Region(box, inner.mask).pieces(cell, least)


def regions(mask: Bool[Tensor, "H W"], cell: int | None = None) -> Iterator[Region]:
    """The parts of a mask that do not touch, the largest box first, told apart in cells of so many pixels (1/128 of a side).

    Example:
        >>> [int(part.mask.sum()) for part in regions(torch.tensor([[True, True, False, False, True]]))]
        [2, 1]
    """
    cell = cell or max(-(-max(mask.shape) // COARSE), 1)
    labels = grouped(mask, cell)
    rows, columns = labels.nonzero(as_tuple=True)
    values, part = labels[rows, columns].unique(return_inverse=True)

    def ends(place: Tensor) -> tuple[Tensor, Tensor]:
        low, high = (
            torch.zeros_like(values, dtype=torch.int64).scatter_reduce(0, part, place, how, include_self=False)
            for how in ("amin", "amax")
        )
        return low, high + 1

    (top, bottom), (left, right) = ends(rows), ends(columns)
    for k in ((bottom - top) * (right - left)).argsort(descending=True, stable=True).tolist():
        cells = slice(int(top[k]), int(bottom[k])), slice(int(left[k]), int(right[k]))
        place = tuple(slice(one.start * cell, one.stop * cell) for one in cells)
        own = (labels[cells] == values[k]).repeat_interleave(cell, 0).repeat_interleave(cell, 1)
        inside = mask[place]
        inside = inside & own[: inside.shape[0], : inside.shape[1]]
        box = box_of(inside)
        start = place[0].start + box.top, place[1].start + box.left
        yield Region(box._replace(top=start[0], left=start[1]), inside[box.place])


def grouped(mask: Bool[Tensor, "H W"], cell: int) -> Float64[Tensor, "h w"]:
    """Labels of cells of so many pixels that hold a part of the mask; cells that touch have one label, others 0."""
    rows, columns = mask.shape
    room = (0, -columns % cell, 0, -rows % cell)
    blocks = F.max_pool2d(F.pad(mask.float()[None, None], room), cell).double()
    labels = torch.arange(1, blocks.numel() + 1, dtype=torch.float64).view_as(blocks) * blocks
    while True:
        spread = F.max_pool2d(labels, 3, stride=1, padding=1) * blocks
        if torch.equal(spread, labels):
            return labels[0, 0]
        labels = spread


def starts(length: int, side: int, step: int) -> list[int]:
    """Where stretches of `side` begin that cover a length, `step` apart; the last one ends with it.

    Example:
        >>> starts(10, 4, 3), starts(11, 4, 3), starts(3, 4, 3)
        ([0, 3, 6], [0, 3, 6, 7], [0])
    """
    last = max(length - side, 0)
    return sorted({*range(0, last, step), last})


def box_of(mask: Bool[Tensor, "H W"]) -> Box:
    """The smallest box around what is True.

    Example:
        >>> box_of(torch.tensor([[False, False, False], [False, True, True]]))
        Box(top=1, left=1, rows=1, columns=2)
    """
    down, across = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    top, left = int(down[0]), int(across[0])
    return Box(top, left, int(down[-1]) - top + 1, int(across[-1]) - left + 1)
