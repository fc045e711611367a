"""The parts of the progressive and style networks: layers of equal rates, pixel norm, the deviation over a batch."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.networks.layers import Maps

SLOPE = 0.2  # of LeakyReLU
GAIN = math.sqrt(2)  # after it, so that what N(0, 1) maps come in keep their size


class Equalised(nn.Module):
    """w = rate v / sqrt(fan in), v ~ N(0, 1): all weights are learnt on one scale, whatever their layer's size.

    Adam moves every weight by about its rate; here that is the same share of each. `rate` lowers it for all of a layer.
    Reference: Karras et al. (2018), Progressive growing of GANs, section 4.1.
    """

    def __init__(self, shape: tuple[int, ...], bias: bool, rate: float = 1.0, start: float = 0.0):
        super().__init__()
        self.scale, self.rate = rate / math.sqrt(math.prod(shape[1:])), rate
        self.v = nn.Parameter(nn.init.normal_(torch.empty(shape), 0.0, 1 / rate))
        self.b = nn.Parameter(torch.full(shape[:1], start / rate)) if bias else None

    @property
    def weight(self) -> Tensor:
        """What the layer computes with."""
        return self.v * self.scale

    @property
    def bias(self) -> Tensor | None:
        """What it adds."""
        return self.b if self.b is None or self.rate == 1.0 else self.b * self.rate


class Linear(Equalised):
    """A linear layer of equalised rate; `start` is what its bias begins with."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True, rate: float = 1.0, start: float = 0.0):
        super().__init__((outputs, inputs), bias, rate, start)

    def forward(self, x: Float[Tensor, "B a"]) -> Float[Tensor, "B b"]:
        """[B, inputs] to [B, outputs]."""
        return F.linear(x, self.weight, self.bias)


class Conv(Equalised):
    """A convolution of equalised rate, as large a map out as in."""

    def __init__(self, inputs: int, outputs: int, side: int = 3, bias: bool = True):
        super().__init__((outputs, inputs, side, side), bias)

    def forward(self, x: Maps) -> Maps:
        """[B, inputs, H, W] to [B, outputs, H, W]."""
        return F.conv2d(x, self.weight, self.bias, padding=self.v.shape[2] // 2)


def leaky(x: Tensor) -> Tensor:
    """sqrt(2) LeakyReLU(x)."""
    return F.leaky_relu(x, SLOPE) * GAIN


def pixel_norm(x: Tensor) -> Tensor:
    """x / sqrt(mean over channels of x^2): every pixel's vector is as long as any other's.

    Example:
        >>> pixel_norm(torch.tensor([[3.0, 3.0, -3.0]])).tolist()
        [[1.0, 1.0, -1.0]]
    """
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


def with_deviation(x: Maps, group: int = 4) -> Maps:
    """x and one channel more: how much the images of its group differ, the mean over pixels of their standard deviation.

    A critic that sees it can tell batches that are all alike. Where `group` does not divide the batch, the next smaller group
    of two or more that does is taken, or else the batch is one.
    Reference: Karras et al. (2018), section 3; in groups since StyleGAN.

    Example:
        >>> with_deviation(torch.tensor([1.0, 3.0]).view(2, 1, 1, 1))[:, 1].flatten().tolist()
        [1.0, 1.0]
    """
    n, channels, rows, columns = x.shape
    size = next((g for g in range(min(group, n), 1, -1) if n % g == 0), n)
    apart = (x.float().reshape(size, n // size, channels, rows, columns).var(0, unbiased=False) + 1e-8).sqrt()
    told = apart.mean((1, 2, 3)).to(x.dtype).repeat(size)
    return torch.cat([x, told.view(n, 1, 1, 1).expand(n, 1, rows, columns)], 1)
