"""Exemplar: a picture's holes filled, and the picture enlarged, with patches of itself alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray
from pydantic import Field
from torch import Generator, Tensor

from sfumato.config import Strict
from sfumato.images import Images, to_float, to_uint8
from sfumato.maths.nearest_field import descriptors, nearest_field
from sfumato.maths.push_pull import push_pull
from sfumato.maths.regions import Box, regions
from sfumato.maths.votes import averaged, windows
from sfumato.restorers.base import Filler, agree
from sfumato.streams import Rngs, stream
from sfumato.tasks.base import Observation, Operator

AROUND = 2.0  # a part is so many times as long as its hole
LEAST, MOST = 48, 320  # pixels on each side of a hole that are looked at
GROUPING = 8  # pixels; holes nearer than this are filled together
COMPONENTS = 24  # by which patches are compared
NEAR = 0.003  # what a pixel of distance counts, beside differences of values from -1 to 1: light changes over a picture


class Exemplar(Filler):
    """Each pixel of a hole the mean of what the patches over it say, each the most alike of the known ones; coarse to fine.

    At the coarsest scale, where the hole is about as wide as a patch, what surrounds it is carried smoothly into it; then
    patches are looked for and put there in turns, and where they lie is handed on to the scale of twice the size. Patches
    that fit better count more, and at the end each pixel is taken from the one that fits best: means of many are blurred.
    Around each hole a part of the picture is looked at, twice as long as the hole.
    An observation that is small is enlarged by its own patches: those of a blurred copy that are most alike say what is
    lost (Freedman and Fattal, 2011; Glasner et al., 2009), and what was measured is kept.
    References: Wexler, Shechtman and Irani (2007), Space-time completion of video; Barnes et al. (2009), PatchMatch; Newson et
    al. (2014) for the weights.
    """

    own_patches = True

    class Config(Strict):
        kind: Literal["exemplar"] = "exemplar"
        patch: int = Field(default=7, ge=3, le=31)
        """Rows and columns of a patch; less in a small picture."""
        rounds: int = Field(default=6, ge=1, le=100)
        """Times that patches are looked for and put into the hole at each scale."""

    @classmethod
    def answers(cls, operator: Operator) -> bool:
        return operator.hides or operator.shrinks

    def restore(self, observation: Observation, *, rng: Rngs) -> Images:
        """Fill what is hidden, enlarge what is small."""
        self.check(observation)
        if not observation.operator.shrinks:
            return super().restore(observation, rng=rng)
        pictures = [self.enlarge(y[None], observation.operator.size) for y in observation.y]
        return agree(torch.cat(pictures), observation)

    def fill(self, picture: NDArray[np.uint8], hole: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """One hole after the other, the largest first."""
        x = to_float(torch.from_numpy(picture).permute(2, 0, 1)[None])
        gone = torch.from_numpy(hole)
        left = gone.clone()
        for region in regions(gone, GROUPING):
            place = around(region.box, (gone.shape[0], gone.shape[1])).place
            inside = torch.zeros_like(gone)
            inside[region.box.place] = region.mask
            part = self.filled_part(x[:, :, *place], left[place], stream(0, "exemplar"))
            x[:, :, *place] = torch.where(inside[place], part, x[:, :, *place])
            left &= ~inside
        return to_uint8(x)[0].permute(1, 2, 0).numpy()

    def filled_part(self, x: Images, hole: Bool[Tensor, "h w"], rng: Generator) -> Images:
        """A part of a picture with its hole filled, coarse to fine."""
        thick = int(np.ceil(thickness(hole)))
        levels, side = 1, min(self.config.patch, *hole.shape)
        while thick > 2 * self.config.patch and min(hole.shape) >> levels >= 4 * self.config.patch:
            levels, thick = levels + 1, thick // 2
        found: Int64[Tensor, "a b"] | None = None
        made = x
        for level in reversed(range(levels)):
            size = hole.shape[0] >> level, hole.shape[1] >> level
            now = F.interpolate(x, size, mode="area")
            gone = F.interpolate(hole.float()[None, None], size, mode="area")[0, 0] > 0
            made = push_pull(now, 1 - gone.float()[None, None])
            cover = F.max_pool2d(gone.float()[None, None], side, 1)[0, 0] > 0
            sources, targets = ~cover, cover.flatten().nonzero()[:, 0]
            if not bool(sources.any()):
                continue
            start: Int64[Tensor, " n"] | None = None if found is None else finer(found, targets, cover.shape)
            if start is not None:
                able = sources.flatten()
                start = torch.where(able[start], start, able.nonzero()[0, 0])
                made = voted(made, gone, targets, start, torch.ones(len(targets)), side)
            for _ in range(self.config.rounds):
                of = torch.cat(
                    [descriptors(made, side, sources, COMPONENTS, rng), NEAR * 2**level * places(cover.shape)], 2
                )
                start, far = nearest_field(of, targets, sources, rng, start)
                scale = far.sort().values[3 * len(far) // 4].clamp(min=1e-6)
                made = voted(made, gone, targets, start, (-far / (2 * scale)).exp(), side)
            table = torch.arange(cover.numel())
            table[targets] = targets if start is None else start
            found = table.view(cover.shape)
            if level == 0 and start is not None:
                made = decided(made, gone, targets, start, far, side)
        return made

    def enlarge(self, y: Images, size: tuple[int, int]) -> Images:
        """From a smooth enlargement, in as many steps as it takes to double or less at once."""
        x, rng = y, stream(0, "exemplar")
        while tuple(x.shape[2:]) != tuple(size):
            rows, columns = (min(2 * side, goal) for side, goal in zip(x.shape[2:], size, strict=True))
            small = max(round(x.shape[2] ** 2 / rows), 4), max(round(x.shape[3] ** 2 / columns), 4)
            blurred = smooth(smooth(x, small), (x.shape[2], x.shape[3]))
            x = sharpened(smooth(x, (rows, columns)), x, blurred, min(5, *x.shape[2:]), rng)
        return x


def smooth(x: Images, size: tuple[int, int]) -> Images:
    """Bicubic with antialiasing."""
    return F.interpolate(x, size, mode="bicubic", antialias=True).clamp(-1, 1)


def sharpened(guess: Images, sharp: Images, blurred: Images, side: int, rng: Generator) -> Images:
    """The guess, and what patches of the blurred picture lack that are most alike to those of the guess."""
    keys, lacks = windows(blurred, side)[0], windows(sharp - blurred, side)[0]
    queries = windows(guess, side)[0]
    both = torch.cat([keys, queries])
    able = torch.arange(len(both))[None] < len(keys)
    targets = torch.arange(len(keys), len(both))
    found = torch.cat([nearest_field(both[None], part, able, rng)[0] for part in targets.split(2048)])
    return (guess + averaged(lacks[found][None], (guess.shape[2], guess.shape[3]), side)).clamp(-1, 1)


def places(shape: torch.Size) -> Float[Tensor, "h w 2"]:
    """Row and column of each place."""
    rows, columns = torch.meshgrid(*(torch.arange(float(side)) for side in shape), indexing="ij")
    return torch.stack([rows, columns], 2)


def around(box: Box, size: tuple[int, int]) -> Box:
    """The part of a picture that a hole is filled from."""
    room = [min(max(round((AROUND - 1) * side), LEAST), MOST) for side in box[2:]]
    top, left = max(box.top - room[0], 0), max(box.left - room[1], 0)
    bottom, right = min(box.top + box.rows + room[0], size[0]), min(box.left + box.columns + room[1], size[1])
    return Box(top, left, bottom - top, right - left)


def thickness(hole: Bool[Tensor, "h w"]) -> float:
    """About how wide a hole is: four times its area over the length of its rim."""
    inside = F.pad(hole, (1, 1, 1, 1))
    rim = sum(int((inside.diff(dim=axis) != 0).sum()) for axis in (0, 1))
    return 4 * int(hole.sum()) / max(rim, 1)


def finer(coarse: Int64[Tensor, "a b"], targets: Int64[Tensor, " n"], shape: torch.Size) -> Int64[Tensor, " n"]:
    """Where patches of twice the resolution lie, if they lie where those of the coarse scale do."""
    row, column = targets // shape[1], targets % shape[1]
    there = coarse[(row // 2).clamp(max=coarse.shape[0] - 1), (column // 2).clamp(max=coarse.shape[1] - 1)]
    row = (2 * (there // coarse.shape[1]) + row % 2).clamp(max=shape[0] - 1)
    column = (2 * (there % coarse.shape[1]) + column % 2).clamp(max=shape[1] - 1)
    return row * shape[1] + column


def decided(
    x: Images,
    hole: Bool[Tensor, "h w"],
    targets: Int64[Tensor, " n"],
    found: Int64[Tensor, " n"],
    far: Float[Tensor, " n"],
    side: int,
) -> Images:
    """Each pixel of the hole as the one patch over it says that fits best, moved smoothly to where the known pixels are.

    Patches at the rim reach over known pixels too: what they miss there is carried into the hole.
    """
    flat = x[0].flatten(1)
    made, least = flat.clone(), flat.new_full((flat.shape[1],), torch.inf)
    for to, source in pixels_of(targets, found, side, x.shape[3]):
        better = far < least[to]
        least[to[better]], made[:, to[better]] = far[better], flat[:, source[better]]
    made = made.view_as(x)
    rim = (least.view(hole.shape).isfinite() & ~hole).float()[None, None]
    return torch.where(hole, made + push_pull((x - made) * rim, rim), x).clamp(-1, 1)


def voted(
    x: Images,
    hole: Bool[Tensor, "h w"],
    targets: Int64[Tensor, " n"],
    found: Int64[Tensor, " n"],
    weight: Float[Tensor, " n"],
    side: int,
) -> Images:
    """Each pixel of the hole the weighted mean of what the patches over it say."""
    flat = x[0].flatten(1)
    total, count = torch.zeros_like(flat), flat.new_full((flat.shape[1],), 1e-9)
    for to, source in pixels_of(targets, found, side, x.shape[3]):
        total.index_add_(1, to, weight * flat[:, source])
        count.index_add_(0, to, weight)
    return torch.where(hole, (total / count).view_as(x), x)


def pixels_of(
    targets: Int64[Tensor, " n"], found: Int64[Tensor, " n"], side: int, columns: int
) -> Iterator[tuple[Int64[Tensor, " n"], Int64[Tensor, " n"]]]:
    """For each place in a patch, the pixels of all patches there and those that they are to be taken from."""
    across = columns - side + 1
    to, source = (place // across * columns + place % across for place in (targets, found))
    for i in range(side):
        for j in range(side):
            yield to + (i * columns + j), source + (i * columns + j)
