"""Mask laws: which pixels are lost. Difficulty is the share of the image that the hole takes.

A law is a pure function of uniform numbers, so that a batch of masks is drawn without a Python loop over images. Everywhere
in sfumato 1 = known; OpenCV, scikit-image and masks on the command line say 1 (or white) = to be made.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Literal, final

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from sfumato.config import Strict
from sfumato.images import Known, Size
from sfumato.kinds import Kind
from sfumato.streams import Rngs, uniforms


class MaskLaw(Kind, ABC, root=True):
    """How holes are drawn."""

    def __init__(self, config: Strict):
        self.config: Any = config

    @abstractmethod
    def numbers(self, size: Size) -> int:
        """How many uniform numbers one mask takes."""

    @abstractmethod
    def hole(self, u: Float[Tensor, "B k"], size: Size) -> Float[Tensor, "B H W"]:
        """The holes as 1, from uniform numbers."""

    @final
    def known(self, rngs: Rngs, n: int, size: Size) -> Known:
        """n masks [n, 1, rows, columns]: 1 where the pixel is given."""
        return 1.0 - self.hole(uniforms(rngs, n, self.numbers(size)), size)[:, None]


class Sides(Strict):
    """The range of a box's sides as shares of the image's side."""

    smallest: float = Field(default=1 / 8, gt=0.0, le=1.0)
    """The shortest side, as a share of the image's side."""
    largest: float = Field(default=1 / 2, gt=0.0, le=1.0)
    """The longest side, as a share of the image's side."""

    @model_validator(mode="after")
    def _ordered(self) -> Sides:
        if self.smallest > self.largest:
            raise ValueError(f"smallest = {self.smallest} is above largest = {self.largest}; swap them")
        return self


class Box(MaskLaw):
    """One box of random height, width and place: paper 000's law, sides H/8 to H/2."""

    class Config(Sides):
        kind: Literal["box"] = "box"

    def numbers(self, size: Size) -> int:
        """Height, width, top, left."""
        return 4

    def hole(self, u: Float[Tensor, "B 4"], size: Size) -> Float[Tensor, "B H W"]:
        """A box of sides smallest..largest, uniformly placed inside the image."""
        sides, starts = [], []
        for axis, side in enumerate(size):
            low = max(round(self.config.smallest * side), 1)
            high = max(round(self.config.largest * side), low)
            length = low + (u[:, axis] * (high - low + 1)).floor()
            sides.append(length)
            starts.append((u[:, 2 + axis] * (side - length + 1)).floor())
        rows, columns = (
            (torch.arange(side, device=u.device) >= start[:, None])
            & (torch.arange(side, device=u.device) < (start + length)[:, None])
            for side, start, length in zip(size, starts, sides, strict=True)
        )
        return (rows[:, :, None] & columns[:, None, :]).float()


class Centre(MaskLaw):
    """One centred window, of the shape of the image, that takes the share `fraction` of it."""

    class Config(Strict):
        kind: Literal["centre"] = "centre"
        fraction: float = Field(default=0.25, gt=0.0, le=1.0)
        """Share of the image that the hole takes."""

    def numbers(self, size: Size) -> int:
        """None."""
        return 0

    def hole(self, u: Float[Tensor, "B 0"], size: Size) -> Float[Tensor, "B H W"]:
        """The window."""
        rows, columns = (max(round(math.sqrt(self.config.fraction) * side), 1) for side in size)
        top, left = (size[0] - rows) // 2, (size[1] - columns) // 2
        hole = torch.zeros(len(u), *size, device=u.device)
        hole[:, top : top + rows, left : left + columns] = 1.0
        return hole


class Half(MaskLaw):
    """A straight side of the image, left, right, top or bottom at random, that takes the share `fraction`."""

    class Config(Strict):
        kind: Literal["half"] = "half"
        fraction: float = Field(default=0.5, gt=0.0, le=1.0)
        """Share of the image that the hole takes."""

    def numbers(self, size: Size) -> int:
        """The side."""
        return 1

    def hole(self, u: Float[Tensor, "B 1"], size: Size) -> Float[Tensor, "B H W"]:
        """One of four sides."""
        high, wide = (max(round(self.config.fraction * side), 1) for side in size)
        sides = torch.zeros(4, *size, device=u.device)
        sides[0, :, :wide] = sides[1, :, size[1] - wide :] = 1.0
        sides[2, :high] = sides[3, size[0] - high :] = 1.0
        return sides[(u[:, 0] * 4).long()]


class Pixels(MaskLaw):
    """Each pixel is lost with probability `fraction`, on its own."""

    class Config(Strict):
        kind: Literal["pixels"] = "pixels"
        fraction: float = Field(default=0.5, gt=0.0, le=1.0)
        """Share of the pixels that are lost, on average."""

    def numbers(self, size: Size) -> int:
        """One a pixel."""
        return size[0] * size[1]

    def hole(self, u: Float[Tensor, "B k"], size: Size) -> Float[Tensor, "B H W"]:
        """Independent pixels."""
        return (u < self.config.fraction).float().view(-1, *size)


