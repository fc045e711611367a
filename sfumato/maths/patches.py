"""Patches: the small windows of one image, its tiles, and the pyramid of its means."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from sfumato.errors import ShapeError


def patches(
    image: Shaped[Tensor, "C H W"],
    width: int,
    places: Int64[Tensor, " k"] | None = None,
    periodic: bool = False,
) -> Shaped[Tensor, "n C*w*w"]:
    """All width x width windows, row by row: p_(y, x) = image[:, y : y + w, x : x + w] as a vector of C w^2 values.

    There are n = (H - w + 1)(W - w + 1) of them, or H W where the image is `periodic` and windows go on at the opposite
    border. With `places`, numbers from 0 to n - 1, only those windows are made. Values and their type are the image's.

    Raises: ShapeError: not one image C x H x W, or a window is less than 1 or more than the image.

    Example:
        >>> patches(torch.arange(6).view(1, 2, 3), 2).tolist()
        [[0, 1, 3, 4], [1, 2, 4, 5]]
    """
    columns = count(image, width, periodic)[1]
    if periodic:
        image = torch.cat([image, image[:, : width - 1]], 1)
        image = torch.cat([image, image[:, :, : width - 1]], 2)
    windows = image.unfold(1, width, 1).unfold(2, width, 1).permute(1, 2, 0, 3, 4)
    if places is not None:
        return windows[places // columns, places % columns].flatten(1)
    return windows.flatten(0, 1).flatten(1)


def count(image: Shaped[Tensor, "C H W"], width: int, periodic: bool = False) -> tuple[int, int]:
    """Rows and columns of the places that `patches` looks at.

    Raises: ShapeError: see `patches`.

    Example:
        >>> count(torch.zeros(3, 16, 20), 4)
        (13, 17)
    """
    if image.ndim != 3 or width < 1 or width > min(image.shape[1:]):
        shape = " x ".join(str(n) for n in image.shape)
        raise ShapeError(
            f"an image of {shape} (channels x rows x columns) has no {width} x {width} patch; take a smaller one"
        )
    rows, columns = image.shape[1:]
    return (rows, columns) if periodic else (rows - width + 1, columns - width + 1)


def whole(known: Float[Tensor, "K 1 H W"], width: int) -> Bool[Tensor, "K h w"]:
    """Which width x width windows lie in what is known, 1, with nothing of what is not, 0.

    Example:
        >>> whole(torch.tensor([[[[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]]]), 2).tolist()
        [[[True, False]]]
    """
    down = F.max_pool2d(1 - known, (width, 1), 1)  # one axis after the other: the same mask, in far less time
    return (F.max_pool2d(down, (1, width), 1) == 0)[:, 0]


def tiles(image: Shaped[Tensor, "C H W"], rows: int, columns: int) -> Shaped[Tensor, "N C h w"]:
    """The floor(H / rows) floor(W / columns) windows that lie side by side from the top left; what is left over is cut off.

    Raises: ShapeError: a tile is less than 1 or more than the image.

    Example:
        >>> tiles(torch.arange(10).view(1, 2, 5), 2, 2).flatten(1).tolist()
        [[0, 1, 5, 6], [2, 3, 7, 8]]
    """
    if image.ndim != 3 or not (1 <= rows <= image.shape[1] and 1 <= columns <= image.shape[2]):
        shape = " x ".join(str(n) for n in image.shape)
        raise ShapeError(
            f"an image of {shape} (channels x rows x columns) has no tile of {rows} x {columns}; take a smaller one"
        )
    return image.unfold(1, rows, rows).unfold(2, columns, columns).permute(1, 2, 0, 3, 4).flatten(0, 1)


def depth(side: int, smallest: int) -> int:
    """How many scales an image has: 1, and 1 more each time half of its shorter side, rounded down, is `smallest` or more.

    Example:
        >>> [depth(side, 16) for side in (8, 16, 31, 32, 100)]
        [1, 1, 1, 2, 3]
    """
    scales = 1
    while side // 2 >= max(smallest, 1):
        side, scales = side // 2, scales + 1
    return scales


def pyramid(image: Float[Tensor, "C H W"], scales: int) -> list[Float[Tensor, "C h w"]]:
    """The image and its means over blocks of 2 x 2, 4 x 4 and so on, from fine to coarse, `scales` in all.

    A last odd row or column is left out. Of 8-bit levels every mean is exact in float64.

    Raises: ShapeError: not one image C x H x W, or it is too small for so many halvings.

    Example:
        >>> [level.tolist() for level in pyramid(torch.tensor([[[0.0, 4.0], [2.0, 2.0]]]), 2)]
        [[[[0.0, 4.0], [2.0, 2.0]]], [[[2.0]]]]
    """
    if image.ndim != 3 or scales < 1 or min(image.shape[1:]) >> (scales - 1) < 1:
        shape = " x ".join(str(n) for n in image.shape)
        raise ShapeError(
            f"an image of {shape} (channels x rows x columns) has no pyramid of {scales} scales; take fewer"
        )
    levels = [image]
    for _ in range(scales - 1):
        levels.append(F.avg_pool2d(levels[-1], 2))
    return levels
