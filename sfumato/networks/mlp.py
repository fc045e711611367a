"""Fully connected networks with one hidden layer: paper 003's encoder and decoder, and a critic of the same make."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.images import Size
from sfumato.networks.condition import Condition
from sfumato.networks.layers import Maps


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
