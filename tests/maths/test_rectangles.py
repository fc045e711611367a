"""Rectangles: the largest box and square of a mask, against all boxes tried one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sfumato.maths.rectangles import largest_box, largest_part, largest_square, patch_side
from sfumato.streams import stream


def random_mask(rows: int, columns: int, share: float) -> torch.Tensor:
    return torch.rand(rows, columns, generator=stream(0, "mask", rows, columns)) < share


def full_boxes(mask: np.ndarray) -> list[tuple[int, int]]:
    """Rows and columns of every box in which all is True."""
    H, W = mask.shape
    found = []
    for top in range(H):
        for left in range(W):
            for bottom in range(top + 1, H + 1):
                for right in range(left + 1, W + 1):
                    if mask[top:bottom, left:right].all():
                        found.append((bottom - top, right - left))
    return found


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.9, 1.0])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (6, 1), (5, 8), (9, 6)])
def test_no_box_is_larger(size: tuple[int, int], share: float) -> None:
    mask = random_mask(*size, share)
    box, boxes = largest_box(mask), full_boxes(mask.numpy())
    assert box.rows * box.columns == max([0, *(rows * columns for rows, columns in boxes)])
    assert mask[box.place].all() and mask[box.place].numel() == box.rows * box.columns


@pytest.mark.parametrize("share", [0.0, 0.7, 0.95])
def test_no_square_is_larger(share: float) -> None:
    masks = torch.stack([random_mask(7, 9, share), random_mask(7, 9, share / 2)])
    sides = [min(box) for mask in masks for box in full_boxes(mask.numpy())]
    assert largest_square(masks[:, None].float()) == max([0, *sides])


def test_the_largest_part_is_of_the_picture_that_has_it() -> None:
    x, known = torch.arange(2 * 4 * 5.0).view(2, 1, 4, 5), torch.zeros(2, 1, 4, 5)
    known[0, :, :2, :2], known[1, :, 1:, 2:] = 1.0, 1.0
    assert torch.equal(largest_part(x, known), x[1, :, 1:, 2:])


def test_a_patch_is_never_larger_than_what_counts() -> None:
    known = torch.zeros(1, 1, 20, 20)
    known[..., 4:12, 3:14] = 1.0
    assert [patch_side(known, asked) for asked in (1, 5, 8, 9, 500, None)] == [1, 5, 8, 8, 8, 3]
    assert patch_side(torch.ones(1, 1, 300, 400), None) == 32 and patch_side(torch.ones(1, 1, 300, 400), None, 2) == 64
