"""What a denoiser predicts: a slot of the diffusion families. All say the same, at another scale for each time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

from pydantic import Field
from torch import Tensor

from sfumato.config import Strict
from sfumato.images import Images
from sfumato.kinds import Kind
from sfumato.maths import diffusion


class Prediction(Kind, ABC, root=True):
    """A target for the network, and the way back from its output to the clean image."""

    def __init__(self, config: Strict):
        self.config: Any = config

    @abstractmethod
    def target(self, x_0: Images, eps: Images, alpha: Tensor, sigma: Tensor) -> Images:
        """What the network should say."""

    @abstractmethod
    def x_0(self, output: Images, x_t: Images, alpha: Tensor, sigma: Tensor) -> Images:
        """The clean image that an output means."""

    @abstractmethod
    def gain(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """How many times the squared error of the clean image that of the output is."""


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

    def gain(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The signal-to-noise ratio."""
        return (alpha / sigma) ** 2


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

    def gain(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """1."""
        return alpha.new_ones(alpha.shape)


class V(Prediction):
    """v = alpha eps - sigma x_0 (Salimans and Ho, 2022)."""

    class Config(Strict):
        kind: Literal["v"] = "v"

    def target(self, x_0: Images, eps: Images, alpha: Tensor, sigma: Tensor) -> Images:
        """v."""
        return diffusion.velocity(x_0, eps, alpha, sigma)

    def x_0(self, output: Images, x_t: Images, alpha: Tensor, sigma: Tensor) -> Images:
        """(alpha x_t - sigma v) / (alpha^2 + sigma^2)."""
        return diffusion.x_0_from_velocity(x_t, output, alpha, sigma)

    def gain(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """(alpha^2 + sigma^2)^2 / sigma^2, which is 1 + the signal-to-noise ratio where alpha^2 + sigma^2 = 1."""
        return ((alpha**2 + sigma**2) / sigma) ** 2


class Direction(Prediction):
    """u = eps - x_0: where a straight path from the image to the noise goes (flow matching)."""

    class Config(Strict):
        kind: Literal["direction"] = "direction"

    def target(self, x_0: Images, eps: Images, alpha: Tensor, sigma: Tensor) -> Images:
        """u."""
        return eps - x_0

    def x_0(self, output: Images, x_t: Images, alpha: Tensor, sigma: Tensor) -> Images:
        """(x_t - sigma u) / (alpha + sigma)."""
        return (x_t - sigma * output) / (alpha + sigma)

    def gain(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """((alpha + sigma) / sigma)^2."""
        return ((alpha + sigma) / sigma) ** 2


class Preconditioned(Prediction):
    """x_0 = c_skip x_t / alpha + c_out F: what is left for the network has variance 1 at every level of noise.

    With s = sigma / alpha and images of standard deviation d: c_skip = d^2 / (s^2 + d^2), c_out = s d / sqrt(s^2 + d^2).
    Reference: Karras et al. (2022), Elucidating the design space of diffusion-based generative models, table 1.
    """

    class Config(Strict):
        kind: Literal["preconditioned"] = "preconditioned"
        data: float = Field(default=0.5, gt=0.0)
        """Standard deviation of the images, on the scale -1 to 1."""

    def _parts(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """c_skip / alpha and c_out, without a division by alpha."""
        d = self.config.data
        whole = sigma**2 + (alpha * d) ** 2
        return alpha * d**2 / whole, sigma * d / whole.sqrt()

    def target(self, x_0: Images, eps: Images, alpha: Tensor, sigma: Tensor) -> Images:
        """F = (x_0 - c_skip x_t / alpha) / c_out."""
        skip, out = self._parts(alpha, sigma)
        return (x_0 - skip * diffusion.diffuse(x_0, eps, alpha, sigma)) / out

    def x_0(self, output: Images, x_t: Images, alpha: Tensor, sigma: Tensor) -> Images:
        """c_skip x_t / alpha + c_out F."""
        skip, out = self._parts(alpha, sigma)
        return skip * x_t + out * output

    def gain(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """1 / c_out^2."""
        return 1 / self._parts(alpha, sigma)[1] ** 2
