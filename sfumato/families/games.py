"""Games: what critic and generator want of the critic's scores; a slot of the adversarial families.

A score is a logit: the larger, the more real. Each game names the terms of the critic's loss and gives the generator's.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from sfumato.config import Strict
from sfumato.data.base import DataSpec
from sfumato.families.adversaries import Adversaries
from sfumato.families.base import Terms
from sfumato.kinds import Kind

Scores = Float[Tensor, " B"]


class Game(Kind, nn.Module, ABC, root=True):
    """Two losses on scores of real images x and made images G(z)."""

    paired: ClassVar[bool] = False
    """Whether the generator's loss looks at real images too."""
    signed: ClassVar[bool] = False
    """Whether a score above 0 means a real image; else only differences of scores mean anything."""

    def __init__(self, config: Strict):
        super().__init__()
        self.config: Any = config

    @abstractmethod
    def critic(self, real: Scores, made: Scores) -> Terms:
        """What the critic makes small."""

    @abstractmethod
    def generator(self, real: Scores | None, made: Scores) -> Tensor:
        """What the generator makes small; `real` is there in a paired game."""

    def judge(self, networks: Adversaries, spec: DataSpec, width: float, classes: int) -> nn.Module:
        """The critic that this game needs."""
        return networks.critic(spec, width, classes)


class Wasserstein(Game):
    """E C(G(z)) - E C(x) against -E C(G(z)): the dual of W_1 where a penalty keeps C 1-Lipschitz (Arjovsky et al., 2017)."""

    class Config(Strict):
        kind: Literal["wasserstein"] = "wasserstein"

    def critic(self, real: Scores, made: Scores) -> Terms:
        return {"real": -real.mean(), "made": made.mean()}

    def generator(self, real: Scores | None, made: Scores) -> Tensor:
        return -made.mean()


class Minimax(Game):
    """-E log D(x) - E log(1 - D(G(z))) against E log(1 - D(G(z))), D = sigmoid(C): the game of Goodfellow et al. (2014).

    Where the critic is sure, the generator's gradient vanishes; paper 000 prints it, nobody trains with it.
    """

    signed = True

    class Config(Strict):
        kind: Literal["minimax"] = "minimax"

    def critic(self, real: Scores, made: Scores) -> Terms:
        return {"real": F.softplus(-real).mean(), "made": F.softplus(made).mean()}

    def generator(self, real: Scores | None, made: Scores) -> Tensor:
        return -F.softplus(made).mean()


class NonSaturating(Game):
    """The same critic against -E log D(G(z)), whose gradient is large where the critic is sure (Goodfellow et al., 2014)."""

    signed = True

    class Config(Strict):
        kind: Literal["non_saturating"] = "non_saturating"

    def critic(self, real: Scores, made: Scores) -> Terms:
        return {"real": F.softplus(-real).mean(), "made": F.softplus(made).mean()}

    def generator(self, real: Scores | None, made: Scores) -> Tensor:
        return F.softplus(-made).mean()


class Hinge(Game):
    """E relu(1 - C(x)) + E relu(1 + C(G(z))) against -E C(G(z)) (Lim and Ye, 2017; Miyato et al., 2018)."""

    signed = True

    class Config(Strict):
        kind: Literal["hinge"] = "hinge"

    def critic(self, real: Scores, made: Scores) -> Terms:
        return {"real": F.relu(1 - real).mean(), "made": F.relu(1 + made).mean()}

    def generator(self, real: Scores | None, made: Scores) -> Tensor:
        return -made.mean()


class LeastSquares(Game):
    """E (C(x) - 1)^2 + E C(G(z))^2 against E (C(G(z)) - 1)^2 (Mao et al., 2017)."""

    class Config(Strict):
        kind: Literal["least_squares"] = "least_squares"

    def critic(self, real: Scores, made: Scores) -> Terms:
        return {"real": (real - 1).square().mean(), "made": made.square().mean()}

    def generator(self, real: Scores | None, made: Scores) -> Tensor:
        return (made - 1).square().mean()


