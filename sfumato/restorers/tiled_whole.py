"""Tiled wholes: a picture of any size of which every pixel is made, by a model that knows one small size, tile by tile.

Tiles overlap and fade into one another, so that no seam is seen; what a model draws differs from tile to tile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from jaxtyping import UInt8
from torch import Tensor

from sfumato.images import PEAK, Size
from sfumato.maths.regions import Box, starts
from sfumato.restorers.tiled_fill import Watch, ramp, unwatched

AT_ONCE = 16  # tiles that a model is given together
LAP = 4  # the overlap of two tiles is their side over this

Make = Callable[[UInt8[Tensor, "B C h w"], int], UInt8[Tensor, "B C H W"]]


def make_tiled(
    pixels: UInt8[Tensor, "C h w"], size: Size, scale: int, make: Make, watch: Watch = unwatched
) -> UInt8[Tensor, "C H W"]:
    """The picture, `scale` times as large, of overlapping tiles that have `size` (rows, columns) in what is given.

    `make` answers tiles with tiles `scale` times as large, told the number of the first. A picture that is smaller than a tile
    is continued by its mirror image, and cut again. `watch` is told how many tiles are done and how many there are; what it
    raises ends the work.

    Example:
        >>> pixels = torch.arange(60, dtype=torch.uint8).view(1, 6, 10)
        >>> twice = make_tiled(pixels, (4, 4), 2, lambda tiles, first: tiles.repeat_interleave(2, 2).repeat_interleave(2, 3))
        >>> torch.equal(twice[:, ::2, ::2], pixels)
        True
    """
    channels, rows, columns = pixels.shape
    wanted = max(rows, size[0]), max(columns, size[1])
    whole = _continued(pixels, wanted)
    boxes = list(tiles(wanted, size))
    watch(0, len(boxes))
    total = torch.zeros(channels, wanted[0] * scale, wanted[1] * scale)
    weight = torch.zeros(total.shape[1:])
    # Alike within a pixel of what is given, so that tiles that agree with it do so still when they are mixed.
    fade = (
        (ramp(size[0], size[0] / LAP)[:, None] * ramp(size[1], size[1] / LAP))
        .repeat_interleave(scale, 0)
        .repeat_interleave(scale, 1)
    )
    for first in range(0, len(boxes), AT_ONCE):
        some = boxes[first : first + AT_ONCE]
        made = make(torch.stack([whole[:, *box.place] for box in some]), first).float()
        for tile, box in zip(made, some, strict=True):
            place = Box(*(scale * value for value in box)).place
            total[:, *place] += fade * tile
            weight[place] += fade
        watch(first + len(some), len(boxes))
    made = (total / weight)[:, : rows * scale, : columns * scale]
    return made.round().clamp(0, PEAK).to(torch.uint8)


def tiles(picture: Size, size: Size) -> Iterator[Box]:
    """Boxes of one size that cover a picture, each about a quarter over its neighbours.

    Example:
        >>> [(box.top, box.left) for box in tiles((8, 15), (8, 8))]
        [(0, 0), (0, 6), (0, 7)]
    """
    rows, columns = (
        starts(length, side, max(side - side // LAP, 1)) for length, side in zip(picture, size, strict=True)
    )
    return (Box(top, left, *size) for top in rows for left in columns)


def _continued(pixels: UInt8[Tensor, "C h w"], size: Size) -> UInt8[Tensor, "C H W"]:
    """The picture, and beyond its lower and right border its mirror image as often as is needed."""
    for axis, length in zip((1, 2), size, strict=True):
        while pixels.shape[axis] < length:
            more = pixels.flip(axis).narrow(axis, 0, min(pixels.shape[axis], length - pixels.shape[axis]))
            pixels = torch.cat([pixels, more], axis)
    return pixels
