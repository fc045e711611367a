"""How a critic is kept 1-Lipschitz: a slot of the Wasserstein families, with three hooks, one for each way."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from sfumato.config import Strict
from sfumato.families.base import Terms
from sfumato.images import Images
from sfumato.kinds import Kind

Score = Callable[[Images], Float[Tensor, " B"]]


class Lipschitz(Kind, ABC, root=True):
    """`wrap` the critic once, add a `penalty` to its loss, and do something `after` its weights moved."""

    def __init__(self, config: Strict):
        self.config: Any = config

    def wrap(self, critic: nn.Module) -> nn.Module:
        """The critic, changed where the method lives in its layers."""
        return critic

    def penalty(self, critic: Score, real: Images, made: Images, rng: Generator) -> Terms:
        """Terms to add to the critic's loss."""
        return {}

    def after(self, critic: nn.Module) -> None:
        """Run after each of the critic's turns."""


class Clip(Lipschitz):
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


class GradientPenalty(Lipschitz):
    """weight E[(|grad C(x-hat)| - 1)^2] at random points between real and made images.

    Reference: Gulrajani et al. (2017), Improved training of Wasserstein GANs.
    """

    class Config(Strict):
        kind: Literal["gradient_penalty"] = "gradient_penalty"
        weight: float = Field(default=10.0, gt=0.0)
        """lambda of the paper."""

    def penalty(self, critic: Score, real: Images, made: Images, rng: Generator) -> Terms:
        """The squared distance of the slope from 1."""
        mix = torch.rand(len(real), 1, 1, 1, generator=rng, device=real.device)
        between = torch.lerp(made, real, mix).requires_grad_(True)
        # The view keeps the leaf out of the graph's hooks: torch's FLOP counter refuses one inside autograd.grad.
        (slope,) = torch.autograd.grad(critic(between.view_as(between)).sum(), between, create_graph=True)
        # The tiny constant keeps the derivative of the root finite where the slope is exactly 0.
        norm = (slope.flatten(1).square().sum(1) + 1e-12).sqrt()
        return {"penalty": self.config.weight * (norm - 1).square().mean()}


class SpectralNorm(Lipschitz):
    """Divide each weight by its largest singular value, estimated by one power iteration a forward pass.

    Reference: Miyato et al. (2018), Spectral normalization for generative adversarial networks.
    """

    class Config(Strict):
        kind: Literal["spectral_norm"] = "spectral_norm"

    def wrap(self, critic: nn.Module) -> nn.Module:
        """Re-parametrise every convolution and linear layer."""
        for module in list(critic.modules()):
            if isinstance(module, nn.Conv2d | nn.Linear):
                spectral_norm(module)
        return critic
