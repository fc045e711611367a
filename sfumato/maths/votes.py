"""Votes: all windows of a picture, and the picture that windows agree on where they overlap."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def windows(x: Float[Tensor, "B C H W"], side: int, periodic: bool = False) -> Float[Tensor, "B n C*s*s"]:
    """All side x side windows, row by row; of a periodic picture one begins at every pixel."""
    if periodic:
        x = F.pad(x, (0, side - 1, 0, side - 1), mode="circular")
    return F.unfold(x, side).transpose(1, 2)


def averaged(
    patches: Float[Tensor, "B n C*s*s"], size: Sequence[int], side: int, periodic: bool = False
) -> Float[Tensor, "B C H W"]:
    """Each pixel the mean of what the windows over it say; `averaged(windows(x, side), ...)` is x.

    Example:
        >>> x = torch.arange(12.0).view(1, 1, 3, 4)
        >>> [torch.equal(averaged(windows(x, 2, wrap), (3, 4), 2, wrap), x) for wrap in (False, True)]
        [True, True]
    """
    rows, columns = size
    more = side - 1 if periodic else 0
    total = F.fold(patches.transpose(1, 2), (rows + more, columns + more), side)
    if periodic:
        total[:, :, :more] += total[:, :, rows:]
        total[:, :, :, :more] += total[:, :, :, columns:]
        return total[:, :, :rows, :columns] / side**2
    count = F.fold(torch.ones_like(patches[:1, :, : side**2]).transpose(1, 2), (rows, columns), side)
    return total / count
