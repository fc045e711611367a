"""RealNVP: affine couplings in chessboards and halves of channels, at several scales."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from sfumato.families.flow import Flow, FlowConfig, halvings, require_halves
from sfumato.images import Size
from sfumato.kinds import build, choice
from sfumato.networks.couplings import Halves, residual
from sfumato.networks.invertible import ActNorm, Diagonals, Invertible, Logit, Rescale, Squeeze
from sfumato.networks.multi_scale import Level, MultiScale
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
        require_halves(self.spec.channels, size, self.config.kind, self.config.levels)

    def layers(self) -> MultiScale:
        config, spec, edge = self.config, self.spec, 1 + self.dequantisation.reach
        levels = halvings(spec.size, config.levels)
        channels, width = spec.channels, config.width

        def couplings() -> list[Invertible]:
            making = self.conditioner(residual(config.blocks), width)
            made = [Halves(channels, build(config.coupling), making, bool(i % 2)) for i in range(config.couplings)]
            return [layer for one in made for layer in (one, ActNorm(channels))]

        ways: list[Level] = [Level([Rescale(edge, 0.5 / edge), Logit(config.alpha)])]
        for _ in range(levels):
            channels *= 4
            board = [Diagonals(channels), *couplings(), Diagonals(channels, back=True)]
            ways.append(Level([Squeeze(), *board, *couplings()], leaves=True))
            channels, width = channels // 2, 2 * width
        ways.append(Level(couplings()))
        return self.multi_scale(ways)
