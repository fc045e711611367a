"""Dequantisation: how images of 256 levels are spread to continuous ones, of which a flow has a density."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from sfumato.config import Strict
from sfumato.families.simple_laws import Normal
from sfumato.images import LEVEL, Images
from sfumato.kinds import Kind
from sfumato.networks.condition import Condition
from sfumato.networks.couplings import Checkerboard, Conditioner, residual
from sfumato.networks.layers import rounded
from sfumato.networks.transformations import Affine
from sfumato.streams import Rngs, normals, uniforms

Spread = tuple[Images, Float[Tensor, " B"]]
"""Images y, and what log p(y) has to be corrected by to be (a bound of) the log density of one level, in nats."""


class Dequantisation(Kind, nn.Module, ABC, root=True):
    """log P(x) >= E log p(y) - log q(y | x): what is drawn for y, and the rest of the bound."""

    exact: ClassVar[bool] = False
    """Whether log p is taken at continuous images as they are; else a bound is drawn for images on the 8-bit grid."""

    def __init__(self, config: Strict):
        super().__init__()
        self.config: Any = config

    @property
    def reach(self) -> float:
        """How far beyond [-1, 1] it may spread a level."""
        return LEVEL / 2

    def connect(self, channels: int, width: float) -> None:
        """Make the networks, if there are any."""

    @abstractmethod
    def spread(self, x: Images, rng: Rngs) -> Spread:
        """Of images on the 8-bit grid."""

    def cleaned(self, y: Images, log_density: Callable[[Images], Float[Tensor, " B"]]) -> Images:
        """What a drawn y is the spread of."""
        return y


class Uniform(Dequantisation):
    """y = x + u - 1/2 levels, u uniform (Uria, Murray and Larochelle, 2013)."""

    class Config(Strict):
        kind: Literal["uniform"] = "uniform"

    exact = True

    def spread(self, x: Images, rng: Rngs) -> Spread:
        return x + (uniforms(rng, *x.shape) - 0.5) * LEVEL, x.new_zeros(len(x))


class GaussianNoise(Dequantisation):
    """y = x + sigma eps; what was drawn is cleaned by one step, E[x | y] = y + sigma^2 grad log p(y).

    The bound takes x given y with odds N(y; x, sigma^2) among the 256 levels: log P(x) >= E log p(y) - sum log sum_x' N(y; x').
    Reference: Zhai et al. (2024), Normalizing flows are capable generative models (TarFlow); Miyasawa (1961) for the step.
    """

    class Config(Strict):
        kind: Literal["gaussian"] = "gaussian"
        sigma: float = Field(default=0.05, ge=LEVEL)
        """Standard deviation on the scale of images, -1 to 1; a level of 255 at least."""

    @property
    def reach(self) -> float:
        """Eight standard deviations, which no pixel of 10^14 passes."""
        return 8.0 * float(self.config.sigma)

    def spread(self, x: Images, rng: Rngs) -> Spread:
        sigma = self.config.sigma
        y = x + sigma * normals(rng, *x.shape)
        # LEVEL sum_x' N(y; x', sigma^2) is the mass of N(y, sigma^2) over all bins: to 1e-8 within,
        # and three sigma beyond the ends to 1 % at the default sigma and a third at sigma = LEVEL
        edge, root = 1 + LEVEL / 2, sigma * math.sqrt(2)
        mass = 0.5 * (torch.erf((edge - y) / root) + torch.erf((edge + y) / root))
        return y, -mass.clamp(min=1e-30).log().flatten(1).sum(1)

    def cleaned(self, y: Images, log_density: Callable[[Images], Float[Tensor, " B"]]) -> Images:
        with torch.enable_grad():
            y = y.detach().requires_grad_()
            (slope,) = torch.autograd.grad(log_density(y).sum(), y)
        return y.detach() + self.config.sigma**2 * slope


class Variational(Dequantisation):
    """y = x + u - 1/2 levels, u = sigmoid(f(eps; x)), f a flow that is told x: the noise that suits the density.

    Reference: Ho, Chen, Srinivas, Duan and Abbeel (2019), Flow++, section 3.1.
    """

    class Config(Strict):
        kind: Literal["variational"] = "variational"
        couplings: int = Field(default=4, ge=1, le=64)
        """Couplings of the noise's flow."""
        share: float = Field(default=0.5, gt=0.0)
        """Width of its networks, as a share of the flow's own."""

    def connect(self, channels: int, width: float) -> None:
        inner = rounded(width * self.config.share)
        self.look = nn.Sequential(
            nn.Conv2d(channels, inner, 3, padding=1), nn.SiLU(), nn.Conv2d(inner, inner, 3, padding=1)
        )

        def network(inputs: int, outputs: int) -> nn.Module:
            return Conditioner(inputs, outputs, inner, residual(1), seen=inner)

        self.flow = nn.ModuleList(
            Checkerboard(channels, Affine(Affine.Config()), network, bool(i % 2)) for i in range(self.config.couplings)
        )

    def spread(self, x: Images, rng: Rngs) -> Spread:
        eps = normals(rng, *x.shape)
        told = Condition(self.look(x))
        v, change = eps, x.new_zeros(len(x))
        for layer in self.flow:
            v, one = layer(v, told)
            change = change + one
        odds = Normal(Normal.Config()).log_prob(eps.flatten(1)) - change
        odds = odds - (F.logsigmoid(v) + F.logsigmoid(-v)).flatten(1).sum(1)
        return x + (torch.sigmoid(v) - 0.5) * LEVEL, -odds
