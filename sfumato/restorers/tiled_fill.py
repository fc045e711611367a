"""Tiled filling: holes in a picture of any size, filled by a model that knows one small size.

Around each hole a part of the picture is cut out, made as small as the model's images and filled there: the model sees what
surrounds the hole. A fill that is smoother than its surroundings is made of patches of these (`texture`). The fine structure,
which the small size cannot hold, comes from the picture, too: each tile of the fill takes it from the known place that looks
most alike at the small size (contextual residuals). Known pixels keep their bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from sfumato.errors import DataError
from sfumato.images import PEAK, Size
from sfumato.maths.push_pull import push_pull
from sfumato.maths.regions import Box, Region, regions, starts
from sfumato.memory import free_memory
from sfumato.restorers.texture import textured

CONTEXT = 2.0  # a part is so many times as long as its hole
GROUPING = 16  # pixels; holes nearer than this are filled together
LIMIT = 0.9  # unknown share of a part beyond which it tells a model next to nothing
RING = 2  # pixels around a hole, at the model's size, whose difference from the fill is carried into it
TILE, LAP = 4, 1  # cells of the model's size in a tile, and in its overlap with the next
COST = 130  # bytes for each pixel of a window
CANDIDATES = 4096  # known places that a tile is compared with

Part = UInt8[Tensor, "C h w"]
Answer = Callable[[Part, Bool[Tensor, "h w"], int], Part]
Watch = Callable[[int, int], None]


def unwatched(done: int, of: int) -> None:
    """What is told of progress where nobody asks."""


def fill_tiled(
    pixels: UInt8[Tensor, "C H W"],
    hole: Bool[Tensor, "H W"],
    size: Size,
    answer: Answer,
    watch: Watch = unwatched,
    hidden: Bool[Tensor, "H W"] | None = None,
) -> tuple[UInt8[Tensor, "C H W"], int]:
    """The picture with its holes made, and in how many parts.

    `answer` makes the unknown part of one picture of the model's size, told its number. `watch` is told, first and after each
    part, how many are done and how many there are; what it raises ends the work. What is `hidden`
    tells nothing, and is not made.

    Raises: DataError: a hole leaves next to nothing of the picture around it, or is too large for the memory there is.

    Reference: Yi et al. (2020), Contextual residual aggregation for ultra high-resolution image inpainting, for the residuals.
    """
    work = list(parts(hole, size))
    unknown = hole if hidden is None else hole | hidden
    left = unknown.clone()
    for region, window in work:  # before any of them is filled
        share = float(left[window.place].float().mean())
        if share > LIMIT:
            raise DataError(
                f"of the {window.columns} x {window.rows} around what is to be made {share:.0%} is not known, so next to "
                "nothing is; make less at a time, or use a classical restorer (telea, biharmonic ...)"
            )
        left[region.box.place] &= ~region.mask
        need = COST * window.rows * window.columns
        if need > free_memory():
            raise DataError(
                f"a hole of {region.box.columns} x {region.box.rows} needs {need / 2**30:.1f} GiB, more than the memory here; "
                "make less at a time, or a smaller picture"
            )
    watch(0, len(work))
    made, left = pixels.clone(), unknown.clone()
    for number, (region, window) in enumerate(work):
        filled = _filled(made[:, *window.place], left[window.place], size, answer, number)
        own, inside = region.box.place, region.box.within(window).place
        made[:, *own] = torch.where(region.mask, filled[:, *inside], made[:, *own])
        left[own] &= ~region.mask
        watch(number + 1, len(work))
    return made, len(work)


def parts(hole: Bool[Tensor, "H W"], size: Size) -> Iterator[tuple[Region, Box]]:
    """Groups of holes, the largest first, and around each a window inside the picture, of the model's size at least.

    It has the model's shape, unless the picture is too narrow for that; then the model sees it squeezed. A stroke or a
    frame is taken in pieces that are not much longer than it is thick.
    """
    rows, columns = hole.shape
    found = (piece for region in regions(hole, GROUPING) for piece in region.pieces(GROUPING, min(size) // 2))
    for region in found:
        (top, left), (tall, wide) = region.box[:2], region.box[2:]
        scale = max(CONTEXT * tall / size[0], CONTEXT * wide / size[1], 1.0)
        most = min(rows / size[0], columns / size[1])
        if scale > most >= max(tall / size[0], wide / size[1]) / LIMIT:
            scale = max(most, 1.0)
        shape = min(round(size[0] * scale), rows), min(round(size[1] * scale), columns)
        top = min(max(top + tall // 2 - shape[0] // 2, 0), rows - shape[0])
        left = min(max(left + wide // 2 - shape[1] // 2, 0), columns - shape[1])
        yield region, Box(top, left, *shape)


def _filled(pixels: Part, unknown: Bool[Tensor, "h w"], size: Size, answer: Answer, number: int) -> Part:
    """One part: filled at the model's size, brought back, joined to its surroundings, given their fine structure."""
    if tuple(unknown.shape) == tuple(size):
        return answer(pixels, unknown, number)
    x, known = pixels.float()[None], 1.0 - unknown.float()[None, None]
    small, share = _shrunk(x, known, size)
    gone = share[0, 0] < 0.999
    coarse = answer(small.round().clamp(0, PEAK).to(torch.uint8)[0], gone, number).float()[None]
    whole = textured(torch.where(gone, coarse, small), gone)
    fill = _enlarged(whole, x)
    rim = F.max_pool2d(gone.float()[None, None], 2 * RING + 1, stride=1, padding=RING)
    near = known * F.interpolate(rim, x.shape[2:], mode="nearest")
    detail = (x - fill) * known
    fill = fill + torch.where(known > 0, 0.0, push_pull((x - fill) * near, near))
    fill = fill + _transferred(detail, whole, gone, known)
    return fill.round().clamp(0, PEAK).to(torch.uint8)[0]


