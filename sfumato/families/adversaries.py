"""The pairs of networks an adversarial family can use: a slot, so that one family runs modern or as published."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

from pydantic import Field
from torch import nn

from sfumato.config import Strict
from sfumato.data.base import DataSpec
from sfumato.errors import ConfigError
from sfumato.kinds import Kind
from sfumato.networks import convnet, published


class Adversaries(Kind, ABC, root=True):
    """Builds G(z, condition) and C(x, condition); `classes` is 0 where no label is told.

    `embedding` is the length of the vector that tells every block of G about z; left out, z itself is told.
    """

    def __init__(self, config: Strict):
        self.config: Any = config

    @abstractmethod
    def generator(
        self, spec: DataSpec, width: float, latent: int, classes: int = 0, embedding: int | None = None
    ) -> nn.Module:
        """A module (z [B, latent], Condition) -> images."""

    @abstractmethod
    def critic(self, spec: DataSpec, width: float, classes: int = 0) -> nn.Module:
        """A module (x, Condition) -> one number an image."""


class Modern(Adversaries):
    """A generator that sees the condition at full resolution, and a critic without normalisation."""

    class Config(Strict):
        kind: Literal["residual"] = "residual"
        grain: int | None = Field(default=None, ge=1)
        """Channels are rounded to multiples of this; left out, of 8, or of 16 from 32 on."""

    def generator(
        self, spec: DataSpec, width: float, latent: int, classes: int = 0, embedding: int | None = None
    ) -> nn.Module:
        """A U-Net on the condition, or a decoder of z where there is none."""
        grain = self.config.grain
        return convnet.Generator(latent, spec.channels, spec.condition, spec.size, width, classes, embedding, grain)

    def critic(self, spec: DataSpec, width: float, classes: int = 0) -> nn.Module:
        """Strided residual stages."""
        return convnet.Critic(spec.channels + spec.condition, spec.size, width, classes, grain=self.config.grain)


class Published(Adversaries):
    """Paper 000's BaseGenerator and BaseCritic: transposed and strided convolutions with batch normalisation.

    As in its code, the generator sees the condition only through a globally pooled vector; the text leaves it open.
    """

    class Config(Strict):
        kind: Literal["published"] = "published"

    def generator(
        self, spec: DataSpec, width: float, latent: int, classes: int = 0, embedding: int | None = None
    ) -> nn.Module:
        """Section 4.1.2's generator; its last block has `width` channels."""
        _unlabelled(classes)
        if embedding:
            raise ConfigError(
                "paper 000's generator is told z itself; leave `embedding` out, or set network = 'residual'"
            )
        return published.Generator(latent, spec.channels, spec.condition, spec.size, width)

    def critic(self, spec: DataSpec, width: float, classes: int = 0) -> nn.Module:
        """Section 4.1.2's critic; its first block has `width` channels."""
        _unlabelled(classes)
        return published.Critic(spec.channels + spec.condition, spec.size, width)


def _unlabelled(classes: int) -> None:
    if classes:
        raise ConfigError("paper 000's networks hear no labels; set labels = false, or network = 'residual'")
