"""Convolutional generators and critics of the WGAN's default networks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.networks.layers import Maps, ResidualBlock, group_norm
from sfumato.networks.unet import UNet, level_count


class Decoder(nn.Module):
    """A latent vector to an image: a linear layer to the smallest map, then residual blocks that double it; tanh at the end."""

    def __init__(self, latent: int, outputs: int, size: int, width: float, deepest: int = 4):
        super().__init__()
        levels = level_count(size, 8)
        channels = [max(round(width * min(2**level, deepest)), 1) for level in range(levels)]
        self.side = size >> (levels - 1)
        self.enter = nn.Linear(latent, channels[-1] * self.side**2)
        self.blocks = nn.ModuleList(
            ResidualBlock(channels[min(level + 1, levels - 1)], channels[level], embedding=latent)
            for level in reversed(range(levels))
        )
        self.exit = nn.Sequential(group_norm(channels[0]), nn.SiLU(), nn.Conv2d(channels[0], outputs, 3, padding=1))

    def forward(self, z: Float[Tensor, "B k"]) -> Maps:
        """[B, latent] to [B, outputs, size, size] in [-1, 1]."""
        h = self.enter(z).view(len(z), -1, self.side, self.side)
        for i, block in enumerate(self.blocks):
            h = block(F.interpolate(h, scale_factor=2.0, mode="nearest") if i else h, z)
        return torch.tanh(self.exit(h))


class Generator(nn.Module):
    """G(z, condition): a U-Net on the condition at full size, told z in every block; a `Decoder` where there is none.

    The U-Net's output is added to the preview, so that it starts from what was observed and learns what is missing.
    """

    def __init__(self, latent: int, channels: int, condition: int, size: int, width: float):
        super().__init__()
        self.channels = channels
        self.decoder = None if condition else Decoder(latent, channels, size, width)
        self.unet = UNet(condition, channels, size, width, embedding=latent) if condition else None

    def forward(self, z: Float[Tensor, "B k"], condition: Maps | None) -> Maps:
        """[B, latent] and [B, C + 1, H, W] to [B, C, H, W]."""
        if self.unet is None or condition is None:
            assert self.decoder is not None, "a generator built for a condition needs one"
            made: Tensor = self.decoder(z)
        else:
            made = condition[:, : self.channels] + self.unet(condition, z)
        return made


class Critic(nn.Module):
    """C(x, condition): strided residual stages without normalisation (which a gradient penalty forbids), to one number.

    Reference: Gulrajani et al. (2017), Improved training of Wasserstein GANs, section 4 on why no batch normalisation.
    """

    def __init__(self, inputs: int, size: int, width: float, deepest: int = 4):
        super().__init__()
        levels = level_count(size, 8)
        channels = [max(round(width * min(2**level, deepest)), 1) for level in range(levels)]
        self.enter = nn.Conv2d(inputs, channels[0], 3, padding=1)
        self.stages = nn.ModuleList(
            CriticStage(channels[level], channels[min(level + 1, levels - 1)]) for level in range(levels - 1)
        )
        self.exit = nn.Linear(channels[-1] * (size >> (levels - 1)) ** 2, 1)

    def forward(self, x: Maps) -> Float[Tensor, "B"]:
        """[B, inputs, H, W] to [B]; no bound on the values."""
        h = self.enter(x)
        for stage in self.stages:
            h = stage(h)
        score: Tensor = self.exit(F.leaky_relu(h, 0.2).flatten(1))
        return score[:, 0]


class CriticStage(nn.Module):
    """Halve a map: mean of blocks of a 1 x 1 convolution plus two 3 x 3 convolutions, the second strided."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv_1 = nn.Conv2d(inputs, inputs, 3, padding=1)
        self.conv_2 = nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Maps) -> Maps:
        """[B, inputs, H, W] to [B, outputs, H/2, W/2]."""
        h = self.conv_2(F.leaky_relu(self.conv_1(F.leaky_relu(x, 0.2)), 0.2))
        out: Tensor = h + self.skip(F.avg_pool2d(x, 2))
        return out
