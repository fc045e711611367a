"""What steadies a critic: a slot of the adversarial families, with three hooks, one for each place where it can act."""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from sfumato.config import Strict
from sfumato.errors import ConfigError
from sfumato.families.base import Terms
from sfumato.images import Images
from sfumato.kinds import Kind

Score = Callable[[Images], Float[Tensor, " B"]]


class Penalty(Kind, nn.Module, ABC, root=True):
    """`wrap` the critic once, add a `penalty` to its loss, and do something `after` its weights moved."""

    def __init__(self, config: Strict):
        super().__init__()
        self.config: Any = config

    @property
    def of_real(self) -> bool:
        """Whether it needs no made images."""
        return getattr(self.config, "on", "both") == "real"

    @property
    def every(self) -> int:
        """On which of the critic's turns it is added, counting so many times; 1 where settings say nothing."""
        return int(getattr(self.config, "every", 1))

    def wrap(self, critic: nn.Module) -> nn.Module:
        """The critic, changed where the method lives in its layers."""
        return critic

    def penalty(self, critic: Score, real: Images, made: Images, rng: Generator, progress: float = 0.0) -> Terms:
        """Terms to add to the critic's loss; `progress` is the share of the budget that is spent."""
        return {}

    def after(self, critic: nn.Module) -> None:
        """Run after each of the critic's turns."""


class Clip(Penalty):
    """Clamp every weight to [-limit, limit] after each turn.

    Reference: Arjovsky, Chintala and Bottou (2017), Wasserstein GAN, who call it a clearly terrible way.
    """

    class Config(Strict):
        kind: Literal["clip"] = "clip"
        limit: float = Field(default=0.01, gt=0.0)
        """Largest absolute value of a weight."""

    def after(self, critic: nn.Module) -> None:
        """Clamp."""
        with torch.no_grad():
            for parameter in critic.parameters():
                parameter.clamp_(-self.config.limit, self.config.limit)


class GradientPenalty(Penalty):
    """weight E[(|grad C(x-hat)| - 1)^2] at random points between real and made images.

    Reference: Gulrajani et al. (2017), Improved training of Wasserstein GANs.
    """

    class Config(Strict):
        kind: Literal["gradient_penalty"] = "gradient_penalty"
        weight: float = Field(default=10.0, gt=0.0)
        """lambda of the paper."""

    def penalty(self, critic: Score, real: Images, made: Images, rng: Generator, progress: float = 0.0) -> Terms:
        """The squared distance of the slope from 1."""
        mix = torch.rand(len(real), 1, 1, 1, generator=rng, device=real.device)
        slope = slope_of(critic, torch.lerp(made, real, mix))
        # The tiny constant keeps the derivative of the root finite where the slope is exactly 0.
        norm = (slope.flatten(1).square().sum(1) + 1e-12).sqrt()
        return {"penalty": self.config.weight * (norm - 1).square().mean()}


class Drift(Penalty):
    """weight E C(x)^2 of real images: scores that only differences count of stay near 0 (Karras et al., 2018)."""

    class Config(Strict):
        kind: Literal["drift"] = "drift"
        weight: float = Field(default=1e-3, gt=0.0)
        """epsilon of the paper."""

    def penalty(self, critic: Score, real: Images, made: Images, rng: Generator, progress: float = 0.0) -> Terms:
        """The mean square of the scores."""
        return {"drift": self.config.weight * critic(real).square().mean()}