def _shrunk(x: Tensor, known: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    """Means over what is known of each small pixel, and its known share."""
    share = F.interpolate(known, size, mode="area")
    return F.interpolate(x * known, size, mode="area") / share.clamp(min=1e-6), share


def _enlarged(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=False)  # no overshoot at the rim


def _transferred(
    detail: Float[Tensor, "1 C h w"],
    coarse: Float[Tensor, "1 C r c"],
    gone: Bool[Tensor, "r c"],
    known: Float[Tensor, "1 1 h w"],
) -> Float[Tensor, "1 C h w"]:
    """Fine structure for the hole: tile by tile that of the known place whose coarse picture is most alike."""
    (rows, columns), (h, w) = gone.shape, known.shape[2:]
    side = TILE + LAP
    if min(rows, columns) < side:
        return torch.zeros_like(detail)
    views = F.unfold(coarse, side)[0].T  # [places, C side side]
    whole = F.unfold((~gone).float()[None, None], side)[0].amin(0) > 0
    sources = whole.nonzero()[:, 0]
    if not len(sources):
        return torch.zeros_like(detail)
    sources = sources[:: -(-len(sources) // CANDIDATES)]
    across, candidates = columns - side + 1, views[sources]
    tall, wide = -(-side * h // rows), -(-side * w // columns)
    if min(h - tall, w - wide) < 0:
        return torch.zeros_like(detail)
    window = ramp(tall, round(LAP * h / rows))[:, None] * ramp(wide, round(LAP * w / columns))
    total, weight = torch.zeros_like(detail), torch.zeros_like(known)
    for top in starts(rows, side, TILE):
        for left in starts(columns, side, TILE):
            if not bool(gone[top : top + side, left : left + side].any()):
                continue
            apart = (candidates - views[top * across + left]).square().sum(1)
            there = int(sources[int(apart.argmin())])
            y, x = (
                min(round(p * scale), most)
                for p, scale, most in ((top, h / rows, h - tall), (left, w / columns, w - wide))
            )
            from_y = min(round(there // across * h / rows), h - tall)
            from_x = min(round(there % across * w / columns), w - wide)
            piece = detail[:, :, from_y : from_y + tall, from_x : from_x + wide]
            total[:, :, y : y + tall, x : x + wide] += window * piece
            weight[:, :, y : y + tall, x : x + wide] += window
    return torch.where(known > 0, 0.0, total / weight.clamp(min=1e-6))


def ramp(length: int, lap: float) -> Float[Tensor, " n"]:
    """1, rising from 0 and falling back along the overlaps."""
    place = torch.arange(length) + 0.5
    return torch.minimum(place, length - place).div(max(lap, 1)).clamp(max=1.0)
