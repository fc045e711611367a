"""Couplings: one half of the numbers says how the other is moved; and the networks that say it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.networks.condition import Condition
from sfumato.networks.invertible import Invertible, LogDet
from sfumato.networks.layers import Attention, Maps, ResidualBlock, zeroed
from sfumato.networks.transformations import Transformation

Middle = Callable[[int], Sequence[nn.Module]]
"""The layers between the first and the last convolution of a conditioner, from their channels."""


class Conditioner(nn.Module):
    """conv(relu(middle(conv(x, what is observed) + label's vector))), the last convolution zero at the beginning."""

    def __init__(
        self, inputs: int, outputs: int, width: int, middle: Middle, *, kernel: int = 3, seen: int = 0, classes: int = 0
    ):
        """`seen`: channels of what was observed, 0 where nothing ever is."""
        super().__init__()
        self.seen = seen
        self.enter = nn.Conv2d(inputs + seen, width, kernel, padding=kernel // 2)
        self.label = nn.Embedding(classes, width) if classes else None
        self.middle = nn.Sequential(*middle(width))
        self.exit = zeroed(nn.Conv2d(width, outputs, kernel, padding=kernel // 2))

    def forward(self, x: Maps, told: Condition) -> Maps:
        if self.seen:
            x = torch.cat([x, x.new_zeros(len(x), self.seen, *x.shape[2:]) if told.image is None else told.image], 1)
        h = self.enter(x)
        if self.label is not None and told.label is not None:
            h = h + self.label(told.label)[:, :, None, None]
        out: Tensor = self.exit(F.relu(self.middle(h), inplace=True))
        return out


def plain(width: int) -> Sequence[nn.Module]:
    """Glow's: a 1 x 1 convolution between two of 3 x 3."""
    return nn.ReLU(inplace=True), nn.Conv2d(width, width, 1)


def residual(blocks: int) -> Middle:
    """So many residual blocks."""
    return lambda width: [ResidualBlock(width, width) for _ in range(blocks)]


def dense(layers: int) -> Middle:
    """So many layers of a network of vectors."""
    return lambda width: [part for _ in range(layers) for part in (nn.ReLU(inplace=True), nn.Conv2d(width, width, 1))]


class Gated(nn.Module):
    """x + a sigmoid(b), (a, b) = conv(act(conv(act(norm(x))))) (Ho et al., 2019, Flow++, section 3.3)."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.enter, self.exit = nn.Conv2d(width, width, 3, padding=1), zeroed(nn.Conv2d(width, 2 * width, 1))

    def forward(self, x: Maps) -> Maps:
        a, b = self.exit(F.silu(self.enter(F.silu(self.norm(x))))).chunk(2, 1)
        out: Tensor = x + a * torch.sigmoid(b)
        return out


def gated(blocks: int, attention: bool) -> Middle:
    """So many gated blocks, each followed by attention over all pixels where that is wanted."""
    return lambda width: [
        part for _ in range(blocks) for part in (Gated(width), *([Attention(width)] if attention else []))
    ]


class Halves(Invertible):
    """The first half of the channels stays and says how the second is moved; or the other way round.

    Reference: Dinh, Krueger and Bengio (2015), NICE: Non-linear independent components estimation.
    """

    def __init__(
        self,
        channels: int,
        transformation: Transformation,
        conditioner: Callable[[int, int], nn.Module],
        swap: bool = False,
    ):
        """`conditioner` makes a network from its inputs and outputs; `swap`: the second half stays."""
        super().__init__()
        self.sizes, self.swap, self.transformation = [channels // 2, channels - channels // 2], swap, transformation
        stays, moves = self.sizes[::-1] if swap else self.sizes
        self.network = conditioner(stays, transformation.outputs * moves)

    def _cut(self, x: Maps) -> tuple[Maps, Maps]:
        first, second = x.split(self.sizes, 1)
        return (second, first) if self.swap else (first, second)

    def _joined(self, stays: Maps, moves: Maps) -> Maps:
        return torch.cat([moves, stays] if self.swap else [stays, moves], 1)

    def forward(self, x: Maps, told: Condition) -> tuple[Maps, LogDet]:
        stays, moves = self._cut(x)
        moves, each = self.transformation.forward(moves, self.network(stays, told))
        return self._joined(stays, moves), each.flatten(1).sum(1)

    def inverse(self, y: Maps, told: Condition) -> Maps:
        stays, moves = self._cut(y)
        return self._joined(stays, self.transformation.inverse(moves, self.network(stays, told)))


class Checkerboard(Invertible):
    """The pixels of one colour of a chessboard stay and say how those of the other are moved.

    Reference: Dinh, Sohl-Dickstein and Bengio (2017), Density estimation using Real NVP, section 3.4.
    """

    def __init__(
        self,
        channels: int,
        transformation: Transformation,
        conditioner: Callable[[int, int], nn.Module],
        swap: bool = False,
    ):
        super().__init__()
        self.transformation, self.odd = transformation, int(swap)
        self.network = conditioner(channels + 1, transformation.outputs * channels)

    def _stays(self, x: Maps) -> Maps:
        rows, columns = (torch.arange(side, device=x.device) for side in x.shape[2:])
        return ((rows[:, None] + columns) % 2 == self.odd).to(x.dtype).expand(len(x), 1, -1, -1)

    def _said(self, x: Maps, stays: Maps, told: Condition) -> Maps:
        said: Tensor = self.network(torch.cat([x * stays, stays], 1), told)
        return said

    def forward(self, x: Maps, told: Condition) -> tuple[Maps, LogDet]:
        stays = self._stays(x)
        moved, each = self.transformation.forward(x, self._said(x, stays, told))
        return torch.where(stays > 0, x, moved), (each * (1 - stays)).flatten(1).sum(1)

    def inverse(self, y: Maps, told: Condition) -> Maps:
        stays = self._stays(y)
        return torch.where(stays > 0, y, self.transformation.inverse(y, self._said(y, stays, told)))
