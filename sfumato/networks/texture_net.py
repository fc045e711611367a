"""Texture net: convolutions that turn noise of several scales into a picture, without padding, so that any window agrees."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.maths.regions import Box

Noise = Callable[[int, Box], Float[Tensor, "B n h w"]]
"""The noise of a scale, 0 the finest, in a box of that scale's grid."""
LOST = 2  # pixels at each border of what a block gives


class Block(nn.Module):
    """Two 3 x 3 convolutions and one of 1 x 1, each normalised over the batch, then leaky."""

    def __init__(self, inner: int, outer: int):
        super().__init__()
        layers: list[nn.Module] = []
        for channels, side in ((inner, 3), (outer, 3), (outer, 1)):
            layers += [nn.Conv2d(channels, outer, side, bias=False), nn.BatchNorm2d(outer), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, "B c h w"]) -> Float[Tensor, "B d a b"]:
        """`LOST` fewer rows and columns at each side."""
        out: Tensor = self.layers(x)
        return out


class TextureNet(nn.Module):
    """The coarsest noise through a block; then, scale by scale, twice as large, joined with the next noise, through a block.

    Reference: Ulyanov, Lebedev, Vedaldi and Lempitsky (2016), Texture networks: feed-forward synthesis of textures and
    stylized images.
    """

    def __init__(self, channels: int, width: int, noise: int, scales: int):
        super().__init__()
        self.noise = noise
        self.entries = nn.ModuleList(Block(noise, width) for _ in range(scales))
        self.joints = nn.ModuleList(Block(2 * width, width) for _ in range(scales - 1))
        self.last = nn.Conv2d(width, channels, 1)

    def forward(self, box: Box, noise: Noise) -> Float[Tensor, "B C h w"]:
        """The pixels of a box."""
        out: Tensor = torch.tanh(self.last(self._at(0, box, noise)))
        return out

    def _at(self, scale: int, box: Box, noise: Noise) -> Float[Tensor, "B d h w"]:
        if scale == len(self.joints):
            out: Tensor = self.entries[scale](noise(scale, wider(box, LOST)))
            return out
        joined = wider(box, LOST)
        top, left = joined.top // 2, joined.left // 2
        bottom, right = (joined.top + joined.rows + 1) // 2, (joined.left + joined.columns + 1) // 2
        coarse = self._at(scale + 1, Box(top, left, bottom - top, right - left), noise)
        larger = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)
        larger = larger[(..., *joined.within(Box(2 * top, 2 * left, 0, 0)).place)]
        fine = self.entries[scale](noise(scale, wider(joined, LOST)))
        out = self.joints[scale](torch.cat([larger, fine], 1))
        return out


def wider(box: Box, by: int) -> Box:
    """A box with so many pixels more on each side.

    Example:
        >>> wider(Box(0, 0, 4, 4), 1)
        Box(top=-1, left=-1, rows=6, columns=6)
    """
    return Box(box.top - by, box.left - by, box.rows + 2 * by, box.columns + 2 * by)
