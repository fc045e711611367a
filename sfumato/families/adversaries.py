"""The pairs of networks an adversarial family can use: a slot, so that one family runs modern or as published."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

from torch import nn

from sfumato.config import Strict
from sfumato.data.base import DataSpec
from sfumato.kinds import Kind
from sfumato.networks import convnet, published


class Adversaries(Kind, ABC, root=True):
    """Builds G(z, condition) and C(cat(x, condition))."""

    def __init__(self, config: Strict):
        self.config: Any = config

    @abstractmethod
    def generator(self, spec: DataSpec, width: float, latent: int) -> nn.Module:
        """A module (z [B, latent], condition or None) -> images."""

    @abstractmethod
    def critic(self, spec: DataSpec, width: float) -> nn.Module:
        """A module from cat(x, condition) to one number an image."""


class Modern(Adversaries):
    """A generator that sees the condition at full resolution, and a critic without normalisation."""

    class Config(Strict):
        kind: Literal["residual"] = "residual"

    def generator(self, spec: DataSpec, width: float, latent: int) -> nn.Module:
        """A U-Net on the condition, or a decoder of z where there is none."""
        return convnet.Generator(latent, spec.channels, spec.condition, spec.size, width)

    def critic(self, spec: DataSpec, width: float) -> nn.Module:
        """Strided residual stages."""
        return convnet.Critic(spec.channels + spec.condition, spec.size, width)


class Published(Adversaries):
    """Paper 000's BaseGenerator and BaseCritic: transposed and strided convolutions with batch normalisation.

    As in its code, the generator sees the condition only through a globally pooled vector; the text leaves it open.
    """

    class Config(Strict):
        kind: Literal["published"] = "published"

    def generator(self, spec: DataSpec, width: float, latent: int) -> nn.Module:
        """Section 4.1.2's generator; its last block has `width` channels."""
        return published.Generator(latent, spec.channels, spec.condition, spec.size, width)

    def critic(self, spec: DataSpec, width: float) -> nn.Module:
        """Section 4.1.2's critic; its first block has `width` channels."""
        return published.Critic(spec.channels + spec.condition, spec.size, width)
