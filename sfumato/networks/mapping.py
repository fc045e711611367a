"""What the style networks share: z to w, a style for every layer; noise beside it; the mean w that truncation pulls to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sfumato.images import Size
from sfumato.networks.condition import Condition
from sfumato.networks.equalised import Linear, leaky, pixel_norm
from sfumato.networks.layers import Maps
from sfumato.streams import Rngs, normals

RATE = 0.01  # of the mapping's layers: its gradients pass through every style and are large
SLOW = 0.998  # of the mean w, a batch
Styles = Float[Tensor, "B L s"]


class Mapping(nn.Module):
    """w = f(sqrt(k) z / |z|, label), a few fully connected layers of a hundredth of the rate.

    Reference: Karras, Laine and Aila (2019), A style-based generator architecture for generative adversarial networks.
    """

    mean: Tensor

    def __init__(self, latent: int, styles: int, depth: int, classes: int = 0):
        super().__init__()
        self.label = nn.Embedding(classes, styles) if classes else None
        sizes = [latent + (styles if classes else 0), *[styles] * depth]
        self.layers = nn.ModuleList(Linear(a, b, rate=RATE) for a, b in pairwise(sizes))
        self.register_buffer("mean", torch.zeros(styles))

    def forward(self, z: Float[Tensor, "B k"], label: Int[Tensor, " B"] | None) -> Float[Tensor, "B s"]:
        """[B, latent], and a class where there are any, to [B, styles]."""
        h = pixel_norm(z)
        if self.label is not None:
            h = torch.cat([h, pixel_norm(self.label(label))], 1)
        for layer in self.layers:
            h = leaky(layer(h))
        return h

    @torch.no_grad()
    def follow(self, w: Float[Tensor, "B s"]) -> None:
        """Take a batch into the mean."""
        self.mean.lerp_(w.detach().float().mean(0), 1 - SLOW)

    def truncated(self, w: Tensor, psi: float) -> Tensor:
        """mean + psi (w - mean): nearer to what is usual, and less varied."""
        return w if psi == 1.0 else torch.lerp(self.mean.to(w.dtype).expand_as(w), w, psi)


class StyleGenerator(nn.Module, ABC):
    """G(z, condition) = paint(w, w, ... w): every layer hears a style, which may be another one for each."""

    mapping: Mapping
    layers: int
    """How many styles a picture hears, coarse ones first."""

    @property
    def heard(self) -> int:
        """How many of them count: fewer while a network grows."""
        return self.layers

    def styles(self, z: Float[Tensor, "B k"], condition: Condition) -> Styles:
        """One w for all layers."""
        w: Tensor = self.mapping(z, condition.label)
        return w[:, None].expand(-1, self.layers, -1)

    @abstractmethod
    def paint(self, w: Styles, condition: Condition, rng: Rngs | None = None) -> Maps:
        """[B, layers, styles] to images, not bounded; noise is the network's own where no stream is given."""

    def forward(self, z: Float[Tensor, "B k"], condition: Condition) -> Maps:
        """[B, latent] and what is told to [B, C, H, W]."""
        return self.paint(self.styles(z, condition), condition)


class Constant(nn.Module):
    """A learnt map, the same for every image, that a picture begins with."""

    def __init__(self, channels: int, sides: Size):
        super().__init__()
        self.map = nn.Parameter(nn.init.normal_(torch.empty(1, channels, *sides)))

    def forward(self, w: Float[Tensor, "B s"]) -> Maps:
        """[B, channels, H, W]."""
        return self.map.expand(len(w), -1, -1, -1)


class Noise(nn.Module):
    """x + strength n: one normal number a pixel, as loud in each channel as was learnt; it begins with silence."""

    fixed: Tensor

    def __init__(self, channels: int, sides: Size):
        super().__init__()
        self.strength = nn.Parameter(torch.zeros(channels, 1, 1))
        self.register_buffer("fixed", nn.init.normal_(torch.empty(1, 1, *sides)))

    def forward(self, x: Maps, rng: Rngs | None) -> Maps:
        """The same shape; the network's own noise where no stream is given."""
        noise = self.fixed if rng is None else normals(rng, len(x), 1, *x.shape[2:])
        return x + self.strength * noise.to(x.dtype)
