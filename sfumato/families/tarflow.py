"""TarFlow: transformers move patches by the patches before them; noise as dequantisation, and one step that takes it away."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import nn

from sfumato.errors import ConfigError
from sfumato.families.dequantisation import Dequantisation, GaussianNoise
from sfumato.families.flow import Flow, FlowConfig
from sfumato.families.optimizers import AdamW, Optimizer
from sfumato.images import Size
from sfumato.kinds import choice
from sfumato.networks.invertible import Squeeze
from sfumato.networks.layers import Maps
from sfumato.networks.multi_scale import Level, MultiScale
from sfumato.networks.tarflow import Autoregressive
from sfumato.networks.transformations import Affine


class Cut(nn.Module):
    """What was observed, in patches."""

    def __init__(self, side: int):
        super().__init__()
        self.side = side

    def forward(self, image: Maps) -> list[Maps]:
        """At full size, and cut."""
        return [image, F.pixel_unshuffle(image, self.side)]


class TarFlow(Flow):
    """`blocks` autoregressive layers over patches, each in the other order; x = y + sigma^2 grad log p(y) at the end.

    Its likelihood is a bound for the levels, since noise wider than a level is what the density is of.
    Reference: Zhai et al. (2024), Normalizing flows are capable generative models, arXiv 2412.06329.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = TarFlow(TarFlow.Config(width=32), DataSpec(channels=1, size=(8, 12)))
        >>> tuple(model.sample(2, rng=stream(0, "sample")).shape)
        (2, 1, 8, 12)
    """

    class Config(FlowConfig):
        kind: Literal["tarflow"] = "tarflow"
        width: float = Field(default=128, gt=0)
        """Numbers of each token; parity solves for it."""
        patch: int = Field(default=4, ge=1, le=64)
        """Rows and columns of a patch; 2 is better and slower on images of 16 x 16."""
        blocks: int = Field(default=6, ge=1, le=64)
        """Autoregressive layers."""
        depth: int = Field(default=2, ge=1, le=64)
        """Attention layers of each."""
        bound: float = Field(default=3.0, gt=0.0)
        """The largest |log scale| of a layer."""
        dequantisation: Annotated[Any, choice(Dequantisation, "gaussian")] = GaussianNoise.Config()
        """How levels are spread: gaussian, uniform (an exact likelihood, and rougher images) or variational."""
        optimizer: Annotated[Any, choice(Optimizer, "adamw")] = AdamW.Config(lr=2e-3, betas=(0.9, 0.95), clip=1.0)
        """How the weights move."""

    def check_size(self, size: Size) -> None:
        """An image has to consist of whole patches, and of two at least."""
        side = self.config.patch
        if any(length % side for length in size) or max(size) <= side:
            raise ConfigError(
                f"images of {size[0]} x {size[1]} are no two or more patches of {side} x {side}; set patch to a divisor"
            )

    def calls(self) -> int:
        """One for each patch in each layer, and two to clean."""
        patches = math.prod(self.spec.size) // self.config.patch**2
        return int(self.config.blocks * patches) + (0 if self.exact else 2)

    def layers(self) -> MultiScale:
        config, spec, side = self.config, self.spec, self.config.patch
        made = [
            Autoregressive(
                spec.channels * side**2,
                math.prod(spec.size) // side**2,
                config.width,
                config.depth,
                Affine(Affine.Config(bound=config.bound)),
                backwards=bool(i % 2),
                seen=spec.condition * side**2,
                classes=spec.classes if self.labelled else 0,
            )
            for i in range(config.blocks)
        ]
        level = Level([Squeeze(side), *made])
        return MultiScale((spec.channels, *spec.size), [level], Cut(side) if spec.condition else None)
