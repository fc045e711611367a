"""Glow: steps of ActNorm, an invertible 1 x 1 convolution and a coupling of halves, at several scales."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from sfumato.families.flow import Flow, FlowConfig, halvings, require_halves
from sfumato.images import Size
from sfumato.kinds import build, choice
from sfumato.networks.couplings import Halves, plain
from sfumato.networks.invertible import ActNorm, Invertible, Mixing, Squeeze
from sfumato.networks.multi_scale import Level, MultiScale
from sfumato.networks.transformations import Affine, Transformation


class Glow(Flow):
    """At each level squares of 2 x 2 become channels, then `steps` times ActNorm, W x and a coupling; then half of them leaves.

    What leaves has a learned prior: mean and scale of it are said by what stays.
    Reference: Kingma and Dhariwal (2018), Glow: Generative flow with invertible 1x1 convolutions.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = Glow(Glow.Config(width=8, steps=2), DataSpec(channels=1, size=(8, 12)))
        >>> tuple(model.sample(2, rng=stream(0, "sample")).shape)
        (2, 1, 8, 12)
    """

    class Config(FlowConfig):
        kind: Literal["glow"] = "glow"
        levels: int = Field(default=3, ge=1, le=8)
        """Scales; fewer where an image cannot be halved so often."""
        steps: int = Field(default=8, ge=1, le=256)
        """Steps at each scale; the paper takes 32."""
        coupling: Annotated[Any, choice(Transformation, "affine")] = Affine.Config()
        """How a number is moved: affine, additive or logistic_mixture."""

    def check_size(self, size: Size) -> None:
        """An image has to be halved once, or to have channels that can say something of each other."""
        require_halves(self.spec.channels, size, self.config.kind)

    def layers(self) -> MultiScale:
        config, spec = self.config, self.spec
        levels = halvings(spec.size, config.levels)
        network = self.conditioner(plain, config.width)
        ways, channels = list[Level](), spec.channels
        for level in range(max(levels, 1)):
            steps: list[Invertible] = []
            if levels:
                channels *= 4
                steps.append(Squeeze())
            for _ in range(config.steps):
                steps += [ActNorm(channels), Mixing(channels), Halves(channels, build(config.coupling), network)]
            last = level >= levels - 1
            if not last:
                steps.append(Halves(channels, Affine(Affine.Config()), network))  # the prior of what leaves
            ways.append(Level(steps, leaves=not last))
            channels //= 2
        return self.multi_scale(ways)
