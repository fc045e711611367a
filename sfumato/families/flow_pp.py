"""Flow++: couplings by the distribution functions of logistic mixtures, and learnt noise in place of uniform noise."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field

from sfumato.errors import ConfigError
from sfumato.families.dequantisation import Dequantisation, Variational
from sfumato.families.flow import Flow, FlowConfig, halvings
from sfumato.images import LEVEL, Size
from sfumato.kinds import build, choice
from sfumato.networks.couplings import Checkerboard, Conditioner, Halves, gated
from sfumato.networks.invertible import ActNorm, Invertible, Logit, Mixing, Rescale, Squeeze
from sfumato.networks.layers import rounded
from sfumato.networks.multi_scale import Level, MultiScale, Seen
from sfumato.networks.transformations import LogisticMixture, Transformation


class FlowPP(Flow):
    """Chessboards at full size, halves of channels and chessboards at half of it, each after ActNorm and a 1 x 1 convolution.

    Networks are gated, with attention where that is wanted: it gains least of the three ideas and costs most on large maps.
    Reference: Ho, Chen, Srinivas, Duan and Abbeel (2019), Flow++: Improving flow-based generative models with variational
    dequantization and architecture design.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = FlowPP(FlowPP.Config(width=8), DataSpec(channels=1, size=(8, 12)))
        >>> tuple(model.sample(2, rng=stream(0, "sample")).shape)
        (2, 1, 8, 12)
    """

    class Config(FlowConfig):
        kind: Literal["flow_pp"] = "flow_pp"
        width: float = Field(default=48, gt=0)
        """Channels of the networks; the paper takes 96."""
        couplings: int = Field(default=4, ge=2, le=64)
        """Couplings of chessboards at full size; at half of it half as many of halves, and one less of chessboards."""
        blocks: int = Field(default=2, ge=0, le=64)
        """Gated blocks of each network; the paper takes 10."""
        attention: bool = False
        """Attention over all pixels after each block."""
        coupling: Annotated[Any, choice(Transformation, "logistic_mixture")] = LogisticMixture.Config()
        """How a number is moved: logistic_mixture, affine or additive."""
        dequantisation: Annotated[Any, choice(Dequantisation, "variational")] = Variational.Config()
        """How levels are spread: variational, uniform or gaussian."""
        alpha: float = Field(default=0.05, gt=0.0, lt=0.5)
        """How far pixels stay from 0 and 1 before the logit."""

    def check_size(self, size: Size) -> None:
        """There has to be a number that says something of another."""
        if self.spec.channels * size[0] * size[1] < 2:
            raise ConfigError(
                f"a {self.config.kind} moves numbers by others, and these images have one; give larger ones"
            )

    def layers(self) -> MultiScale:
        config, spec = self.config, self.spec
        seen = rounded(config.width / 2, 4) if spec.condition else 0
        network = partial(
            Conditioner,
            width=rounded(config.width, 1),
            middle=gated(config.blocks, config.attention),
            seen=seen,
            classes=spec.classes if self.labelled else 0,
        )

        def couplings(kind: type[Checkerboard] | type[Halves], channels: int, count: int) -> list[Invertible]:
            made = [kind(channels, build(config.coupling), network, bool(i % 2)) for i in range(count)]
            return [layer for one in made for layer in (ActNorm(channels), Mixing(channels), one)]

        half, channels = halvings(spec.size, 1), spec.channels
        ways = [
            Level([Rescale(1 + LEVEL / 2, 1 / (256 * LEVEL)), Logit(config.alpha)]),
            Level(couplings(Checkerboard if max(spec.size) > 1 else Halves, channels, config.couplings)),
        ]
        if half:
            channels *= 4
            ways.append(
                Level(
                    [
                        Squeeze(),
                        *couplings(Halves, channels, config.couplings // 2),
                        *couplings(Checkerboard, channels, config.couplings - 1),
                    ]
                )
            )
        return MultiScale(
            (spec.channels, *spec.size), ways, Seen(spec.condition, seen, half) if spec.condition else None
        )
