"""Multi-scale flows: levels of invertible layers from an image to a vector, some of whose channels leave early."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.networks.condition import Condition
from sfumato.networks.invertible import Invertible, LogDet, Shape, Squeeze
from sfumato.networks.layers import Maps


class Level(NamedTuple):
    """Layers of one resolution; a `Squeeze` may stand first."""

    layers: Sequence[Invertible]
    leaves: bool = False
    """Whether half of the channels leave at its end."""


class Seen(nn.Module):
    """What was observed, as maps of so many channels at full size and at each half of it."""

    def __init__(self, condition: int, channels: int, halvings: int):
        super().__init__()
        self.enter = nn.Conv2d(condition, channels, 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(4 * channels, channels, 1) for _ in range(halvings))

    def forward(self, image: Maps) -> list[Maps]:
        """From full size to the smallest."""
        maps = [F.silu(self.enter(image))]
        for layer in self.down:
            maps.append(F.silu(layer(F.pixel_unshuffle(maps[-1], 2))))
        return maps


class Flat(nn.Module):
    """What was observed, as channels of one pixel."""

    def forward(self, image: Maps) -> list[Maps]:
        """One map."""
        return [image.flatten(1)[:, :, None, None]]


class MultiScale(nn.Module):
    """Images to vectors z of as many numbers: levels of layers, after some of which half of the channels leave for z.

    Where the half that stays should say what the other is like, a coupling stands last in the level: given the half that
    stays it moves and scales the other, which is a learned prior of it.
    Reference: Dinh, Sohl-Dickstein and Bengio (2017), Density estimation using Real NVP, section 3.6.
    """

    def __init__(self, shape: Shape, levels: Sequence[Level], seen: nn.Module | None = None):
        """`seen` makes of what was observed a map for each number of halvings; without it layers are told it as it is."""
        super().__init__()
        self.levels = nn.ModuleList(nn.ModuleList(level.layers) for level in levels)
        self.seen = seen
        self.depths: list[int] = []
        """How often each level's maps were halved."""
        self.parts: list[Shape | None] = []
        """The shape of what leaves at the end of each level."""
        depth = 0
        for number, level in enumerate(levels):
            for layer in level.layers:
                shape = layer.shape(shape)
                depth += isinstance(layer, Squeeze)
            out = shape[0] - shape[0] // 2 if level.leaves else 0
            last = number == len(levels) - 1
            self.depths.append(depth)
            self.parts.append(shape if last else (out, *shape[1:]) if out else None)
            shape = shape[0] - out, *shape[1:]

    def told(self, condition: Condition) -> list[Condition]:
        """What each level is told."""
        if self.seen is None or condition.image is None:
            return [condition] * len(self.levels)
        maps = self.seen(condition.image)
        return [Condition(maps[depth], condition.label) for depth in self.depths]

    def _layers(self, level: int) -> list[Invertible]:
        layers: list[Invertible] = [*self.levels[level]]
        return layers

    def forward(self, x: Maps, condition: Condition) -> tuple[Float[Tensor, "B d"], LogDet]:
        """All that left, in the order of leaving, and log |det dz/dx|."""
        found: list[Tensor] = []
        log_det = x.new_zeros(len(x))
        for number, told in enumerate(self.told(condition)):
            for layer in self._layers(number):
                x, change = layer(x, told)
                log_det = log_det + change
            if (part := self.parts[number]) is not None:
                x, out = x.split([x.shape[1] - part[0], part[0]], 1)
                found.append(out.flatten(1))
        return torch.cat(found, 1), log_det

    def inverse(self, z: Float[Tensor, "B d"], condition: Condition) -> Maps:
        """The images."""
        shapes = [part for part in self.parts if part is not None]
        outs = [
            part.view(-1, *shape) for part, shape in zip(z.split([*map(math.prod, shapes)], 1), shapes, strict=True)
        ]
        x = outs.pop()
        for number, told in reversed([*enumerate(self.told(condition))]):
            if self.parts[number] is not None and number < len(self.parts) - 1:
                x = torch.cat([x, outs.pop()], 1)
            for layer in reversed(self._layers(number)):
                x = layer.inverse(x, told)
        return x

    def mapped(self, z: Float[Tensor, "B d"]) -> Maps:
        """z as maps of one size, the largest that parts of all sizes can be laid out in: pixels to channels and back."""
        shapes = [part for part in self.parts if part is not None]
        parts = z.split([*map(math.prod, shapes)], 1)
        rows = self._rows()
        return torch.cat([_laid(p.view(-1, *s), s[1], rows) for p, s in zip(parts, shapes, strict=True)], 1)

    def unmapped(self, maps: Maps) -> Float[Tensor, "B d"]:
        """The z that `mapped` was given."""
        shapes, rows = [part for part in self.parts if part is not None], maps.shape[2]
        pixels = maps.shape[2] * maps.shape[3]
        parts = maps.split([math.prod(shape) // pixels for shape in shapes], 1)
        return torch.cat([_laid(p, rows, s[1]).flatten(1) for p, s in zip(parts, shapes, strict=True)], 1)

    def _rows(self) -> int:
        shapes = [part for part in self.parts if part is not None]
        fits = [rows for _, rows, _ in shapes if all(h >= rows or c % (rows // h) ** 2 == 0 for c, h, _ in shapes)]
        return max(fits)

    @torch.no_grad()
    def settle(self, x: Maps, condition: Condition) -> None:
        """Every layer's `settle`, each on what the ones before make."""
        for number, told in enumerate(self.told(condition)):
            for layer in self._layers(number):
                x = layer.settle(x, told)
            if (part := self.parts[number]) is not None:
                x = x[:, : x.shape[1] - part[0]]


def _laid(x: Maps, rows: int, wanted: int) -> Maps:
    """Maps of so many rows, laid out in others."""
    return F.pixel_unshuffle(x, rows // wanted) if rows >= wanted else F.pixel_shuffle(x, wanted // rows)
