"""Flow++: couplings by the distribution functions of logistic mixtures, and learnt noise in place of uniform noise."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from sfumato.families.dequantisation import Dequantisation, Variational
from sfumato.families.flow import Flow, FlowConfig, halvings, require_halves
from sfumato.images import Size
from sfumato.kinds import build, choice
from sfumato.networks.couplings import Halves, gated
from sfumato.networks.invertible import ActNorm, Diagonals, Invertible, Logit, Mixing, Rescale, Squeeze
from sfumato.networks.multi_scale import Level, MultiScale
from sfumato.networks.transformations import LogisticMixture, Transformation


class FlowPP(Flow):
    """Squares of 2 x 2 become channels; couplings of chessboards, then of halves of W x, each after ActNorm.

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
        """Couplings of chessboards, and as many of halves of mixed channels."""
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
        """An image has to be halved once, or to have channels that can say something of each other."""
        require_halves(self.spec.channels, size, self.config.kind)

    def layers(self) -> MultiScale:
        config, spec, edge = self.config, self.spec, 1 + self.dequantisation.reach
        network = self.conditioner(gated(config.blocks, config.attention), config.width)

        half, channels = halvings(spec.size, 1), spec.channels * 4 ** halvings(spec.size, 1)

        def couplings(count: int, mixed: bool) -> list[Invertible]:
            layers: list[Invertible] = []
            for i in range(count):
                layers += [ActNorm(channels), *([Mixing(channels)] if mixed else [])]
                layers.append(Halves(channels, build(config.coupling), network, bool(i % 2)))
            return layers

        board: list[Invertible] = [Squeeze(), Diagonals(channels)] if half else []
        ways = [
            Level([Rescale(edge, 0.5 / edge), Logit(config.alpha)]),
            Level([*board, *couplings(config.couplings, mixed=False), *couplings(config.couplings, mixed=True)]),
        ]
        return self.multi_scale(ways)
