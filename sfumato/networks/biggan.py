"""The blocks of BigGAN-deep (Brock, Donahue and Simonyan, 2019): bottlenecks whose skip keeps or drops channels as they are.

Each batch normalisation of the generator is scaled and shifted by z and the label; the critic has none. A condition is looked
at by the critic's blocks, whose maps stand beside the generator's own.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.images import Size
from sfumato.networks.condition import Condition, FromLatent
from sfumato.networks.layers import Attention, Maps, rounded
from sfumato.networks.unet import level_count

DEEPEST, NARROW = 4, 4  # times the width; a bottleneck's share of the channels
ATTENDS = 8  # longest side of the maps that attend


class Modulated(nn.Module):
    """Batch normalisation, scaled by 1 + a and shifted by b, both linear in a vector."""

    def __init__(self, channels: int, told: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.modulation = nn.Linear(told, 2 * channels)

    def forward(self, x: Maps, z: Float[Tensor, "B k"]) -> Maps:
        """The same shape, after ReLU."""
        scale, shift = self.modulation(z)[:, :, None, None].chunk(2, 1)
        return F.relu(torch.addcmul(shift, self.norm(x), 1 + scale))


class UpBlock(nn.Module):
    """1 x 1, 3 x 3, 3 x 3, 1 x 1, each after a modulated norm; the skip drops channels, both are doubled in size."""

    def __init__(self, inputs: int, outputs: int, told: int, double: bool):
        super().__init__()
        middle = max(inputs // NARROW, 4)
        self.outputs, self.doubles = outputs, double
        sizes = [inputs, middle, middle, middle, outputs]
        self.norms = nn.ModuleList(Modulated(c, told) for c in sizes[:-1])
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, k, padding=k // 2) for (a, b), k in zip(pairwise(sizes), (1, 3, 3, 1), strict=True)
        )

    def forward(self, x: Maps, z: Float[Tensor, "B k"]) -> Maps:
        h = x
        for i, (norm, conv) in enumerate(zip(self.norms, self.convs, strict=True)):
            h = norm(h, z)
            h = conv(F.interpolate(h, scale_factor=2.0) if i == 1 and self.doubles else h)
        skip = x[:, : self.outputs]
        return h + (F.interpolate(skip, scale_factor=2.0) if self.doubles else skip)


class DownBlock(nn.Module):
    """The critic's block: no norm, halved by averaging before its last convolution; new channels of the skip are convolved."""

    def __init__(self, inputs: int, outputs: int, halve: bool):
        super().__init__()
        middle = max(outputs // NARROW, 4)
        self.halve = halve
        sizes = [inputs, middle, middle, middle, outputs]
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, k, padding=k // 2) for (a, b), k in zip(pairwise(sizes), (1, 3, 3, 1), strict=True)
        )
        self.more = nn.Conv2d(inputs, outputs - inputs, 1) if outputs > inputs else None

    def forward(self, x: Maps) -> Maps:
        h = x
        for i, conv in enumerate(self.convs):
            h = F.relu(h)
            h = conv(F.avg_pool2d(h, 2) if i == 3 and self.halve else h)
        skip = F.avg_pool2d(x, 2) if self.halve else x
        out: Tensor = h + (skip if self.more is None else torch.cat([skip, self.more(skip)], 1))
        return out


class Trunk(nn.Module):
    """Two down blocks a level and attention on small maps: a map for each level, the full size first."""

    def __init__(self, inputs: int, channels: list[int], size: Size):
        super().__init__()
        self.enter = nn.Conv2d(inputs, channels[0], 3, padding=1)
        self.levels = nn.ModuleList()
        for level, (a, b) in enumerate(pairwise([channels[0], *channels])):
            attends = [Attention(b, twice=True)] if max(size) >> level <= ATTENDS else []
            self.levels.append(nn.Sequential(DownBlock(a, b, level > 0), DownBlock(b, b, False), *attends))

    def forward(self, x: Maps) -> list[Tensor]:
        """[B, inputs, H, W] to maps of H, H/2, H/4 ..."""
        h, maps = self.enter(x), []
        for level in self.levels:
            h = level(h)
            maps.append(h)
        return maps


def widths(size: Size, width: float, grain: int | None) -> list[int]:
    """Channels of each level, the full size first."""
    return [rounded(width * min(2**level, DEEPEST), grain) for level in range(level_count(size, 8))]


class Generator(FromLatent):
    """[B, latent] and what is told to [B, C, H, W] in [-1, 1]."""

    def __init__(
        self,
        latent: int,
        channels: int,
        condition: int,
        size: Size,
        width: float,
        classes: int = 0,
        embedding: int | None = None,
        grain: int | None = None,
    ):
        super().__init__(latent, classes, embedding)
        c = widths(size, width, grain)
        told, depth = embedding or latent, len(c) - 1
        self.sides = (size[0] >> depth, size[1] >> depth)
        self.enter = nn.Linear(told, c[-1] * math.prod(self.sides))
        self.trunk = Trunk(condition, c, size) if condition else None
        self.join = nn.ModuleList(nn.Conv2d(2 * n, n, 1) for n in reversed(c)) if condition else None
        self.blocks, self.attend = nn.ModuleList(), nn.ModuleList()
        for level in range(depth, -1, -1):
            self.attend.append(Attention(c[level]) if max(size) >> level <= ATTENDS else nn.Identity())
            below = c[max(level - 1, 0)]
            self.blocks += [UpBlock(c[level], c[level], told, False), UpBlock(c[level], below, told, level > 0)]
        self.exit = nn.Sequential(nn.BatchNorm2d(c[0]), nn.ReLU(), nn.Conv2d(c[0], channels, 3, padding=1))

    def forward(self, z: Float[Tensor, "B k"], condition: Condition) -> Maps:
        z = self.told(z, condition)
        maps = [] if self.trunk is None or condition.image is None else self.trunk(condition.image)[::-1]
        h = self.enter(z).view(len(z), -1, *self.sides)
        for i, attend in enumerate(self.attend):
            if self.join is not None:
                h = self.join[i](torch.cat([h, maps[i]], 1))
            h = self.blocks[2 * i + 1](attend(self.blocks[2 * i](h, z)), z)
        return torch.tanh(self.exit(h))


class Critic(nn.Module):
    """[B, C, H, W] and what is told to one number an image, from features summed over the last map."""

    def __init__(self, inputs: int, size: Size, width: float, classes: int = 0, grain: int | None = None):
        super().__init__()
        c = widths(size, width, grain)
        self.trunk = Trunk(inputs, c, size)
        self.exit = nn.Linear(c[-1], 1)
        self.label = nn.Embedding(classes, c[-1]) if classes else None
        if self.label is not None:
            nn.init.zeros_(self.label.weight)

    def forward(self, x: Maps, condition: Condition) -> Float[Tensor, " B"]:
        h = F.relu(self.trunk(condition.beside(x))[-1]).sum((2, 3))
        score: Tensor = self.exit(h)[:, 0]
        return score if self.label is None else score + (self.label(condition.label) * h).sum(1)