class Strokes(MaskLaw):
    """Free-form brush strokes: random walks of round brushes, added until the share `fraction` is covered.

    Reference: Yu et al. (2019), Free-form image inpainting with gated convolution; the walk is theirs, the covered share is
    what we hold fixed, so that the difficulty has a number.
    """

    class Config(Strict):
        kind: Literal["strokes"] = "strokes"
        fraction: float = Field(default=0.25, gt=0.0, le=1.0)
        """Share of the image that the hole takes, within one dab of the brush."""
        radius: float = Field(default=1 / 14, gt=0.0, le=0.5)
        """Radius of the brush as a share of the image's side; of the side of a square as large, if it is none."""

    dabs = 48  # of one stroke
    most = 4096  # dabs of all strokes; what they cannot cover is taken from around them

    def radius(self, size: Size) -> float:
        """Of the brush, in pixels."""
        return max(self.config.radius * math.sqrt(size[0] * size[1]), 0.75)

    def walks(self, size: Size) -> int:
        """Strokes: four, or as many as cover the share with some to spare, since dabs overlap."""
        apart = size[0] * size[1] / (math.pi * self.radius(size) ** 2)
        wanted = -math.log(max(1 - self.config.fraction, 1e-3)) * 3 * apart
        return max(4, math.ceil(min(wanted, self.most) / self.dabs))

    def numbers(self, size: Size) -> int:
        """Start, direction and bends of each walk."""
        return self.walks(size) * (3 + self.dabs)

    def hole(self, u: Float[Tensor, "B k"], size: Size) -> Float[Tensor, "B H W"]:
        """Dabs in the order of the strokes, the first ones kept until the share is reached, then what is nearest to them."""
        rows, columns = size
        u = u.view(len(u), self.walks(size), 3 + self.dabs)
        start, heading, bends = u[..., :2], u[..., 2] * 2 * math.pi, u[..., 3:]
        angle = heading[..., None] + ((bends - 0.5) * 1.5).cumsum(-1)
        radius = self.radius(size)
        step = torch.stack([angle.cos(), angle.sin()], -1) * radius
        sides = torch.tensor(size, dtype=u.dtype, device=u.device)
        path = start[..., None, :] * sides + step.cumsum(-2)
        path = sides - (path % (2 * sides) - sides).abs()  # reflect at the borders
        path = path.flatten(1, 2)
        down = torch.arange(rows, device=u.device)[:, None] + 0.5
        across = torch.arange(columns, device=u.device) + 0.5
        dabs = path.shape[1]
        first = torch.full((len(u), rows, columns), dabs + 1.0, device=u.device)
        near = torch.full_like(first, math.inf)
        for dab in reversed(range(dabs)):  # the dab that first covers a pixel is written last
            y, x = path[:, dab, 0, None, None], path[:, dab, 1, None, None]
            square = (down - y) ** 2 + (across - x) ** 2
            first[square <= radius**2] = dab + 1
            near = torch.minimum(near, square)
        first = torch.where(first > dabs, dabs + near, first)
        wanted = max(round(self.config.fraction * rows * columns), 1)
        last = first.flatten(1).kthvalue(wanted, dim=1).values
        return (first <= last[:, None, None]).float()


class Person(MaskLaw):
    """A standing person: head, body, two arms and two legs, of random height, place, lean and posture.

    Each limb is the set of points nearer to a line than a radius. Proportions are those of an adult of eight heads.
    """

    class Config(Sides):
        kind: Literal["person"] = "person"
        smallest: float = Field(default=1 / 3, gt=0.0, le=1.0)
        """The least height, as a share of the image's height."""
        largest: float = Field(default=1.0, gt=0.0, le=1.0)
        """The greatest height, as a share of the image's height."""

    # Each limb: from and to, across and up as shares of the height, and its radius; then how far a number moves its end.
    limbs = torch.tensor(
        [
            [0.00, 0.93, 0.00, 0.95, 0.062, 0.00, 0.00],
            [0.00, 0.78, 0.00, 0.52, 0.105, 0.00, 0.00],
            [-0.09, 0.80, -0.15, 0.46, 0.036, 0.14, 0.10],
            [0.09, 0.80, 0.15, 0.46, 0.036, 0.14, 0.10],
            [-0.05, 0.50, -0.07, 0.03, 0.050, 0.10, 0.00],
            [0.05, 0.50, 0.07, 0.03, 0.050, 0.10, 0.00],
        ]
    )

    def numbers(self, size: Size) -> int:
        """Height, place across and up, lean, and two for each limb."""
        return 4 + 2 * len(self.limbs)

    def hole(self, u: Float[Tensor, "B 16"], size: Size) -> Float[Tensor, "B H W"]:
        """Feet inside the image, at most a fifth of the height below its border."""
        rows, columns = size
        low, high = self.config.smallest, self.config.largest
        height = (rows * (low + u[:, 0] * (high - low)))[:, None]
        foot = rows - (u[:, 2:3] * 1.2 - 0.2) * (rows - 0.8 * height).clamp(min=0.0)
        middle = u[:, 1:2] * columns
        lean = (u[:, 3:4] - 0.5) * 0.3
        moved = 2 * u[:, 4:].view(len(u), -1, 2) - 1
        begin_x, begin_y, end_x, end_y, radius, swing, lift = self.limbs.to(u).unbind(1)
        end_x, end_y = end_x + swing * moved[..., 0], end_y + lift * moved[..., 1].clamp(min=0.0)
        y = torch.arange(rows, device=u.device, dtype=u.dtype) + 0.5
        x = torch.arange(columns, device=u.device, dtype=u.dtype) + 0.5

        def at(across: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
            return (middle + height * (across + lean * up))[..., None, None], (foot - height * up)[..., None, None]

        (x0, y0), (x1, y1) = at(begin_x, begin_y), at(end_x, end_y)
        dx, dy = x1 - x0, y1 - y0
        along = (((x - x0) * dx + (y[:, None] - y0) * dy) / (dx**2 + dy**2)).clamp(0.0, 1.0)
        square = (x - x0 - along * dx) ** 2 + (y[:, None] - y0 - along * dy) ** 2
        reach = (height * radius).clamp(min=0.71)[
            ..., None, None
        ]  # half the diagonal of a pixel, so that none is missed
        return (square <= reach**2).any(1).float()
