"""DCGAN (Radford, Metz and Chintala, 2016), by its rules: strided and transposed convolutions in place of pooling and of
fully connected layers, batch normalisation in both networks but at their ends, ReLU in the generator, LeakyReLU in the critic.

Its paper has no condition. Here strided convolutions look at one, and the generator has their maps beside its own at each size.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.images import Size
from sfumato.networks.condition import Condition, FromLatent
from sfumato.networks.layers import Maps, rounded
from sfumato.networks.unet import level_count

DEEPEST = 8  # times the width


def widths(size: Size, width: float, grain: int | None) -> list[int]:
    """Channels of each level, the full size first."""
    return [rounded(width * min(2**level, DEEPEST), grain) for level in range(level_count(size, 8))]


def begun(network: nn.Module) -> None:
    """Weights from N(0, 0.02^2), gains of normalisation about 1: made for maps that are normalised after each layer."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)


class Look(nn.Module):
    """A map for each level below the full size, by strided convolutions; the first without normalisation."""

    def __init__(self, inputs: int, channels: list[int], normalised: bool = True):
        super().__init__()
        self.layers = nn.ModuleList()
        for i, (a, b) in enumerate(pairwise([inputs, *channels[1:]])):
            layers: list[nn.Module] = [nn.Conv2d(a, b, 4, stride=2, padding=1, bias=i == 0 or not normalised)]
            layers += [nn.BatchNorm2d(b)] if i and normalised else []
            self.layers.append(nn.Sequential(*layers, nn.LeakyReLU(0.2)))

    def forward(self, x: Maps) -> list[Tensor]:
        """[B, inputs, H, W] to maps of H/2, H/4 ..."""
        maps = []
        for layer in self.layers:
            x = layer(x)
            maps.append(x)
        return maps


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
        told = embedding or latent
        self.look = Look(condition, c) if condition else None
        both = 2 if condition else 1
        sides = (size[0] >> (len(c) - 1), size[1] >> (len(c) - 1))
        outputs = [*c[:0:-1], channels]
        self.enter = nn.ConvTranspose2d(told, outputs[0], sides, bias=len(c) == 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(n) for n in outputs[:-1])
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(both * a, b, 4, stride=2, padding=1, bias=b is channels) for a, b in pairwise(outputs)
        )
        begun(self)

    def forward(self, z: Float[Tensor, "B k"], condition: Condition) -> Maps:
        z = self.told(z, condition)
        maps = [] if self.look is None or condition.image is None else self.look(condition.image)
        h = self.enter(z[:, :, None, None])
        for norm, up, seen in zip(self.norms, self.ups, [*reversed(maps)] or [None] * len(self.ups), strict=True):
            h = torch.relu(norm(h))
            h = up(h if seen is None else torch.cat([h, seen], 1))
        return torch.tanh(h)


class Critic(nn.Module):
    """[B, C, H, W] and what is told to one number an image; a label adds the product of its vector with the last features."""

    def __init__(
        self,
        inputs: int,
        size: Size,
        width: float,
        classes: int = 0,
        grain: int | None = None,
        normalised: bool = True,
    ):
        super().__init__()
        c = widths(size, width, grain)
        self.look = Look(inputs, c, normalised)
        features = c[-1] if len(c) > 1 else inputs
        sides = (size[0] >> (len(c) - 1), size[1] >> (len(c) - 1))
        self.exit = nn.Conv2d(features, 1, sides)
        if normalised:  # without normalisation such small weights hold every score near 0 for long
            begun(self)
        self.label = nn.Embedding(classes, features) if classes else None
        if self.label is not None:
            nn.init.zeros_(self.label.weight)

    def forward(self, x: Maps, condition: Condition) -> Float[Tensor, " B"]:
        seen = condition.beside(x)
        h = [seen, *self.look(seen)][-1]
        score: Tensor = self.exit(h).flatten()
        return score if self.label is None else score + (self.label(condition.label) * h.mean((2, 3))).sum(1)
