"""Regions: the connected parts of a mask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float64
from torch import Tensor

COARSE = 128  # cells along the longer side in which parts are told from one another


@dataclass(frozen=True)
class Region:
    """One part: where its box begins, and what of the box belongs to it."""

    top: int
    left: int
    mask: Bool[Tensor, "h w"]

    @property
    def place(self) -> tuple[slice, slice]:
        """The rows and columns of its box."""
        rows, columns = self.mask.shape
        return slice(self.top, self.top + rows), slice(self.left, self.left + columns)


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
        first_row, first_column, tall, wide = boxes(inside)
        tight = inside[first_row : first_row + tall, first_column : first_column + wide]
        yield Region(place[0].start + first_row, place[1].start + first_column, tight)


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


def boxes(mask: Bool[Tensor, "H W"]) -> tuple[int, int, int, int]:
    """Top, left, rows and columns of what is True.

    Example:
        >>> boxes(torch.tensor([[False, False, False], [False, True, True]]))
        (1, 1, 1, 2)
    """
    down, across = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    top, left = int(down[0]), int(across[0])
    return top, left, int(down[-1]) - top + 1, int(across[-1]) - left + 1
