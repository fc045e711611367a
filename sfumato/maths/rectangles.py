"""Rectangles: the largest box and the largest square of a mask, for methods that need pixels without gaps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from sfumato.maths.regions import Box

LARGE = 128  # of a larger square no larger part is taken


def largest_box(mask: Bool[Tensor, "H W"]) -> Box:
    """The box with the most pixels among those in which all is True, the first from the top; without rows where nothing is.

    Row by row, h(x) is how far column x is True upwards. A box that ends in this row is as high as the lowest h between its
    sides, and a stack of rising h finds the widest for each height in one sweep: O(H W) steps.

    Example:
        >>> largest_box(torch.tensor([[True, False, False], [True, True, True], [True, True, True]]))
        Box(top=1, left=0, rows=2, columns=3)
    """
    rows, columns = mask.shape
    if bool(mask.all()):
        return Box(0, 0, rows, columns)
    best, heights = Box(0, 0, 0, 0), torch.zeros(columns, dtype=torch.int64)
    for y, row in enumerate(mask.cpu()):
        heights = (heights + 1) * row
        rising: list[tuple[int, int]] = []  # where a box of this height could begin, and the height
        for x, height in enumerate([*heights.tolist(), 0]):
            start = x
            while rising and rising[-1][1] >= height:
                start, h = rising.pop()
                if h * (x - start) > best.rows * best.columns:
                    best = Box(y - h + 1, start, h, x - start)
            rising.append((start, height))
    return best


def largest_square(known: Float[Tensor, "K 1 H W"]) -> int:
    """The side of the largest square in which all counts, 1, in any of the pictures; 0 where nothing does.

    Example:
        >>> largest_square(torch.tensor([[[[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]]]))
        2
    """
    low, high = 0, min(known.shape[2:])
    sums = F.pad((known == 1).long().cumsum(2).cumsum(3), (1, 0, 1, 0))[:, 0]
    while low < high:  # a square holds all smaller ones
        s = (low + high + 1) // 2
        inside = sums[:, s:, s:] - sums[:, s:, :-s] - sums[:, :-s, s:] + sums[:, :-s, :-s]
        low, high = (s, high) if int(inside.max()) == s * s else (low, s - 1)
    return low


def patch_side(known: Float[Tensor, "K 1 H W"], asked: int | None, part: int = 4) -> int:
    """Rows and columns of a patch: as asked, else a `part` of the largest square that counts, at least 3, of 128 at most.

    Never more than that square, so that there is a patch to be had.

    Example:
        >>> known = torch.ones(1, 1, 64, 80)
        >>> patch_side(known, None), patch_side(known, 40), patch_side(known, 100)
        (16, 40, 64)
    """
    square = largest_square(known)
    return min(asked or max(min(square, LARGE) // part, 3), square)


def largest_part(x: Float[Tensor, "K C H W"], known: Float[Tensor, "K 1 H W"]) -> Float[Tensor, "C h w"]:
    """Of some pictures the largest rectangle in which all counts.

    Example:
        >>> known = torch.zeros(2, 1, 8, 8)
        >>> known[1, :, 3:] = 1.0
        >>> tuple(largest_part(torch.zeros(2, 3, 8, 8), known).shape)
        (3, 5, 8)
    """
    boxes = [largest_box(one[0] == 1) for one in known]
    k = max(range(len(boxes)), key=lambda k: boxes[k].rows * boxes[k].columns)
    return x[k][(slice(None), *boxes[k].place)]
