"""RealNVP: affine couplings in chessboards and halves of channels, at several scales."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field

from sfumato.families.flow import Flow, FlowConfig, halvings, require_halving
from sfumato.images import Size
from sfumato.kinds import build, choice
from sfumato.networks.couplings import Conditioner, Halves, residual
from sfumato.networks.invertible import ActNorm, Diagonals, Invertible, Logit, Rescale, Squeeze
from sfumato.networks.layers import rounded
from sfumato.networks.multi_scale import Level, MultiScale, Seen
from sfumato.networks.transformations import Affine, Transformation


class RealNVP(Flow):
    """At each scale squares of 2 x 2 become channels, then couplings of chessboards and of halves; then half of them leaves.

    Pixels are taken to all numbers first, logit(alpha + (1 - 2 alpha) x). A chessboard is the two diagonals of each square, so
    that its networks look at a quarter of the pixels that masks would show them. ActNorm stands where the paper has batch
    normalisation, whose statistics differ between training and use.
    Reference: Dinh, Sohl-Dickstein and Bengio (2017), Density estimation using Real NVP.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = RealNVP(RealNVP.Config(width=8), DataSpec(channels=1, size=(8, 12)))
        >>> tuple(model.sample(2, rng=stream(0, "sample")).shape)
        (2, 1, 8, 12)
    """

    class Config(FlowConfig):
        kind: Literal["realnvp"] = "realnvp"
        width: float = Field(default=16, gt=0)
        """Channels of the networks that say how numbers are moved; the paper takes 32, and twice as many at each scale."""
        levels: int = Field(default=2, ge=0, le=8)
        """Scales beside the last; fewer where an image cannot be halved so often."""
        couplings: int = Field(default=3, ge=1, le=64)
        """Couplings of chessboards and of halves at each scale, and of halves after the last."""
        blocks: int = Field(default=2, ge=0, le=64)
        """Residual blocks of each network; the paper takes 4 to 8."""
        coupling: Annotated[Any, choice(Transformation, "affine")] = Affine.Config()
        """How a number is moved: affine, additive or logistic_mixture."""
        alpha: float = Field(default=0.05, gt=0.0, lt=0.5)
        """How far pixels stay from 0 and 1 before the logit."""

    def check_size(self, size: Size) -> None:
        """An image has to be halved once, or to have channels that can say something of each other."""
        if self.spec.channels < 2:
            require_halving(size, self.config.kind)

    def layers(self) -> MultiScale:
        config, spec, edge = self.config, self.spec, 1 + self.dequantisation.reach
        levels = halvings(spec.size, config.levels)
        seen = rounded(config.width / 2, 4) if spec.condition else 0
        channels, width = spec.channels, config.width

        def network(inputs: int, outputs: int, width: float) -> Conditioner:
            classes = spec.classes if self.labelled else 0
            return Conditioner(inputs, outputs, rounded(width, 1), residual(config.blocks), seen=seen, classes=classes)

        def couplings() -> list[Invertible]:
            making = partial(network, width=width)
            made = [Halves(channels, build(config.coupling), making, bool(i % 2)) for i in range(config.couplings)]
            return [layer for one in made for layer in (one, ActNorm(channels))]

        ways: list[Level] = [Level([Rescale(edge, 0.5 / edge), Logit(config.alpha)])]
        for _ in range(levels):
            channels *= 4
            board = [Diagonals(channels), *couplings(), Diagonals(channels, back=True)]
            ways.append(Level([Squeeze(), *board, *couplings()], leaves=True))
            channels, width = channels // 2, 2 * width
        ways.append(Level(couplings()))
        return MultiScale(
            (spec.channels, *spec.size), ways, Seen(spec.condition, seen, levels) if spec.condition else None
        )
