"""The networks of paper 000, section 4.1: BaseCritic, BaseGenerator and BaseEpsilonUNet, for images of a multiple of 8.

The text gives blocks, not channels; at width 64 and latent 128 on 32 x 32 RGB with a condition these have the parameter counts
of its code to 0.2 % (generator 4.204 M, critic 0.666 M, U-Net 7.344 M). They stand here to be compared with, not to be copied.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.errors import ConfigError
from sfumato.images import Size
from sfumato.networks.condition import Condition
from sfumato.networks.layers import Maps, sinusoidal


def _check(size: Size) -> None:
    if any(side % 8 for side in size):
        raise ConfigError(
            f"the published networks halve an image three times, so its sides must be multiples of 8; "
            f"they are {size[0]} x {size[1]}"
        )


def _block(convolution: nn.Module, channels: int) -> nn.Sequential:
    """The paper's unit: a convolution, BatchNorm2d, LeakyReLU."""
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.LeakyReLU(0.2))


class Critic(nn.Module):
    """Three Conv2d + BatchNorm2d + LeakyReLU blocks that halve the map, then a Conv2d to one number (BaseCritic).

    Raises: ConfigError: the size is not a multiple of 8.
    """

    def __init__(self, inputs: int, size: Size, width: float):
        super().__init__()
        _check(size)
        sizes = [inputs, *(max(round(width * m), 1) for m in (1, 2, 4))]
        self.blocks = nn.Sequential(
            *(_block(nn.Conv2d(a, b, 4, stride=2, padding=1, bias=False), b) for a, b in pairwise(sizes))
        )
        self.exit = nn.Conv2d(sizes[-1], 1, (size[0] // 8, size[1] // 8))

    def forward(self, x: Maps, condition: Condition) -> Float[Tensor, " B"]:
        """[B, C, H, W] and the condition to [B]."""
        score: Tensor = self.exit(self.blocks(condition.beside(x)))
        return score.flatten()


class Generator(nn.Module):
    """A latent vector through three ConvTranspose2d + BatchNorm2d + LeakyReLU blocks, then one more and tanh (BaseGenerator).

    The text ends in a Conv2d, but three blocks from 1 x 1 reach only half the size, so the last layer is transposed too, as
    in its code. The code shows the generator the condition as one globally pooled vector of 64 numbers beside z; so does this.

    Raises: ConfigError: the size is not a multiple of 8.
    """

    pooled = 64

    def __init__(self, latent: int, channels: int, condition: int, size: Size, width: float):
        super().__init__()
        _check(size)
        self.look = None
        if condition:
            block = _block(nn.Conv2d(condition, self.pooled, 3, padding=1), self.pooled)
            self.look = nn.Sequential(block, nn.AdaptiveAvgPool2d(1))
        sizes = [max(round(width * multiplier), 1) for multiplier in (8, 4, 2)]
        first = nn.ConvTranspose2d(
            latent + (self.pooled if condition else 0), sizes[0], (size[0] // 8, size[1] // 8), bias=False
        )
        doubling = [nn.ConvTranspose2d(a, b, 4, stride=2, padding=1, bias=False) for a, b in pairwise(sizes)]
        self.blocks = nn.Sequential(*(_block(layer, layer.out_channels) for layer in (first, *doubling)))
        self.exit = nn.ConvTranspose2d(sizes[-1], channels, 4, stride=2, padding=1)

    def forward(self, z: Float[Tensor, "B k"], condition: Condition) -> Maps:
        """[B, latent] and [B, C + 1, H, W] to [B, C, H, W] in [-1, 1]."""
        h = z[:, :, None, None]
        if self.look is not None and condition.image is not None:
            h = torch.cat([h, self.look(condition.image)], dim=1)
        return torch.tanh(self.exit(self.blocks(h)))


class EpsilonUNet(nn.Module):
    """MaxPool + Conv2d blocks down, a bottleneck to which the time is added, Upsample + ConvTranspose2d blocks up, skips.

    The text's encoder has three such blocks after an input convolution; the time meets the maps only at the bottleneck.

    Raises: ConfigError: the size is not a multiple of 8.
    """

    time_dim = 128

    def __init__(self, channels: int, condition: int, size: Size, width: float):
        super().__init__()
        _check(size)
        sizes = [max(round(width * m), 1) for m in (1, 2, 4, 8)]
        self.enter = nn.Conv2d(channels + condition, sizes[0], 3, padding=1)
        self.down = nn.ModuleList(_block(nn.Conv2d(a, b, 3, padding=1), b) for a, b in pairwise(sizes))
        deepest = sizes[-1]
        self.time = nn.Sequential(nn.Linear(self.time_dim, deepest), nn.LeakyReLU(0.2), nn.Linear(deepest, deepest))
        self.bottleneck = _block(nn.Conv2d(deepest, deepest, 3, padding=1), deepest)
        self.up = nn.ModuleList(
            _block(nn.ConvTranspose2d(deep, shallow, 3, padding=1), shallow) for shallow, deep in pairwise(sizes)
        )
        self.join = nn.ModuleList(
            _block(nn.ConvTranspose2d(2 * shallow, shallow, 3, padding=1), shallow) for shallow in sizes[:-1]
        )
        self.exit = nn.Conv2d(sizes[0], channels, 3, padding=1)

    def forward(self, x_t: Maps, time: Float[Tensor, " B"], condition: Condition) -> Maps:
        """[B, C, H, W], [B] in [0, 1] and [B, C + 1, H, W] to [B, C, H, W]."""
        h = self.enter(condition.beside(x_t))
        skips = []  # one at each size from the full one down: without the first, no noise of single pixels could be seen
        for block in self.down:
            skips.append(h)
            h = block(F.max_pool2d(h, 2))
        h = self.bottleneck(h + self.time(sinusoidal(time, self.time_dim))[:, :, None, None])
        for up, join, skip in zip(reversed(self.up), reversed(self.join), reversed(skips), strict=True):
            h = join(torch.cat([up(F.interpolate(h, scale_factor=2.0, mode="nearest")), skip], dim=1))
        out: Tensor = self.exit(h)
        return out
