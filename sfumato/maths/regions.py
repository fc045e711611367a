"""Regions: the connected parts of a mask."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor

COARSE = 128  # cells along the longer side in which parts are told from one another


def regions(mask: Bool[Tensor, "H W"]) -> Iterator[Bool[Tensor, "H W"]]:
    """The parts of a mask that do not touch; parts nearer than a cell of 1/128 of the longer side count as one.

    Example:
        >>> [int(part.sum()) for part in regions(torch.tensor([[True, True, False, False, True]]))]
        [2, 1]
    """
    rows, columns = mask.shape
    cell = max(-(-max(rows, columns) // COARSE), 1)
    labels = grouped(mask, cell)
    for label in labels[labels > 0].unique().tolist():
        own = (labels == label).repeat_interleave(cell, 0).repeat_interleave(cell, 1)
        yield mask & own[:rows, :columns]


def grouped(mask: Bool[Tensor, "H W"], cell: int) -> Tensor:
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
