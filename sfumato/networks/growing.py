"""Paper 002's modular networks: blocks, sub-blocks and layers, an encoder-decoder that grows by a pair of blocks a resolution.

The text gives the parts and one total, 328,887 weights at 64 x 64. This is one of several readings that have exactly that
total (others have other kernels, or skips); chosen because all else in it is plain: 24 channels everywhere, biases everywhere,
a 3 x 3 head at each resolution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from sfumato.errors import ConfigError
from sfumato.images import Size
from sfumato.networks.condition import Condition
from sfumato.networks.growth import Growing
from sfumato.networks.layers import Maps

KERNELS = (1, 3, 7)  # of a sub-block's three convolutions
SLOPE = 0.01  # of LeakyReLU, PyTorch's default
Convolution = nn.Conv2d | nn.ConvTranspose2d
Norm = Callable[[Convolution], nn.Module]
NORMS: dict[str, Norm] = {
    "spectral": lambda conv: spectral_norm(conv),
    "batch": lambda conv: nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels)),
    "instance": lambda conv: nn.Sequential(conv, nn.InstanceNorm2d(conv.out_channels, affine=True)),
    "none": lambda conv: conv,
}


def levels_of(size: Size) -> int:
    """How many resolutions lie between about 4 pixels and this size; the smallest of them is halved once more.

    Raises: ConfigError: the sides are odd, or shorter than 4.

    Example:
        >>> levels_of((64, 64)), levels_of((24, 40)), levels_of((28, 28))
        (5, 3, 2)
    """
    levels = 0
    while all(side % 2 ** (levels + 1) == 0 and side >> levels >= 4 for side in size):
        levels += 1
    if not levels:
        raise ConfigError(
            f"a growing network halves its images: sides are even and at least 4; got {size[0]} x {size[1]}"
        )
    return levels


class SubBlock(nn.Module):
    """x + cat(three different convolutions of x), each of a third of the channels."""

    def __init__(self, width: int, norm: Norm):
        super().__init__()
        self.branches = nn.ModuleList(norm(nn.Conv2d(width, width // 3, k, padding=k // 2)) for k in KERNELS)

    def forward(self, x: Maps) -> Maps:
        """[B, width, H, W] to the same."""
        return x + F.leaky_relu(torch.cat([branch(x) for branch in self.branches], 1), SLOPE)


class Block(nn.Sequential):
    """A layer in, a sub-block, a strided layer out that halves the map, or doubles it."""

    def __init__(self, width: int, norm: Norm, up: bool):
        if up:
            out: Convolution = nn.ConvTranspose2d(width, width, 5, stride=2, padding=2, output_padding=1)
        else:
            out = nn.Conv2d(width, width, 5, stride=2, padding=2)
        enter = norm(nn.Conv2d(width, width, 3, padding=1))
        super().__init__(enter, nn.LeakyReLU(SLOPE), SubBlock(width, norm), norm(out), nn.LeakyReLU(SLOPE))


class Encoder(Growing):
    """Heads and down blocks of each level, the smallest first."""

    def __init__(self, inputs: int, levels: int, width: int, norm: Norm):
        super().__init__(levels)
        self.heads = nn.ModuleList(nn.Conv2d(inputs, width, 3, padding=1) for _ in range(levels))
        self.downs = nn.ModuleList(Block(width, norm, up=False) for _ in range(levels))

    def encode(self, x: Maps) -> list[Maps]:
        """[B, inputs, H, W] at the size of the level to what enters each down block, and the smallest map.

        While the newest blocks are faded in, the level below still has its own view of x.
        """
        level, fade = self.newest()
        maps = [self._seen(x, level)]
        h = self.downs[level](maps[0])
        if fade < 1.0:
            h = torch.lerp(self._seen(F.avg_pool2d(x, 2), level - 1), h, fade)
        for below in reversed(range(level)):
            maps.append(h)
            h = self.downs[below](h)
        return [*maps, h]

    def _seen(self, x: Maps, level: int) -> Maps:
        return F.leaky_relu(self.heads[level](x), SLOPE)


class Generator(Encoder):
    """G: what is observed, and where, to an image, through a map half as large as the smallest resolution.

    With `skips`, which paper 002 has not, what enters a down block is added to what leaves the up block of its size.
    """

    def __init__(self, inputs: int, outputs: int, size: Size, width: int, norm: Norm, skips: bool = False):
        levels = levels_of(size)
        super().__init__(inputs, levels, width, norm)
        self.skips = skips
        self.middle = SubBlock(width, norm)
        self.ups = nn.ModuleList(Block(width, norm, up=True) for _ in range(levels))
        self.exits = nn.ModuleList(nn.Conv2d(width, outputs, 3, padding=1) for _ in range(levels))

    def parts(self, level: int) -> Sequence[nn.Module]:
        first = [self.middle] if level == 0 else []
        return [*first, self.heads[level], self.downs[level], self.ups[level], self.exits[level]]

    def forward(self, x: Maps) -> Maps:
        """[B, inputs, H, W] to [B, outputs, H, W] in [-1, 1]."""
        level, fade = self.newest()
        *maps, h = self.encode(x)
        h = self.middle(h)
        for below in range(level):
            h = self._up(h, below, maps)
        made: Tensor = self.exits[level](self._up(h, level, maps))
        if fade < 1.0:
            made = torch.lerp(F.interpolate(self.exits[level - 1](h), scale_factor=2.0, mode="nearest"), made, fade)
        return torch.tanh(made)

    def _up(self, h: Maps, level: int, maps: list[Maps]) -> Maps:
        h = self.ups[level](h)
        return h + maps[-1 - level] if self.skips else h


class Critic(Encoder):
    """D: the same down blocks, then fully connected layers to one number an image."""

    def __init__(self, inputs: int, size: Size, width: int, norm: Norm):
        levels = levels_of(size)
        super().__init__(inputs, levels, width, norm)
        features = width * math.prod(side >> levels for side in size)
        hidden, last = nn.Linear(features, width), nn.Linear(width, 1)
        self.exit = nn.Sequential(nn.Flatten(), hidden, nn.LeakyReLU(SLOPE), last)

    def parts(self, level: int) -> Sequence[nn.Module]:
        return [*([self.exit] if level == 0 else []), self.heads[level], self.downs[level]]

    def forward(self, x: Maps, condition: Condition) -> Float[Tensor, " B"]:
        """[B, C, H, W] and what is told to [B]."""
        score: Tensor = self.exit(self.encode(condition.beside(x))[-1])[:, 0]
        return score
