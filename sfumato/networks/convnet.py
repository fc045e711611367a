"""Convolutional generators and critics of the WGAN's default networks."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.images import Size
from sfumato.networks.condition import Condition, FromLatent
from sfumato.networks.layers import Maps, ResidualBlock, group_norm, rounded
from sfumato.networks.unet import UNet, level_count


class Decoder(nn.Module):
    """A latent vector to an image: a linear layer to the smallest map, then residual blocks that double it; tanh at the end."""

    def __init__(self, latent: int, outputs: int, size: Size, width: float, deepest: int = 4, grain: int | None = None):
        super().__init__()
        levels = level_count(size, 8)
        channels = [rounded(width * min(2**level, deepest), grain) for level in range(levels)]
        self.sides = tuple(side >> (levels - 1) for side in size)
        self.enter = nn.Linear(latent, channels[-1] * math.prod(self.sides))
        self.blocks = nn.ModuleList(
            ResidualBlock(channels[min(level + 1, levels - 1)], channels[level], embedding=latent)
            for level in reversed(range(levels))
        )
        self.exit = nn.Sequential(group_norm(channels[0]), nn.SiLU(), nn.Conv2d(channels[0], outputs, 3, padding=1))

    def forward(self, z: Float[Tensor, "B k"]) -> Maps:
        """[B, latent] to [B, outputs, rows, columns] in [-1, 1]."""
        h = self.enter(z).view(len(z), -1, *self.sides)
        for i, block in enumerate(self.blocks):
            h = block(F.interpolate(h, scale_factor=2.0, mode="nearest") if i else h, z)
        return torch.tanh(self.exit(h))


class Generator(FromLatent):
    """G(z, condition): a U-Net on the condition at full size, told z in every block; a `Decoder` where there is none.

    The U-Net's output is added to the preview, so that it starts from what was observed and learns what is missing. Where
    `embedding` is given, the blocks are told a linear map of z of that length. A label is a vector of its own that is added.
    """

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
        self.channels = channels
        told = embedding or latent
        self.decoder = None if condition else Decoder(told, channels, size, width, grain=grain)
        self.unet = UNet(condition, channels, size, width, embedding=told, grain=grain) if condition else None

    def forward(self, z: Float[Tensor, "B k"], condition: Condition) -> Maps:
        """[B, latent] and what is told to [B, C, H, W]."""
        z = self.told(z, condition)
        if self.unet is None or condition.image is None:
            assert self.decoder is not None, "a generator built for a condition needs one"
            made: Tensor = self.decoder(z)
        else:
            made = condition.image[:, : self.channels] + self.unet(condition.image, z)
        return made


class Critic(nn.Module):
    """C(x, condition): strided residual stages without normalisation (which a gradient penalty forbids), to one number.

    A label adds the product of its vector with the last features (Miyato and Koyama, 2018, cGANs with projection).
    Reference: Gulrajani et al. (2017), Improved training of Wasserstein GANs, section 4 on why no batch normalisation.
    """

    def __init__(
        self,
        inputs: int,
        size: Size,
        width: float,
        classes: int = 0,
        deepest: int = 4,
        grain: int | None = None,
        outputs: int = 1,
    ):
        super().__init__()
        levels = level_count(size, 8)
        channels = [rounded(width * min(2**level, deepest), grain) for level in range(levels)]
        self.enter = nn.Conv2d(inputs, channels[0], 3, padding=1)
        self.stages = nn.ModuleList(
            CriticStage(channels[level], channels[min(level + 1, levels - 1)]) for level in range(levels - 1)
        )
        features = channels[-1] * math.prod(side >> (levels - 1) for side in size)
        self.exit = nn.Linear(features, outputs)
        self.label = nn.Embedding(classes, features) if classes else None
        if self.label is not None:
            nn.init.zeros_(self.label.weight)

    def features(self, x: Maps, condition: Condition) -> Float[Tensor, "B d"]:
        """What the last layer sees."""
        h = self.enter(condition.beside(x))
        for stage in self.stages:
            h = stage(h)
        return F.leaky_relu(h, 0.2).flatten(1)

    def forward(self, x: Maps, condition: Condition) -> Float[Tensor, " B"]:
        """[B, C, H, W] and what is told to [B]; no bound on the values."""
        h = self.features(x, condition)
        score: Tensor = self.exit(h)[:, 0]
        return score if self.label is None else score + (self.label(condition.label) * h).mean(1)


class Encoder(Critic):
    """The critic's stages to a vector of `outputs` numbers, told a label by adding its own vector to the features."""

    def forward(self, x: Maps, condition: Condition) -> Float[Tensor, "B d"]:
        """[B, C, H, W] and what is told to [B, outputs]."""
        h = self.features(x, condition)
        out: Tensor = self.exit(h if self.label is None else h + self.label(condition.label))
        return out


class Recoder(nn.Module):
    """-mean |x - D(x)| for each image, D an autoencoder through a code of a few numbers."""

    def __init__(
        self,
        channels: int,
        condition: int,
        size: Size,
        width: float,
        code: int,
        classes: int = 0,
        grain: int | None = None,
    ):
        super().__init__()
        self.encoder = Encoder(channels + condition, size, width, classes, grain=grain, outputs=code)
        self.decoder = Decoder(code, channels, size, width, grain=grain)

    def forward(self, x: Maps, condition: Condition) -> Float[Tensor, " B"]:
        """[B, C, H, W] and what is told to [B], 0 at most."""
        return -(x - self.decoder(self.encoder(x, condition))).abs().mean((1, 2, 3))


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
