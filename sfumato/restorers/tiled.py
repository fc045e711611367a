"""Tiled: holes in a picture of any size, filled by a model that knows one small size.

Around each hole a part of the picture is cut out, made as small as the model's images and filled there: the model sees what
surrounds the hole. What the small size cannot hold, the fine structure, comes from the picture: each tile of the fill takes it
from the known place that looks most alike at the small size (contextual residuals). Known pixels keep their bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from sfumato.errors import CapabilityError
from sfumato.images import PEAK, Size
from sfumato.maths.push_pull import push_pull
from sfumato.maths.regions import boxes, grouped

CONTEXT = 2.0  # a part is so many times as long as its hole
GROUPING = 16  # pixels; holes nearer than this are filled together
LIMIT = 0.9  # unknown share of a part beyond which it tells a model next to nothing
RING = 2  # pixels around a hole, at the model's size, whose difference from the fill is carried into it
TILE, LAP = 4, 1  # cells of the model's size in a tile, and in its overlap with the next
CANDIDATES = 4096  # known places that a tile is compared with

Part = UInt8[Tensor, "C h w"]
Answer = Callable[[Part, Bool[Tensor, "h w"], int], Part]


@dataclass(frozen=True)
class Window:
    """A part of a picture."""

    top: int
    left: int
    rows: int
    columns: int

    @property
    def place(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        return slice(self.top, self.top + self.rows), slice(self.left, self.left + self.columns)


def fill_tiled(
    pixels: UInt8[Tensor, "C H W"], hole: Bool[Tensor, "H W"], size: Size, answer: Answer
) -> tuple[UInt8[Tensor, "C H W"], int]:
    """The picture with its holes made, and in how many parts.

    `answer` makes the unknown part of one picture of the model's size, told its number.

    Raises: CapabilityError: a hole leaves next to nothing of the picture around it.

    Reference: Yi et al. (2020), Contextual residual aggregation for ultra high-resolution image inpainting, for the residuals.
    """
    made, left = pixels.clone(), hole.clone()
    count = 0
    for window in parts(hole, size):
        place = window.place
        unknown = left[place]
        if float(unknown.float().mean()) > LIMIT:
            raise CapabilityError(
                f"a hole takes {float(unknown.float().mean()):.0%} of the {window.columns} x {window.rows} around it, so "
                "that next to nothing is known; use a smaller mask, or a classical restorer (telea, biharmonic ...)"
            )
        filled = _filled(made[:, *place], unknown, size, answer, count)
        made[:, *place] = torch.where(unknown, filled, made[:, *place])
        left[place] = False
        count += 1
    return made, count


def parts(hole: Bool[Tensor, "H W"], size: Size) -> Iterator[Window]:
    """A window around each group of holes: of the model's shape, its size at least, and inside the picture."""
    labels = grouped(hole, GROUPING)
    for label in labels[labels > 0].unique().tolist():
        own = (labels == label).repeat_interleave(GROUPING, 0).repeat_interleave(GROUPING, 1)
        rows, columns = hole.shape
        first_row, first_column, tall, wide = boxes(hole & own[:rows, :columns])
        scale = max(CONTEXT * tall / size[0], CONTEXT * wide / size[1], 1.0)
        shape = min(round(size[0] * scale), rows), min(round(size[1] * scale), columns)
        top = min(max(first_row + tall // 2 - shape[0] // 2, 0), rows - shape[0])
        left = min(max(first_column + wide // 2 - shape[1] // 2, 0), columns - shape[1])
        yield Window(top, left, *shape)


def _filled(pixels: Part, unknown: Bool[Tensor, "h w"], size: Size, answer: Answer, number: int) -> Part:
    """One part: filled at the model's size, brought back, joined to its surroundings, given their fine structure."""
    if tuple(unknown.shape) == tuple(size):
        return answer(pixels, unknown, number)
    x, known = pixels.float()[None], 1.0 - unknown.float()[None, None]
    small, share = _shrunk(x, known, size)
    gone = share[0, 0] < 0.999
    coarse = answer(small.round().clamp(0, PEAK).to(torch.uint8)[0], gone, number).float()[None]
    fill = _enlarged(torch.where(gone, coarse, small), x)
    near = known * (F.max_pool2d(_enlarged(gone.float()[None, None], x), *_around(x, size)) > 0)
    fill = fill + torch.where(known > 0, 0.0, push_pull((x - fill) * near, near))
    detail = (x - _enlarged(small, x)) * known
    fill = fill + _transferred(detail, coarse, gone, known)
    return fill.round().clamp(0, PEAK).to(torch.uint8)[0]


def _around(x: Tensor, size: Size) -> tuple[int, int, int]:
    """Kernel, stride and padding of a pooling that reaches RING pixels of the model's size."""
    reach = max(round(RING * x.shape[2] / size[0]), 1)
    return 2 * reach + 1, 1, reach


def _shrunk(x: Tensor, known: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    """Means over what is known of each small pixel, and its known share."""
    share = F.interpolate(known, size, mode="area")
    return F.interpolate(x * known, size, mode="area") / share.clamp(min=1e-6), share


def _enlarged(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[2:], mode="bicubic", align_corners=False)


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
    across = columns - side + 1
    tall, wide = -(-side * h // rows), -(-side * w // columns)
    if min(h - tall, w - wide) < 0:
        return torch.zeros_like(detail)
    window = _ramp(tall, round(LAP * h / rows))[:, None] * _ramp(wide, round(LAP * w / columns))
    total, weight = torch.zeros_like(detail), torch.zeros_like(known)
    for top in _starts(rows, side):
        for left in _starts(columns, side):
            if not bool(gone[top : top + side, left : left + side].any()):
                continue
            apart = (views[sources] - views[top * across + left]).square().sum(1)
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


def _starts(length: int, side: int) -> list[int]:
    """Where tiles of `side` cells begin, each LAP cells over the one before; the last one ends with the picture."""
    return sorted({*range(0, length - side, TILE), length - side})


def _ramp(length: int, lap: int) -> Float[Tensor, " n"]:
    """1, rising from 0 and falling back along the overlaps."""
    place = torch.arange(length) + 0.5
    return torch.minimum(place, length - place).div(max(lap, 1)).clamp(max=1.0)
