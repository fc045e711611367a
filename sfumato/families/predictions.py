"""What a denoiser predicts: a slot of the diffusion families. All three say the same, at another scale for each time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from torch import Tensor

from sfumato.config import Strict
from sfumato.images import Images
from sfumato.kinds import Kind
from sfumato.maths import diffusion


class Prediction(Kind, ABC, root=True):
    """A target for the network, and the way back from its output to the clean image."""

    def __init__(self, config: Strict):
        self.config = config

    @abstractmethod
    def target(self, x_0: Images, eps: Images, alpha: Tensor, sigma: Tensor) -> Images:
        """What the network should say."""

    @abstractmethod
    def x_0(self, output: Images, x_t: Images, alpha: Tensor, sigma: Tensor) -> Images:
        """The clean image that an output means."""


class Eps(Prediction):
    """The noise eps (Ho, Jain and Abbeel, 2020)."""

    class Config(Strict):
        kind: Literal["eps"] = "eps"

    def target(self, x_0: Images, eps: Images, alpha: Tensor, sigma: Tensor) -> Images:
        """eps."""
        return eps

    def x_0(self, output: Images, x_t: Images, alpha: Tensor, sigma: Tensor) -> Images:
        """(x_t - sigma eps) / alpha."""
        return diffusion.x_0_from_eps(x_t, output, alpha, sigma)


class X0(Prediction):
    """The clean image x_0 itself: well behaved in few steps and few parameters."""

    class Config(Strict):
        kind: Literal["x0"] = "x0"

    def target(self, x_0: Images, eps: Images, alpha: Tensor, sigma: Tensor) -> Images:
        """x_0."""
        return x_0

    def x_0(self, output: Images, x_t: Images, alpha: Tensor, sigma: Tensor) -> Images:
        """The output."""
        return output


class V(Prediction):
    """v = alpha eps - sigma x_0 (Salimans and Ho, 2022)."""

    class Config(Strict):
        kind: Literal["v"] = "v"

    def target(self, x_0: Images, eps: Images, alpha: Tensor, sigma: Tensor) -> Images:
        """v."""
        return diffusion.velocity(x_0, eps, alpha, sigma)

    def x_0(self, output: Images, x_t: Images, alpha: Tensor, sigma: Tensor) -> Images:
        """alpha x_t - sigma v."""
        return diffusion.x_0_from_velocity(x_t, output, alpha, sigma)
