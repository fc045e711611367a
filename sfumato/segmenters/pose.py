"""Where people stand: MediaPipe's pose detection, whose boxes are the circle around a whole body."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from sfumato.images import to_float
from sfumato.segmenters.tflite import Network

STRIDES = (8, 16, 32, 32, 32)  # of the five layers of anchors, two in each cell; layers of one stride lie together
SIDE = 224


@dataclass(frozen=True)
class Person:
    """A circle around a body, in pixels."""

    row: float
    column: float
    radius: float
    score: float


def anchors() -> Tensor:
    """Middles of the cells, [2254, 2], x then y, as shares of the side."""
    found = []
    for stride in sorted(set(STRIDES)):
        cells = SIDE // stride
        place = (torch.arange(cells) + 0.5) / cells
        grid = torch.stack([place.repeat(cells), place.repeat_interleave(cells)], 1)
        found.append(grid.repeat_interleave(2 * STRIDES.count(stride), 0))
    return torch.cat(found)


def people(network: Network, pixels: UInt8[Tensor, "3 H W"], least: float = 0.5) -> list[Person]:
    """Those in a picture, the surest first; of circles around one middle the surest.

    The picture keeps its aspect between black borders. Of the 12 numbers of an anchor the first four are a box around the
    face, then come points (x, y): the middle of the hips and a point on the circle around the body, in pixels from the anchor.
    """
    rows, columns = pixels.shape[1:]
    longer = max(rows, columns)
    small = max(round(SIDE * rows / longer), 1), max(round(SIDE * columns / longer), 1)
    x = F.interpolate(to_float(pixels[None]), small, mode="bilinear", antialias=True)
    room = SIDE - small[0], SIDE - small[1]
    x = F.pad(x, (room[1] // 2, room[1] - room[1] // 2, room[0] // 2, room[0] - room[0] // 2), value=-1.0)
    boxes, scores = sorted((out[0] for out in network(x.permute(0, 2, 3, 1))), key=lambda out: -out.shape[1])
    likely = scores[:, 0].clamp(-100, 100).sigmoid()
    found: list[Person] = []
    for place in likely.argsort(descending=True).tolist():
        if float(likely[place]) < least:
            break
        middle, rim = (boxes[place, 4 + 2 * k : 6 + 2 * k] + SIDE * anchors_at[place] for k in (0, 1))
        radius = float((middle - rim).norm()) * longer / SIDE
        column, row = (float(middle[k] - room[1 - k] // 2) * longer / SIDE for k in (0, 1))
        if all(abs(row - p.row) + abs(column - p.column) > 0.5 * p.radius for p in found):
            found.append(Person(row, column, radius, float(likely[place])))
    return found


anchors_at = anchors()
