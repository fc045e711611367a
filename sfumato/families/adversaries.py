"""The networks that a family with a latent vector can use: a slot, so that one family runs modern or as published."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

from pydantic import Field
from torch import nn

from sfumato.config import Strict
from sfumato.data.base import DataSpec
from sfumato.errors import ConfigError
from sfumato.kinds import Kind
from sfumato.networks import biggan, convnet, dcgan, inpainters, mlp, published


class Adversaries(Kind, ABC, root=True):
    """Builds G(z, condition), C(x, condition) and an encoder; `classes` is 0 where no label is told.

    `embedding` is the length of the vector that tells every block of G about z; left out, z itself is told.
    """

    def __init__(self, config: Strict):
        self.config: Any = config

    @abstractmethod
    def generator(
        self, spec: DataSpec, width: float, latent: int, classes: int = 0, embedding: int | None = None
    ) -> nn.Module:
        """A module (z [B, latent], Condition) -> images."""

    def critic(self, spec: DataSpec, width: float, classes: int = 0) -> nn.Module:
        """A module (x, Condition) -> one number an image: the residual critic, unless these networks have their own."""
        grain = getattr(self.config, "grain", None)
        return convnet.Critic(spec.channels + spec.condition, spec.size, width, classes, grain=grain)

    def encoder(self, spec: DataSpec, width: float, outputs: int, classes: int = 0) -> nn.Module:
        """A module (x, Condition) -> [B, outputs]: the residual critic's stages, unless these networks have their own."""
        grain = getattr(self.config, "grain", None)
        inputs = spec.channels + spec.condition
        return convnet.Encoder(inputs, spec.size, width, classes, grain=grain, outputs=outputs)

    def recoder(self, spec: DataSpec, width: float, code: int, classes: int = 0) -> nn.Module:
        """A critic that is an autoencoder: (x, Condition) -> minus the mean absolute error of each image.

        Raises: ConfigError: these networks have none.
        """
        raise ConfigError(f"networks {self.config.kind!r} have no autoencoder for a critic; use network = 'residual'")


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

    def recoder(self, spec: DataSpec, width: float, code: int, classes: int = 0) -> nn.Module:
        """The critic's stages to a code, and a decoder back."""
        return convnet.Recoder(spec.channels, spec.condition, spec.size, width, code, classes, self.config.grain)


class DCGAN(Adversaries):
    """Paper 004's rules: strided and transposed convolutions, batch normalisation, no fully connected layers."""

    class Config(Strict):
        kind: Literal["dcgan"] = "dcgan"
        grain: int | None = Field(default=None, ge=1)
        """Channels are rounded to multiples of this; left out, of 8, or of 16 from 32 on."""
        normalised: bool = True
        """Batch normalisation in the critic; off where a penalty looks at the slope of each image."""

    def generator(
        self, spec: DataSpec, width: float, latent: int, classes: int = 0, embedding: int | None = None
    ) -> nn.Module:
        """Transposed convolutions from one pixel."""
        grain = self.config.grain
        return dcgan.Generator(latent, spec.channels, spec.condition, spec.size, width, classes, embedding, grain)

    def critic(self, spec: DataSpec, width: float, classes: int = 0) -> nn.Module:
        """Strided convolutions to one number."""
        inputs, c = spec.channels + spec.condition, self.config
        return dcgan.Critic(inputs, spec.size, width, classes, c.grain, c.normalised)


class BigGANDeep(Adversaries):
    """The bottleneck blocks of BigGAN-deep, with attention on small maps."""

    class Config(Strict):
        kind: Literal["biggan_deep"] = "biggan_deep"
        grain: int | None = Field(default=None, ge=1)
        """Channels are rounded to multiples of this; left out, of 8, or of 16 from 32 on."""

    def generator(
        self, spec: DataSpec, width: float, latent: int, classes: int = 0, embedding: int | None = None
    ) -> nn.Module:
        """Two blocks a level, told z and the label in each normalisation."""
        grain = self.config.grain
        return biggan.Generator(latent, spec.channels, spec.condition, spec.size, width, classes, embedding, grain)

    def critic(self, spec: DataSpec, width: float, classes: int = 0) -> nn.Module:
        """Two blocks a level without normalisation."""
        return biggan.Critic(spec.channels + spec.condition, spec.size, width, classes, self.config.grain)


class MLP(Adversaries):
    """One hidden layer of `width` units: paper 003's encoder and decoder at width 400, and a critic like its encoder."""

    class Config(Strict):
        kind: Literal["mlp"] = "mlp"

    def generator(
        self, spec: DataSpec, width: float, latent: int, classes: int = 0, embedding: int | None = None
    ) -> nn.Module:
        """z and the flat condition to pixels."""
        if embedding:
            raise ConfigError("an mlp is told z itself; leave `embedding` out, or set network = 'residual'")
        return mlp.Generator(latent, spec.channels, spec.condition, spec.size, width, classes)

    def critic(self, spec: DataSpec, width: float, classes: int = 0) -> nn.Module:
        """Flat pixels to one number."""
        return mlp.Critic(spec.dimensions, spec.condition, spec.size, width, 1, classes)

    def encoder(self, spec: DataSpec, width: float, outputs: int, classes: int = 0) -> nn.Module:
        """Flat pixels to a vector."""
        return mlp.Encoder(spec.dimensions, spec.condition, spec.size, width, outputs, classes)


class FourierUNet(Adversaries):
    """An in-painter of fast Fourier convolutions, LaMa's idea; where nothing is observed, the residual decoder."""

    class Config(Strict):
        kind: Literal["fourier_unet"] = "fourier_unet"
        blocks: int = Field(default=4, ge=1)
        """Blocks at a quarter of the size."""
        copying: bool = False
        """Blocks of contextual attention, which copy from what is known, in place of Fourier ones."""
        smooth: bool = False
        """Begin from what is known, carried smoothly into the hole, in place of nothing; what is learnt is added to that."""

    def generator(
        self, spec: DataSpec, width: float, latent: int, classes: int = 0, embedding: int | None = None
    ) -> nn.Module:
        """An in-painter for a condition, a decoder of z where there is none."""
        if not spec.condition:
            return convnet.Generator(latent, spec.channels, 0, spec.size, width, classes, embedding)
        return inpainters.InPainter(
            latent,
            spec.channels,
            spec.condition,
            spec.size,
            width,
            inpainters.CopyBlock if self.config.copying else inpainters.FourierBlock,
            self.config.blocks,
            classes,
            embedding,
            self.config.smooth,
        )


class GlobalLocal(Adversaries):
    """Iizuka's two critics, of the whole picture and of the surroundings of the hole, against the residual generator."""

    class Config(Strict):
        kind: Literal["global_local"] = "global_local"

    def generator(
        self, spec: DataSpec, width: float, latent: int, classes: int = 0, embedding: int | None = None
    ) -> nn.Module:
        """A U-Net on the condition, or a decoder of z where there is none."""
        return convnet.Generator(latent, spec.channels, spec.condition, spec.size, width, classes, embedding)

    def critic(self, spec: DataSpec, width: float, classes: int = 0) -> nn.Module:
        """Two critics whose scores are added."""
        return inpainters.GlobalAndLocal(spec.channels + spec.condition, spec.size, width, classes)


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