class Relativistic(Game):
    """E softplus(-(C(x_i) - C(G(z_i)))) against its mirror image: each made image is judged beside a real one.

    Reference: Jolicoeur-Martineau (2019), The relativistic discriminator; Huang et al. (2024), R3GAN.
    """

    paired = True

    class Config(Strict):
        kind: Literal["relativistic"] = "relativistic"

    def critic(self, real: Scores, made: Scores) -> Terms:
        return {"pairs": F.softplus(made - real).mean()}

    def generator(self, real: Scores | None, made: Scores) -> Tensor:
        assert real is not None
        return F.softplus(real - made).mean()


class FDivergence(Game):
    """-(E g(C(x)) - E f*(g(C(G(z))))) against E g or f*: a lower bound on an f-divergence made tight, then small.

    Total variation: g = tanh(v) / 2, f*(t) = t. KL: g = v, f*(t) = exp(t - 1). Jensen-Shannon: g = log 2 - softplus(-v),
    f*(t) = -log(2 - exp(t)). Reference: Nowozin, Cseke and Tomioka (2016), f-GAN; paper 003 names the three.
    """

    class Config(Strict):
        kind: Literal["f_divergence"] = "f_divergence"
        divergence: Literal["total_variation", "kl", "jensen_shannon"] = "jensen_shannon"
        """D(data, model)."""
        saturating: bool = False
        """Give the generator the bound itself, -E f*(g(C)), which vanishes where the critic is sure; else -E g(C)."""

    def g(self, v: Scores) -> Scores:
        """The score, brought to where f* is defined."""
        forms = {
            "total_variation": lambda: 0.5 * v.tanh(),
            "kl": lambda: v,
            "jensen_shannon": lambda: math.log(2) - F.softplus(-v),
        }
        return forms[self.config.divergence]()

    def conjugate(self, v: Scores) -> Scores:
        """f*(g(v)), where Jensen-Shannon's -log(2 - 2 sigmoid(v)) is softplus(v) - log 2 without cancellation."""
        forms = {
            "total_variation": lambda: 0.5 * v.tanh(),
            "kl": lambda: torch.exp(v - 1),
            "jensen_shannon": lambda: F.softplus(v) - math.log(2),
        }
        return forms[self.config.divergence]()

    def critic(self, real: Scores, made: Scores) -> Terms:
        return {"real": -self.g(real).mean(), "made": self.conjugate(made).mean()}

    def generator(self, real: Scores | None, made: Scores) -> Tensor:
        return -self.conjugate(made).mean() if self.config.saturating else -self.g(made).mean()


class BEGAN(Game):
    """L(x) - k L(G(z)) against L(G(z)), L(v) = |v - D(v)|_1 of an autoencoder D; k keeps E L(G) at gamma E L(x).

    The score is -L. k <- k + rate (gamma L(x) - L(G(z))), in [0, 1]; L(x) + |gamma L(x) - L(G)| falls as the training
    converges and is among the losses. Reference: Berthelot, Schumm and Metz (2017), BEGAN: boundary equilibrium GANs.
    """

    class Config(Strict):
        kind: Literal["began"] = "began"
        gamma: float = Field(default=0.5, gt=0.0, le=1.0)
        """Diversity: the ratio of the two errors that is held."""
        rate: float = Field(default=1e-3, gt=0.0)
        """lambda_k of the paper, how fast k moves."""
        code: int = Field(default=64, ge=1)
        """Length of the autoencoder's code."""

    k: Tensor

    def __init__(self, config: Strict):
        super().__init__(config)
        self.register_buffer("k", torch.zeros(()))

    def critic(self, real: Scores, made: Scores) -> Terms:
        loss = {"real": -real.mean(), "made": self.k.clone() * made.mean()}
        with torch.no_grad():
            balance = self.config.gamma * -real.float().mean() + made.float().mean()
            self.k.add_(self.config.rate * balance).clamp_(0.0, 1.0)
        return loss

    def generator(self, real: Scores | None, made: Scores) -> Tensor:
        return -made.mean()

    def judge(self, networks: Adversaries, spec: DataSpec, width: float, classes: int) -> nn.Module:
        """An autoencoder whose error is the score."""
        return networks.recoder(spec, width, self.config.code, classes)
