"""Blur: laws of blur kernels, and the operator that convolves with them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, final

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from sfumato.config import Strict
from sfumato.data.pictures import Places
from sfumato.images import Images, Known, Size
from sfumato.kinds import Kind
from sfumato.streams import Rngs, uniforms
from sfumato.tasks.base import Operator

LEAST = 0.05  # gains below it are taken as 0, so that no inverse multiplies by more than 20


class BlurLaw(Kind, ABC, root=True):
    """How kernels are drawn, as their gain at each frequency: real, 1 at frequency 0."""

    def __init__(self, config: Strict):
        self.config: Any = config

    @abstractmethod
    def numbers(self) -> int:
        """How many uniform numbers one kernel takes."""

    @abstractmethod
    def gain(self, u: Float[Tensor, "B k"], down: Tensor, across: Tensor) -> Float[Tensor, "B H W"]:
        """The gain at frequencies (cycles a pixel) of rows [H, 1] and of columns [1, W]."""

    @final
    def draw(self, rngs: Rngs, n: int, size: Size) -> Float[Tensor, "n 1 H W"]:
        """Kernels of n images, their centres at place (0, 0) and going round the borders."""
        u = uniforms(rngs, n, self.numbers())
        rows, columns = size
        down = torch.fft.fftfreq(rows, dtype=torch.float64, device=u.device)[:, None]
        across = torch.fft.rfftfreq(columns, dtype=torch.float64, device=u.device)[None]
        gain = self.gain(u.double(), down, across).expand(n, -1, -1)
        return torch.fft.irfft2(gain, s=size)[:, None]


class Gaussian(BlurLaw):
    """A Gaussian kernel: gain exp(-2 pi^2 sigma^2 |f|^2)."""

    class Config(Strict):
        kind: Literal["gaussian"] = "gaussian"
        sigma: float = Field(default=1.5, gt=0.0)
        """Standard deviation of the kernel in pixels."""

    def numbers(self) -> int:
        """None."""
        return 0

    def gain(self, u: Float[Tensor, "B 0"], down: Tensor, across: Tensor) -> Float[Tensor, "B H W"]:
        """Alike for every image."""
        return (-2 * (math.pi * self.config.sigma) ** 2 * (down**2 + across**2)).exp()[None]


class Motion(BlurLaw):
    """A straight motion in a random direction while the shutter is open: gain sinc(length f . direction)."""

    class Config(Strict):
        kind: Literal["motion"] = "motion"
        length: float = Field(default=7.0, gt=0.0)
        """Length of the way in pixels."""

    def numbers(self) -> int:
        """The direction."""
        return 1

    def gain(self, u: Float[Tensor, "B 1"], down: Tensor, across: Tensor) -> Float[Tensor, "B H W"]:
        """An angle for each image."""
        angle = (math.pi * u[:, 0])[:, None, None]
        return torch.sinc(self.config.length * (down * angle.sin() + across * angle.cos()))


class Blur(Operator):
    """A x = kernel * x, a convolution that goes round the borders; frequencies of a gain below 1/20 are lost altogether.

    That they are lost, and not only faint, makes A+ exact and bounded; left in, they would return as amplified rounding.
    """

    blurs: ClassVar[bool] = True

    def __init__(self, kernel: Float[Tensor, "n 1 H W"]):
        self.n, self.kernel = len(kernel), kernel
        self.known: Known = torch.zeros(1, 1, *kernel.shape[2:], device=kernel.device).expand(len(kernel), -1, -1, -1)
        gain = torch.fft.rfft2(kernel)
        heard = gain.abs() >= LEAST
        self._gain = torch.where(heard, gain, 0).to(torch.complex64)
        self._back = torch.where(heard, 1 / torch.where(heard, gain, 1), 0).to(torch.complex64)

    def _filtered(self, x: Images, gain: Tensor) -> Images:
        x = x if x.dtype == torch.float64 else x.float()
        return torch.fft.irfft2(torch.fft.rfft2(x) * gain, s=self.size)

    def forward(self, x: Images) -> Images:
        """The blurred images."""
        return self._filtered(x, self._gain)

    def pinv(self, y: Images) -> Images:
        """The images with every frequency that was heard put right."""
        return self._filtered(y, self._back)

    def adjoint(self, y: Images) -> Images:
        return self._filtered(y, self._gain.conj())

    def preview(self, y: Images) -> Images:
        """The blurred images as they are."""
        return y

    def pick(self, places: Places) -> Blur:
        return Blur(self.kernel[places])

    def to(self, device: str | torch.device) -> Blur:
        return Blur(self.kernel.to(device))
