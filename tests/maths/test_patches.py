"""Patches, tiles and pyramids. Oracles: loops that read pixel by pixel, and NumPy's reshape for means of blocks."""

import numpy as np
import pytest
import torch
from torch import Tensor

from sfumato.errors import ShapeError
from sfumato.maths.patches import count, depth, patches, pyramid, tiles


def image(channels: int, rows: int, columns: int, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (channels, rows, columns), generator=rng).to(torch.uint8)


def by_loop(x: Tensor, width: int, periodic: bool) -> list[list[int]]:
    array = x.numpy()
    channels, rows, columns = array.shape
    tops, lefts = (rows, columns) if periodic else (rows - width + 1, columns - width + 1)
    steps = [(c, dy, dx) for c in range(channels) for dy in range(width) for dx in range(width)]
    return [
        [int(array[c, (y + dy) % rows, (x + dx) % columns]) for c, dy, dx in steps]
        for y in range(tops)
        for x in range(lefts)
    ]


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize(("shape", "width"), [((1, 4, 4), 1), ((3, 5, 7), 2), ((2, 7, 4), 4), ((3, 6, 5), 3)])
def test_patches_pixel_by_pixel(shape: tuple[int, int, int], width: int, periodic: bool) -> None:
    x = image(*shape)
    found = patches(x, width, periodic=periodic)
    assert found.tolist() == by_loop(x, width, periodic) and found.dtype == torch.uint8
    rows, columns = count(x, width, periodic)
    assert found.shape == (rows * columns, shape[0] * width**2)
    some = torch.tensor([rows * columns - 1, 0, columns // 2])
    assert torch.equal(patches(x, width, some, periodic), found[some])


def test_the_patches_of_a_torus_do_not_see_a_shift() -> None:
    x = image(3, 6, 9)
    moved = patches(x.roll((2, 5), (1, 2)), 3, periodic=True)
    assert sorted(moved.tolist()) == sorted(patches(x, 3, periodic=True).tolist())


@pytest.mark.parametrize("width", [0, -1, 5, 9])
def test_no_such_patch(width: int) -> None:
    with pytest.raises(ShapeError, match=f"3 x 4 x 6 .*no {width} x {width} patch"):
        patches(image(3, 4, 6), width)
    with pytest.raises(ShapeError, match="1 x 3 x 4 x 6"):
        patches(image(3, 4, 6)[None], 2)


def test_tiles_are_crops() -> None:
    x = image(2, 7, 11)
    found = tiles(x, 3, 4)
    assert found.shape == (4, 2, 3, 4)
    for i, (top, left) in enumerate([(0, 0), (0, 4), (3, 0), (3, 4)]):
        assert torch.equal(found[i], x[:, top : top + 3, left : left + 4])
    assert torch.equal(tiles(x, 7, 11), x[None])
    for rows, columns in ((8, 1), (1, 12), (0, 1)):
        with pytest.raises(ShapeError, match=f"no tile of {rows} x {columns}"):
            tiles(x, rows, columns)


def test_pyramid_is_means_of_blocks() -> None:
    x = image(3, 16, 24).double()
    for level, found in enumerate(pyramid(x, 4)):
        side = 2**level
        blocks = x.numpy().reshape(3, 16 // side, side, 24 // side, side).mean((2, 4))
        assert np.array_equal(found.numpy(), blocks)


def test_pyramid_of_odd_sides() -> None:
    x = image(1, 7, 5).double()
    assert [tuple(level.shape) for level in pyramid(x, 3)] == [(1, 7, 5), (1, 3, 2), (1, 1, 1)]
    assert torch.equal(pyramid(x, 2)[1], pyramid(x[:, :6, :4], 2)[1])
    for scales in (0, 4):
        with pytest.raises(ShapeError, match=f"no pyramid of {scales} scales"):
            pyramid(x, scales)


def test_depth() -> None:
    assert [depth(side, 12) for side in (1, 12, 23, 24, 47, 48, 96)] == [1, 1, 1, 2, 2, 3, 4]
    for side in (1, 2, 3, 5, 8, 100):
        for smallest in (0, 1, 4, 50):
            scales = depth(side, smallest)
            sides = [level.shape[1] for level in pyramid(torch.zeros(1, side, side), scales)]
            assert scales == 1 or sides[-1] >= smallest
            assert sides[-1] // 2 < max(smallest, 1)
