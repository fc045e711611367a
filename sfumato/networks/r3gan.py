"""R3GAN's networks (Huang et al., 2024, The GAN is dead; long live the GAN!): what a GAN needs once its loss is well-behaved.

Residual bottlenecks with grouped convolutions, no normalisation, no noise, no styles; each residual begins with 0 and its size
is fixed by how many there are (fix-up), so that depth changes nothing at first. A condition is looked at by the critic's
blocks, whose maps stand beside the generator's own.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.images import Size
from sfumato.networks.condition import Condition, FromLatent
from sfumato.networks.filters import filtered
from sfumato.networks.layers import Maps, rounded
from sfumato.networks.unet import level_count

LINEAR = (1.0, 2.0, 1.0)  # the filter between two sizes
EXPANSION, GROUP = 2, 16  # of a bottleneck's middle; channels that a 3 x 3 convolution sees together
BLOCKS = 2  # a level
SLOPE = 0.2


def scaled(layer: nn.Conv2d | nn.Linear, gain: float) -> nn.Conv2d | nn.Linear:
    """Weights from N(0, gain^2 / fan in)."""
    nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Block(nn.Module):
    """x + three convolutions, 1 x 1, grouped 3 x 3 and 1 x 1, a bias and LeakyReLU after the first two; `of` are in a row."""

    def __init__(self, width: int, of: int):
        super().__init__()
        middle = EXPANSION * width
        groups = max(middle // GROUP, 1)
        while middle % groups:
            groups -= 1
        gain = math.sqrt(2 / (1 + SLOPE**2)) * of ** (-1 / 4)  # two layers share of^(-1/2)
        self.enter = scaled(nn.Conv2d(width, middle, 1), gain)
        self.middle = scaled(nn.Conv2d(middle, middle, 3, padding=1, groups=groups), gain)
        self.exit = scaled(nn.Conv2d(middle, width, 1, bias=False), 0.0)

    def forward(self, x: Maps) -> Maps:
        """The same shape."""
        h = F.leaky_relu(self.middle(F.leaky_relu(self.enter(x), SLOPE)), SLOPE)
        out: Tensor = x + self.exit(h)
        return out


class Trunk(nn.Module):
    """Images to a map of each level, the smallest first."""

    def __init__(self, inputs: int, width: int, levels: int):
        super().__init__()
        self.enter = scaled(nn.Conv2d(inputs, width, 1), 1.0)
        self.levels = nn.ModuleList(blocks(width, levels) for _ in range(levels))

    def forward(self, x: Maps) -> list[Maps]:
        """[B, inputs, H, W] to as many maps as there are levels."""
        h, maps = self.enter(x), []
        for i, level in enumerate(self.levels):
            h = level(filtered(h, LINEAR, down=2, pad=(1, 0)) if i else h)
            maps.append(h)
        return maps[::-1]


def blocks(width: int, levels: int) -> nn.Sequential:
    """Those of one level."""
    return nn.Sequential(*(Block(width, BLOCKS * levels) for _ in range(BLOCKS)))


class Generator(nn.Module):
    """[B, latent] and what is told to [B, C, H, W], not bounded: z says how much of each learnt map the smallest one has."""

    def __init__(
        self,
        latent: int,
        outputs: int,
        condition: int,
        size: Size,
        width: float,
        classes: int = 0,
        embedding: int | None = None,
        grain: int | None = None,
    ):
        super().__init__()
        c, levels = rounded(width, grain), level_count(size, 8)
        sides = (size[0] >> (levels - 1), size[1] >> (levels - 1))
        self.heard = FromLatent(latent, classes, embedding)
        self.basis = nn.Parameter(nn.init.normal_(torch.empty(c, *sides)))
        self.share = scaled(nn.Linear(embedding or latent, c, bias=False), 1.0)
        self.look = Trunk(condition, c, levels) if condition else None
        self.join = nn.ModuleList(
            scaled(nn.Conv2d(2 * c, c, 1, bias=False), 1.0) for _ in range(levels if condition else 0)
        )
        self.levels = nn.ModuleList(blocks(c, levels) for _ in range(levels))
        self.exit = scaled(nn.Conv2d(c, outputs, 1), 1.0)

    def forward(self, z: Float[Tensor, "B k"], condition: Condition) -> Maps:
        z = self.heard.told(z, condition)
        seen = [] if self.look is None or condition.image is None else self.look(condition.image)
        h = self.basis * self.share(z)[:, :, None, None]
        for i, level in enumerate(self.levels):
            h = filtered(h, LINEAR, up=2, pad=(2, 0)) if i else h
            h = level(self.join[i](torch.cat([h, seen[i]], 1)) if seen else h)
        made: Tensor = self.exit(h)
        return made


class Critic(nn.Module):
    """[B, C, H, W] and what is told to one number an image: the last maps weighed by learnt ones, each by its own."""

    def __init__(self, inputs: int, size: Size, width: float, classes: int = 0, grain: int | None = None):
        super().__init__()
        c, levels = rounded(width, grain), level_count(size, 8)
        sides = (size[0] >> (levels - 1), size[1] >> (levels - 1))
        self.trunk = Trunk(inputs, c, levels)
        self.basis = nn.Parameter(nn.init.normal_(torch.empty(c, *sides), 0.0, math.prod(sides) ** -0.5))
        self.exit = scaled(nn.Linear(c, 1, bias=False), 1.0)
        self.label = nn.Embedding(classes, c) if classes else None
        if self.label is not None:
            nn.init.zeros_(self.label.weight)

    def forward(self, x: Maps, condition: Condition) -> Float[Tensor, " B"]:
        h = (self.trunk(condition.beside(x))[0] * self.basis).sum((2, 3))
        score: Tensor = self.exit(h)[:, 0]
        return score if self.label is None else score + (self.label(condition.label) * h).mean(1)
