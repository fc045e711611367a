"""NICE: additive couplings between the even and the odd pixels of an image, told by networks of vectors."""

from __future__ import annotations

import math
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field

from sfumato.errors import ConfigError
from sfumato.families.flow import Flow, FlowConfig
from sfumato.families.simple_laws import Logistic, SimpleLaw
from sfumato.images import Size
from sfumato.kinds import build, choice
from sfumato.networks.couplings import Conditioner, Halves, dense
from sfumato.networks.invertible import ActNorm, Rows
from sfumato.networks.layers import rounded
from sfumato.networks.multi_scale import Flat, Level, MultiScale
from sfumato.networks.transformations import Additive, Transformation


class NICE(Flow):
    """z = exp(s) (couplings of (x_even, x_odd)): each half in turn is moved by a network of the other, then all are scaled.

    The scaling has a shift too, set from the first images (ActNorm), which the paper's has not. Images have more latent
    numbers than their laws have dimensions; the scales say which count.
    Reference: Dinh, Krueger and Bengio (2015), NICE: Non-linear independent components estimation.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = NICE(NICE.Config(width=8), DataSpec(channels=1, size=(8, 12)))
        >>> tuple(model.sample(2, rng=stream(0, "sample")).shape)
        (2, 1, 8, 12)
    """

    class Config(FlowConfig):
        kind: Literal["nice"] = "nice"
        width: float = Field(default=256, gt=0)
        """Numbers in the hidden layers; the paper takes 1000 for MNIST. Parity solves for it."""
        couplings: int = Field(default=4, ge=1, le=256)
        """Couplings, each moving the half that the one before told it by."""
        layers: int = Field(default=3, ge=0, le=64)
        """Hidden layers of each network beside the first."""
        coupling: Annotated[Any, choice(Transformation, "additive")] = Additive.Config()
        """How a number is moved: additive, as in the paper, affine or logistic_mixture."""
        base: Annotated[Any, choice(SimpleLaw, "logistic")] = Logistic.Config()
        """The law that images are moved to: logistic, as in the paper for most data, or normal."""

    def check_size(self, size: Size) -> None:
        """There has to be a number that says something of another."""
        if self.spec.channels * size[0] * size[1] < 2:
            raise ConfigError("a nice moves numbers by others, and these images have one; give larger ones")

    def layers(self) -> MultiScale:
        config, spec = self.config, self.spec
        shape = spec.channels, *spec.size
        network = partial(
            Conditioner,
            width=rounded(config.width, 1),
            middle=dense(config.layers),
            kernel=1,
            seen=spec.condition * math.prod(spec.size),
            classes=spec.classes if self.labelled else 0,
        )
        d = math.prod(shape)
        couplings = [Halves(d, build(config.coupling), network, bool(i % 2)) for i in range(config.couplings)]
        return MultiScale(shape, [Level([Rows(shape), *couplings, ActNorm(d)])], Flat() if spec.condition else None)
