"""How much each level of noise counts in a denoiser's loss: a slot of the diffusion families."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from sfumato.config import Strict
from sfumato.images import Images
from sfumato.kinds import Kind
from sfumato.networks.layers import sinusoidal

Level = Float[Tensor, " B"]


class Weighting(Kind, nn.Module, ABC, root=True):
    """w(snr), mostly, on the squared error of the clean image; snr = (alpha / sigma)^2."""

    def __init__(self, config: Strict):
        super().__init__()
        self.config: Any = config

    @abstractmethod
    def weighted(self, error: Images, snr: Level, gain: Level) -> Images:
        """The squared error of an output, `gain` times that of x_0, with its weight."""


class Even(Weighting):
    """Every output counts as much, whatever it predicts: w = gain. Of eps it is L_simple, of EDM's output EDM's weight."""

    class Config(Strict):
        kind: Literal["even"] = "even"

    def weighted(self, error: Images, snr: Level, gain: Level) -> Images:
        return error


class Simple(Weighting):
    """w = snr: the squared error of eps, whatever is predicted (L_simple of Ho, Jain and Abbeel, 2020)."""

    class Config(Strict):
        kind: Literal["simple"] = "simple"

    def weighted(self, error: Images, snr: Level, gain: Level) -> Images:
        return times(error, snr / gain)


class MinSNR(Weighting):
    """w = min(snr, gamma): levels with hardly any noise, where nothing is left to be learnt, do not crowd out the others.

    Reference: Hang et al. (2023), Efficient diffusion training via min-SNR weighting strategy.
    """

    class Config(Strict):
        kind: Literal["min_snr"] = "min_snr"
        gamma: float = Field(default=5.0, gt=0.0)
        """The largest weight."""
        soft: bool = False
        """gamma snr / (gamma + snr) in its place, which has no corner."""

    def weighted(self, error: Images, snr: Level, gain: Level) -> Images:
        gamma = self.config.gamma
        return times(error, (gamma * snr / (gamma + snr) if self.config.soft else snr.clamp(max=gamma)) / gain)


class P2(Weighting):
    """w = snr / (k + snr)^gamma: levels at which contents are decided count, imperceptible detail does not.

    Reference: Choi et al. (2022), Perception prioritized training of diffusion models.
    """

    class Config(Strict):
        kind: Literal["p2"] = "p2"
        gamma: float = Field(default=1.0, ge=0.0)
        """How much less detail counts; 0 is `simple`."""
        k: float = Field(default=1.0, gt=0.0)
        """Where that begins."""

    def weighted(self, error: Images, snr: Level, gain: Level) -> Images:
        return times(error, snr / (self.config.k + snr) ** self.config.gamma / gain)


class Power(Weighting):
    """lambda = sigma^power on the squared error of the score, where alpha = 1: w = sigma^(power - 4).

    Reference: Song and Ermon (2019), Generative modeling by estimating gradients of the data distribution, section 4.2.
    """

    class Config(Strict):
        kind: Literal["power"] = "power"
        power: float = Field(default=2.0, ge=0.0, le=8.0)
        """2: every level counts alike; 0: the score itself, so that the softest level is all that counts."""

    def weighted(self, error: Images, snr: Level, gain: Level) -> Images:
        return times(error, snr ** (2 - self.config.power / 2) / gain)


class Learned(Weighting):
    """error / e^u + u, u(snr) learnt: every level counts by how well it can be done.

    Reference: Karras et al. (2024), Analyzing and improving the training dynamics of diffusion models, equation 21.
    """

    class Config(Strict):
        kind: Literal["learned"] = "learned"
        numbers: int = Field(default=64, ge=4)
        """Length of what a level is told as."""

    def __init__(self, config: Strict):
        super().__init__(config)
        self.line = nn.Linear(self.config.numbers, 1)
        nn.init.zeros_(self.line.weight)
        nn.init.zeros_(self.line.bias)

    def weighted(self, error: Images, snr: Level, gain: Level) -> Images:
        place = torch.sigmoid(snr.log() / 4).float()  # from all levels to (0, 1)
        u = self.line(sinusoidal(place, self.config.numbers)).view(-1, 1, 1, 1)
        weighted: Tensor = error * (-u).exp() + u
        return weighted


def times(error: Images, weight: Level) -> Images:
    """Each image's error by its weight."""
    return error * weight.to(error.dtype).view(-1, 1, 1, 1)
