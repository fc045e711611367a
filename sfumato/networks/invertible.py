"""Invertible layers: maps to maps and back, with the log of how much volumes change."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.networks.condition import Condition
from sfumato.networks.layers import Maps

LogDet = Float[Tensor, " B"]
Shape = tuple[int, int, int]  # channels, rows, columns


class Invertible(nn.Module, ABC):
    """y = f(x), one to one, told a condition that is the same both ways."""

    @abstractmethod
    def forward(self, x: Maps, told: Condition) -> tuple[Maps, LogDet]:
        """y, and log |det dy/dx| of each image."""

    @abstractmethod
    def inverse(self, y: Maps, told: Condition) -> Maps:
        """x."""

    def settle(self, x: Maps, told: Condition) -> Maps:
        """Set what is set once from images, and hand on what becomes of them."""
        return self(x, told)[0]

    def shape(self, shape: Shape) -> Shape:
        """That of y, from that of x."""
        return shape


class Rescale(Invertible):
    """y = scale (x + shift)."""

    def __init__(self, shift: float, scale: float):
        super().__init__()
        self.shift, self.scale = shift, scale

    def forward(self, x: Maps, told: Condition) -> tuple[Maps, LogDet]:
        return (x + self.shift) * self.scale, x.new_full((len(x),), x[0].numel() * math.log(self.scale))

    def inverse(self, y: Maps, told: Condition) -> Maps:
        return y / self.scale - self.shift


class Logit(Invertible):
    """y = log s / (1 - s), s = alpha + (1 - 2 alpha) x: from (0, 1) to all numbers (Dinh et al., 2017, section 4.1)."""

    def __init__(self, alpha: float):
        super().__init__()
        self.alpha = alpha

    def forward(self, x: Maps, told: Condition) -> tuple[Maps, LogDet]:
        s = self.alpha + (1 - 2 * self.alpha) * x
        low, high = s.log(), torch.log1p(-s)
        each = math.log(1 - 2 * self.alpha) - low - high
        return low - high, each.flatten(1).sum(1)

    def inverse(self, y: Maps, told: Condition) -> Maps:
        return (torch.sigmoid(y) - self.alpha) / (1 - 2 * self.alpha)


class Squeeze(Invertible):
    """Squares of p x p pixels become channels: p^2 times as many, at a p-th of the rows and columns."""

    def __init__(self, side: int = 2):
        super().__init__()
        self.side = side

    def forward(self, x: Maps, told: Condition) -> tuple[Maps, LogDet]:
        return F.pixel_unshuffle(x, self.side), x.new_zeros(len(x))

    def inverse(self, y: Maps, told: Condition) -> Maps:
        return F.pixel_shuffle(y, self.side)

    def shape(self, shape: Shape) -> Shape:
        return shape[0] * self.side**2, shape[1] // self.side, shape[2] // self.side


class Diagonals(Invertible):
    """Of squares that became channels, both pixels of one diagonal first: halves are then the colours of a chessboard."""

    order: Tensor

    def __init__(self, channels: int, back: bool = False):
        """`back`: the other way round."""
        super().__init__()
        off = torch.tensor([0, 1, 1, 0]).repeat(channels // 4)
        order = off.argsort(stable=True)
        self.register_buffer("order", order.argsort() if back else order, persistent=False)

    def forward(self, x: Maps, told: Condition) -> tuple[Maps, LogDet]:
        return x[:, self.order], x.new_zeros(len(x))

    def inverse(self, y: Maps, told: Condition) -> Maps:
        return y[:, self.order.argsort()]


class Rows(Invertible):
    """All numbers as channels of one pixel, those of even places of the image first: what a network of vectors sees."""

    order: Tensor

    def __init__(self, shape: Shape):
        super().__init__()
        self.before = shape
        odd = ((torch.arange(shape[1])[:, None] + torch.arange(shape[2])) % 2).expand(shape).flatten()
        self.register_buffer("order", odd.argsort(stable=True), persistent=False)

    def forward(self, x: Maps, told: Condition) -> tuple[Maps, LogDet]:
        return x.flatten(1)[:, self.order][:, :, None, None], x.new_zeros(len(x))

    def inverse(self, y: Maps, told: Condition) -> Maps:
        x = torch.empty_like(y.flatten(1))
        x[:, self.order] = y.flatten(1)
        return x.view(len(y), *self.before)

    def shape(self, shape: Shape) -> Shape:
        return math.prod(shape), 1, 1


class Shuffle(Invertible):
    """Channels of the first and of the second half in turns, so that halves are others afterwards."""

    order: Tensor

    def __init__(self, channels: int):
        super().__init__()
        order = torch.arange(channels + channels % 2).view(2, -1).T.flatten()
        self.register_buffer("order", order[order < channels], persistent=False)

    def forward(self, x: Maps, told: Condition) -> tuple[Maps, LogDet]:
        return x[:, self.order], x.new_zeros(len(x))

    def inverse(self, y: Maps, told: Condition) -> Maps:
        return y[:, self.order.argsort()]


class ActNorm(Invertible):
    """y = exp(s) (x + b) in each channel; `settle` sets both so that y has mean 0 and variance 1.

    Reference: Kingma and Dhariwal (2018), Glow, section 3.1.
    """

    settled: Tensor

    def __init__(self, channels: int):
        super().__init__()
        self.bias, self.log_scale = (nn.Parameter(torch.zeros(channels, 1, 1)) for _ in range(2))
        self.register_buffer("settled", torch.zeros((), dtype=torch.bool))

    def forward(self, x: Maps, told: Condition) -> tuple[Maps, LogDet]:
        pixels = x.shape[2] * x.shape[3]
        return self.log_scale.exp() * (x + self.bias), (pixels * self.log_scale.sum()).expand(len(x))

    def inverse(self, y: Maps, told: Condition) -> Maps:
        return y * (-self.log_scale).exp() - self.bias

    @torch.no_grad()
    def settle(self, x: Maps, told: Condition) -> Maps:
        """From the first images, unless it was before: a training that goes on keeps what it learnt.

        A channel that never changes is left as large as it is.
        """
        if bool(self.settled):
            return self(x, told)[0]
        self.settled.fill_(True)
        mean, sd = x.mean((0, 2, 3)), x.std((0, 2, 3), unbiased=False)
        self.bias.copy_(-mean[:, None, None])
        self.log_scale.copy_(-torch.where(sd > 1e-6, sd, 1.0).log()[:, None, None])
        return self(x, told)[0]


class Mixing(Invertible):
    """y = W x in each pixel, W a matrix over channels that begins as a random rotation: an invertible 1 x 1 convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(nn.init.orthogonal_(torch.empty(channels, channels)))

    def forward(self, x: Maps, told: Condition) -> tuple[Maps, LogDet]:
        log_det = x.shape[2] * x.shape[3] * torch.linalg.slogdet(self.weight)[1]
        with torch.autocast(x.device.type, enabled=False):  # of rounded products the inverse is none
            return F.conv2d(x, self.weight[:, :, None, None].to(x.dtype)), log_det.expand(len(x))

    def inverse(self, y: Maps, told: Condition) -> Maps:
        back = torch.linalg.inv(self.weight.double()).to(y.dtype)
        return F.conv2d(y, back[:, :, None, None])
