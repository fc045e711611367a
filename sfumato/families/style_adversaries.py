"""The networks of the line of large-scale GANs, for the same slot: progressive, stylegan, stylegan2, stylegan3, r3gan."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import nn

from sfumato.config import Strict
from sfumato.data.base import DataSpec
from sfumato.families.adversaries import Adversaries
from sfumato.families.optimizers import AdamW
from sfumato.networks import progressive, r3gan, stylegan, stylegan2, stylegan3

EVEN = AdamW.Config(lr=1e-2, betas=(0.0, 0.99), decay="constant")  # for layers of equal rates: docs/results.md


class Grained(Strict):
    """What all of them can be told."""

    grain: int | None = Field(default=None, ge=1)
    """Channels are rounded to multiples of this; left out, of 8, or of 16 from 32 on."""


class Mapped(Grained):
    """What those with a mapping network can be told; `embedding` is the length of its w."""

    depth: int = Field(default=2, ge=1)
    """Layers of the mapping; the papers' 8 are for 1,024 pixels, StyleGAN2-ADA has 2 for CIFAR-10."""


class Progressive(Adversaries):
    """Progressive GAN's pair: equal rates, pixel norm, the deviation over a batch."""

    class Config(Grained):
        kind: Literal["progressive"] = "progressive"

    def generator(
        self, spec: DataSpec, width: float, latent: int, classes: int = 0, embedding: int | None = None
    ) -> nn.Module:
        """Two convolutions a level."""
        grain = self.config.grain
        return progressive.Generator(latent, spec.channels, spec.condition, spec.size, width, classes, embedding, grain)

    def critic(self, spec: DataSpec, width: float, classes: int = 0) -> nn.Module:
        """The generator's mirror."""
        return progressive.Critic(spec.channels + spec.condition, spec.size, width, classes, self.config.grain)


class Styled(Adversaries):
    """StyleGAN's pair: a mapping, AdaIN and noise; a critic as progressive GAN's with blurred halves."""

    class Config(Mapped):
        kind: Literal["stylegan"] = "stylegan"
        depth: int = Field(default=8, ge=1)
        """Layers of the mapping."""

    def generator(
        self, spec: DataSpec, width: float, latent: int, classes: int = 0, embedding: int | None = None
    ) -> nn.Module:
        """Two layers a level."""
        c, styles = self.config, embedding or latent
        return stylegan.Generator(
            latent, spec.channels, spec.condition, spec.size, width, classes, styles, c.depth, c.grain
        )

    def critic(self, spec: DataSpec, width: float, classes: int = 0) -> nn.Module:
        """It grows too."""
        inputs = spec.channels + spec.condition
        return progressive.Critic(inputs, spec.size, width, classes, self.config.grain, soft=True)


class Styled2(Adversaries):
    """StyleGAN2's pair: modulated weights, skips or residuals; a residual critic."""

    class Config(Mapped):
        kind: Literal["stylegan2"] = "stylegan2"
        architecture: Literal["skip", "residual"] = "skip"
        """Of the generator: pictures of all sizes are added up, or maps are."""
        waves: bool = False
        """Begin with StyleGAN3's plane waves, which can be moved, in place of a learnt map; to compare the two."""

    def generator(
        self, spec: DataSpec, width: float, latent: int, classes: int = 0, embedding: int | None = None
    ) -> nn.Module:
        """One layer at the smallest size, two at each other."""
        c, styles = self.config, embedding or latent
        return stylegan2.Generator(
            latent,
            spec.channels,
            spec.condition,
            spec.size,
            width,
            classes,
            styles,
            c.depth,
            c.grain,
            c.architecture,
            c.waves,
        )

    def critic(self, spec: DataSpec, width: float, classes: int = 0) -> nn.Module:
        """Residual blocks, filtered halves."""
        return stylegan2.Critic(spec.channels + spec.condition, spec.size, width, classes, self.config.grain)


class Styled3(Adversaries):
    """StyleGAN3's alias-free generator, T or R, against StyleGAN2's critic."""

    class Config(Mapped):
        kind: Literal["stylegan3"] = "stylegan3"
        rotates: bool = False
        """R in place of T: 1 x 1 convolutions of twice as many channels and round filters."""
        layers: int = Field(default=6, ge=2)
        """Filtered layers; the paper's 14 are for 256 pixels and more."""
        critical: int = Field(default=2, ge=0)
        """The last ones, which have all frequencies."""
        margin: int | None = Field(default=None, ge=0)
        """Pixels around each map. Left out: a quarter of the longer side, at most the paper's 10."""

    def generator(
        self, spec: DataSpec, width: float, latent: int, classes: int = 0, embedding: int | None = None
    ) -> nn.Module:
        """Waves and filtered layers."""
        c, styles = self.config, embedding or latent
        margin = min(max(spec.size) // 4, 10) if c.margin is None else c.margin
        return stylegan3.Generator(
            latent,
            spec.channels,
            spec.condition,
            spec.size,
            width,
            classes,
            styles,
            c.depth,
            c.grain,
            c.layers,
            c.critical,
            margin,
            c.rotates,
        )

    def critic(self, spec: DataSpec, width: float, classes: int = 0) -> nn.Module:
        """StyleGAN2's."""
        return stylegan2.Critic(spec.channels + spec.condition, spec.size, width, classes, self.config.grain)


class R3(Adversaries):
    """R3GAN's pair: residual bottlenecks with grouped convolutions, and nothing else."""

    class Config(Grained):
        kind: Literal["r3gan"] = "r3gan"

    def generator(
        self, spec: DataSpec, width: float, latent: int, classes: int = 0, embedding: int | None = None
    ) -> nn.Module:
        """Two blocks a level, all of one width."""
        return r3gan.Generator(
            latent, spec.channels, spec.condition, spec.size, width, classes, embedding, self.config.grain
        )

    def critic(self, spec: DataSpec, width: float, classes: int = 0) -> nn.Module:
        """The generator's mirror."""
        return r3gan.Critic(spec.channels + spec.condition, spec.size, width, classes, self.config.grain)
