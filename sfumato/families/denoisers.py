"""The networks a diffusion family can use: a slot, so that one family runs modern or as published."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from sfumato.config import Strict
from sfumato.data.base import DataSpec
from sfumato.errors import ConfigError
from sfumato.images import Images
from sfumato.kinds import Kind
from sfumato.networks.condition import Condition
from sfumato.networks.layers import Mixed, TimeEmbedding
from sfumato.networks.mlp import TimedMLP
from sfumato.networks.published import EpsilonUNet
from sfumato.networks.unet import UNet


class DenoisingNetwork(Kind, ABC, root=True):
    """Builds the network eps_theta(x_t, time, condition)."""

    masks_only: bool = False
    """Whether it is shown nothing of what was measured but pixels that are known."""

    def __init__(self, config: Strict):
        self.config: Any = config

    @abstractmethod
    def network(
        self, spec: DataSpec, width: float, labels: int = 0, embedding: int | None = None, outputs: int | None = None
    ) -> nn.Module:
        """A module (x_t, time in [0, 1], Condition) -> maps of the size of x_t; `labels` counts "not told" as one.

        `outputs` are its channels; left out, those of x_t.

        `embedding` is the length of the vector that tells every block the time; left out, the network chooses.
        """


class TimedUNet(nn.Module):
    """A U-Net on cat(x_t, condition) that is told the time, and a label if it hears any, in every block.

    With `by_time` known pixels stand in x_t itself, clean, and the network is told that their time is 0.
    """

    def __init__(self, unet: UNet, time: TimeEmbedding, labels: int = 0, by_time: bool = False):
        super().__init__()
        self.unet, self.time, self.by_time = unet, time, by_time
        self.label = nn.Embedding(labels, time.dim) if labels else None

    def forward(self, x_t: Images, time: Float[Tensor, " B"], condition: Condition) -> Images:
        """[B, C, H, W], [B] and what is told to [B, C, H, W]."""
        embedding, label = self.time(time), 0.0
        if self.label is not None:
            label = self.label(condition.label)
            embedding = embedding + label
        if not self.by_time or condition.image is None:
            out: Tensor = self.unet(condition.beside(x_t), embedding)
            return out
        preview, known = condition.image[:, :-1], condition.image[:, -1:]
        clean = self.time(torch.zeros_like(time)) + label
        out = self.unet(torch.lerp(x_t, preview, known), Mixed(embedding, clean, known))
        return out


class Modern(DenoisingNetwork):
    """Residual blocks, group norm, attention on small maps, the time in every block (Dhariwal and Nichol, 2021)."""

    class Config(Strict):
        kind: Literal["unet"] = "unet"
        multipliers: tuple[int, ...] = Field(default=(1, 2, 4, 4), min_length=1)
        """Channels of each level, as multiples of the width; a level halves the image."""
        blocks: int = Field(default=1, ge=1)
        """Residual blocks a level."""
        attention: int = Field(default=8, ge=0)
        """Levels whose longer side is at most so many pixels attend; 0 for none."""
        dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
        """Share of activations dropped inside a block."""
        grain: int | None = Field(default=None, ge=1)
        """Channels are rounded to multiples of this; left out, of 8, or of 16 from 32 on."""
        rescale: bool = False
        """Divide the sum in each residual block by sqrt(2) (paper 001, after Song et al., 2021)."""
        known: Literal["beside", "by_time"] = "beside"
        """How it sees what was measured: in channels beside x_t, or known pixels in x_t with a time of 0 (`td_paint`)."""

    def __init__(self, config: Config):
        super().__init__(config)
        self.masks_only = config.known == "by_time"

    def network(
        self, spec: DataSpec, width: float, labels: int = 0, embedding: int | None = None, outputs: int | None = None
    ) -> nn.Module:
        """The U-Net and its time embedding."""
        settings, told = self.config, embedding or max(round(4 * width), 8)
        unet = UNet(
            spec.channels + (0 if self.masks_only else spec.condition),
            outputs or spec.channels,
            spec.size,
            width,
            settings.multipliers,
            settings.blocks,
            settings.attention,
            told,
            settings.dropout,
            settings.grain,
            settings.rescale,
        )
        return TimedUNet(unet, TimeEmbedding(told), labels, self.masks_only)


class Vectors(DenoisingNetwork):
    """Fully connected residual blocks, for vectors: points, codes. Nothing is normalised.

    A U-Net divides what it sees by its size, which on an image of one pixel takes the size away: it cannot say how far a long
    vector has to go.
    """

    class Config(Strict):
        kind: Literal["mlp"] = "mlp"
        blocks: int = Field(default=3, ge=1)
        """Residual blocks of two layers."""
        hidden: float = Field(default=8.0, gt=0.0)
        """Length of the vector inside, as a multiple of the width."""

    def network(
        self, spec: DataSpec, width: float, labels: int = 0, embedding: int | None = None, outputs: int | None = None
    ) -> nn.Module:
        """Vectors of `hidden` times the width."""
        if outputs not in (None, spec.channels):
            raise ConfigError("an mlp says no variance; set variance = 'fixed', or network = 'unet'")
        told, hidden = embedding or max(round(4 * width), 8), max(round(self.config.hidden * width), 1)
        pixels = spec.size[0] * spec.size[1]
        numbers = (spec.channels + spec.condition) * pixels, spec.channels * pixels
        return TimedMLP(*numbers, hidden, self.config.blocks, TimeEmbedding(told), labels)


class Published(DenoisingNetwork):
    """Paper 000's BaseEpsilonUNet: no residual blocks, no attention, the time added at the bottleneck only."""

    class Config(Strict):
        kind: Literal["published"] = "published"

    def network(
        self, spec: DataSpec, width: float, labels: int = 0, embedding: int | None = None, outputs: int | None = None
    ) -> nn.Module:
        """The network of section 4.1.3; its first level has `width` channels."""
        if outputs not in (None, spec.channels):
            raise ConfigError("paper 000's network says no variance; set variance = 'fixed', or network = 'unet'")
        if labels:
            raise ConfigError("paper 000's network hears no labels; set labels = false, or network = 'unet'")
        if embedding:
            raise ConfigError(
                "paper 000's network embeds the time in its own way; leave `embedding` out, or use 'unet'"
            )
        return EpsilonUNet(spec.channels, spec.condition, spec.size, width)
