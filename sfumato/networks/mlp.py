"""Fully connected networks: paper 003's encoder and decoder of one hidden layer, a critic like them, a denoiser of vectors."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.images import Size
from sfumato.networks.condition import Condition
from sfumato.networks.layers import Maps, TimeEmbedding


class Told(nn.Module):
    """Linear, ReLU, linear on a vector beside which stand the flat condition and a vector of the label."""

    def __init__(self, inputs: int, condition: int, size: Size, width: float, outputs: int, classes: int = 0):
        super().__init__()
        hidden = max(round(width), 1)
        self.enter = nn.Linear(inputs + condition * math.prod(size), hidden)
        self.label = nn.Embedding(classes, hidden) if classes else None
        self.exit = nn.Linear(hidden, outputs)

    def forward(self, v: Float[Tensor, "B d"], condition: Condition) -> Float[Tensor, "B k"]:
        """[B, inputs] and what is told to [B, outputs]."""
        seen = v if condition.image is None else torch.cat([v, condition.image.flatten(1)], 1)
        h = self.enter(seen)
        if self.label is not None:
            h = h + self.label(condition.label)
        out: Tensor = self.exit(torch.relu(h))
        return out


class Encoder(Told):
    """[B, C, H, W] and what is told to [B, outputs]."""

    def forward(self, x: Maps, condition: Condition) -> Float[Tensor, "B k"]:
        return super().forward(x.flatten(1), condition)


class Critic(Encoder):
    """[B, C, H, W] and what is told to one number an image."""

    def forward(self, x: Maps, condition: Condition) -> Float[Tensor, " B"]:
        return super().forward(x, condition)[:, 0]


class Generator(Told):
    """[B, latent] and what is told to [B, C, H, W] in [-1, 1]."""

    def __init__(self, latent: int, channels: int, condition: int, size: Size, width: float, classes: int = 0):
        super().__init__(latent, condition, size, width, channels * math.prod(size), classes)
        self.shape = (channels, *size)

    def forward(self, z: Float[Tensor, "B d"], condition: Condition) -> Maps:
        return torch.tanh(super().forward(z, condition)).view(len(z), *self.shape)


class TimedMLP(nn.Module):
    """h + linear(SiLU((1 + a) linear(h) + b)), a few times; a and b say the time, and a label where one is heard."""

    def __init__(self, inputs: int, outputs: int, hidden: int, blocks: int, time: TimeEmbedding, labels: int = 0):
        super().__init__()
        self.time = time
        self.label = nn.Embedding(labels, time.dim) if labels else None
        self.enter, self.exit = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
        self.first = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(blocks))
        self.second = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(blocks))
        self.modulation = nn.ModuleList(nn.Linear(time.dim, 2 * hidden) for _ in range(blocks))
        for layer in (self.exit, *self.second):
            assert isinstance(layer, nn.Linear)
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x_t: Maps, time: Float[Tensor, " B"], condition: Condition) -> Maps:
        """[B, C, H, W], [B] and what is told to [B, C, H, W]."""
        told = self.time(time)
        if self.label is not None:
            told = told + self.label(condition.label)
        told, h = F.silu(told), self.enter(condition.beside(x_t).flatten(1))
        for first, second, modulation in zip(self.first, self.second, self.modulation, strict=True):
            scale, shift = modulation(told).chunk(2, 1)
            h = h + second(F.silu(torch.addcmul(shift, first(h), 1 + scale)))
        out: Tensor = self.exit(h)
        return out.view_as(x_t)