class SpectralNorm(Penalty):
    """Divide each weight by its largest singular value, estimated by one power iteration a forward pass.

    Reference: Miyato et al. (2018), Spectral normalization for generative adversarial networks.
    """

    class Config(Strict):
        kind: Literal["spectral_norm"] = "spectral_norm"

    def wrap(self, critic: nn.Module) -> nn.Module:
        """Re-parametrise every convolution and linear layer."""
        layers = [module for module in critic.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
        if not layers:
            raise ConfigError(
                "spectral_norm finds no plain layer: those of equal rates have a size of their own; leave it out"
            )
        for layer in layers:
            spectral_norm(layer)
        return critic


class ZeroCentred(Penalty):
    """gamma / 2 (E |grad C(x)|^2 + E |grad C(G(z))|^2): R1 on real images, R2 on made ones, at every turn.

    R1 alone leaves relativistic and classic games diverging on many modes; with R2 both converge (Huang et al., 2024).
    gamma does not carry over between networks and sizes, and falls along half a cosine from `gamma` to `gamma_end`.
    Reference: Mescheder et al. (2018), Which training methods for GANs do actually converge?; Huang et al. (2024), The GAN is
    dead; long live the GAN! (R3GAN).
    """

    class Config(Strict):
        kind: Literal["zero_centred"] = "zero_centred"
        gamma: float = Field(default=0.5, ge=0.0)
        """Weight at the beginning."""
        gamma_end: float | None = Field(default=None, ge=0.0)
        """Weight at the end of the budget; a tenth of `gamma` where left out."""
        on: Literal["both", "real", "made"] = "both"
        """real is R1 alone, made R2 alone."""
        every: int = Field(default=1, ge=1)
        """Lazily: on each n-th turn of the critic, n times as strongly (Karras et al., 2020: 16)."""

    def gamma(self, progress: float) -> float:
        """The weight when a share of the budget is spent."""
        start, end = self.config.gamma, self.config.gamma_end
        end = start / 10 if end is None else end
        return float(end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))

    def penalty(self, critic: Score, real: Images, made: Images, rng: Generator, progress: float = 0.0) -> Terms:
        """One term a side, so that the losses show the slope on each."""
        sides = {"r1": (real, "made"), "r2": (made, "real")}
        half = self.gamma(progress) / 2
        return {
            name: half * slope_of(critic, x).flatten(1).square().sum(1).mean()
            for name, (x, other) in sides.items()
            if self.config.on != other
        }


class LeCam(Penalty):
    """weight (E relu(C(x) - a_made)^2 + E relu(a_real - C(G(z)))^2), a the running means of the scores of the other side.

    It keeps a critic that sees few images from pulling their scores far above what it gives made ones. The weight goes with
    the scale of the scores.
    Reference: Tseng et al. (2021), Regularizing generative adversarial networks under limited data.
    """

    class Config(Strict):
        kind: Literal["lecam"] = "lecam"
        weight: float = Field(default=0.3, gt=0.0)
        """lambda of the paper: 0.3 for BigGAN's hinge scores."""
        decay: float = Field(default=0.9, ge=0.0, lt=1.0)
        """Of the running means."""
        begin: float = Field(default=0.05, ge=0.0, lt=1.0)
        """Share of the budget after which it acts; the means begin before."""

    real: Tensor
    made: Tensor

    def __init__(self, config: Strict):
        super().__init__(config)
        for name in ("real", "made"):
            self.register_buffer(name, torch.zeros(()))

    def penalty(self, critic: Score, real: Images, made: Images, rng: Generator, progress: float = 0.0) -> Terms:
        """0 until it begins; the running means move at each call."""
        scores = critic(real), critic(made)
        with torch.no_grad():
            for mean, score in zip((self.real, self.made), scores, strict=True):
                mean.lerp_(score.float().mean(), 1 - self.config.decay)
        apart = F.relu(scores[0] - self.made).square().mean() + F.relu(self.real - scores[1]).square().mean()
        return {"lecam": (self.config.weight if progress >= self.config.begin else 0.0) * apart}


def slope_of(critic: Score, x: Images) -> Images:
    """The gradient of an image's score with respect to its pixels, itself differentiable."""
    x = x.detach().requires_grad_(True)
    # The view keeps the leaf out of the graph's hooks: torch's FLOP counter refuses one inside autograd.grad.
    (slope,) = torch.autograd.grad(critic(x.view_as(x)).sum(), x, create_graph=True)
    return slope
