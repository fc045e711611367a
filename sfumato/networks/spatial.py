"""Spatial networks (Jetchev, Bergmann and Vollgraf, 2016): fully convolutional, from a field of noise to a picture and from a
picture to a map of scores, so that one set of weights serves every size.

A cell of the field becomes 2^depth x 2^depth pixels, and as many pixels have one score.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sfumato.images import Size
from sfumato.networks.dcgan import DEEPEST, begun
from sfumato.networks.layers import Maps, rounded

MARGIN = 2  # cells around those that are wanted, which zeros beyond them do not reach through any number of layers
HIDDEN = 50  # units between the global part and the wave numbers


def widths(width: float, depth: int) -> list[int]:
    """Channels of the maps inside, next to the picture first: doubled inward, at most eight times the width.

    Example:
        >>> widths(16, 5)
        [16, 32, 64, 128]
    """
    return [rounded(width * min(2**level, DEEPEST), grain=1) for level in range(depth - 1)]


class SpatialGenerator(nn.Module):
    """Transposed 5 x 5 convolutions of stride 2, batch normalisation, ReLU; tanh at the end.

    Example:
        >>> tuple(SpatialGenerator(30, 3, width=4, depth=5)(torch.zeros(1, 30, 2, 3)).shape)
        (1, 3, 64, 96)
    """

    def __init__(self, inputs: int, channels: int, width: float, depth: int):
        super().__init__()
        layers: list[nn.Module] = []
        sides = [inputs, *reversed(widths(width, depth)), channels]
        for level, (a, b) in enumerate(pairwise(sides)):
            last = level == depth - 1
            layers.append(nn.ConvTranspose2d(a, b, 5, stride=2, padding=2, output_padding=1, bias=last))
            layers += [nn.Tanh()] if last else [nn.BatchNorm2d(b), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        begun(self)

    def forward(self, field: Float[Tensor, "B z h w"]) -> Maps:
        """[B, inputs, h, w] to [B, C, 2^depth h, 2^depth w] in [-1, 1]."""
        x: Tensor = self.layers(field)
        return x


class SpatialCritic(nn.Module):
    """5 x 5 convolutions of stride 2 and leaky ReLU, normalised inside; a score for each cell.

    Example:
        >>> tuple(SpatialCritic(3, width=4, depth=5)(torch.zeros(1, 3, 64, 96)).shape)
        (1, 1, 2, 3)
    """

    def __init__(self, channels: int, width: float, depth: int, outputs: int = 1):
        super().__init__()
        layers: list[nn.Module] = []
        for level, (a, b) in enumerate(pairwise([channels, *widths(width, depth), outputs])):
            first, last = level == 0, level == depth - 1
            layers.append(nn.Conv2d(a, b, 5, stride=2, padding=2, bias=first or last))
            layers += [] if first or last else [nn.BatchNorm2d(b)]
            layers += [] if last else [nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)
        begun(self)

    def forward(self, x: Maps) -> Float[Tensor, "B outputs h w"]:
        """[B, C, H, W] to [B, outputs, H / 2^depth, W / 2^depth]."""
        scores: Tensor = self.layers(x)
        return scores


class SpatialRecoder(nn.Module):
    """Minus the mean absolute error of each pixel under an autoencoder of both: the critic of games that want one.

    Example:
        >>> tuple(SpatialRecoder(3, width=4, depth=2, code=8)(torch.zeros(1, 3, 8, 12)).shape)
        (1, 1, 8, 12)
    """

    def __init__(self, channels: int, width: float, depth: int, code: int):
        super().__init__()
        self.encoder = SpatialCritic(channels, width, depth, outputs=code)
        self.decoder = SpatialGenerator(code, channels, width, depth)

    def forward(self, x: Maps) -> Float[Tensor, "B 1 H W"]:
        """[B, C, H, W] to [B, 1, H, W]."""
        return -(x - self.decoder(self.encoder(x))).abs().mean(1, keepdim=True)


class NoiseField(nn.Module):
    """What a generator begins with: cat(local noise, global noise g, sin(k_1(g) i + k_2(g) j + phi)) at cell (i, j).

    The wave numbers k, radians a cell down and across, are weights, to which an MLP adds what the global part says.
    Reference: Bergmann, Jetchev and Vollgraf (2017), equation 6.

    Example:
        >>> field, at = NoiseField(shared=0, periodic=1), torch.arange(4)
        >>> field.numbers.data[:] = torch.tensor([[0.0, math.pi / 2]])
        >>> nothing = torch.zeros(1, 0)
        >>> z = field(torch.zeros(1, 5, 4, 4), nothing, torch.zeros(1, 1), at, at)
        >>> tuple(z.shape), z[0, 5, 2].int().tolist()
        ((1, 6, 4, 4), [0, 1, 0, -1])
    """

    def __init__(self, shared: int, periodic: int):
        super().__init__()
        self.shared, self.periodic = shared, periodic
        self.numbers = nn.Parameter(torch.empty(periodic, 2)) if periodic else None
        self.told: nn.Module | None = None
        if self.numbers is not None:
            nn.init.uniform_(self.numbers, -math.pi / 2, math.pi / 2)  # from four cells a wave on
            if shared:
                last = nn.Linear(HIDDEN, 2 * periodic, bias=False)
                self.told = nn.Sequential(nn.Linear(shared, HIDDEN), nn.ReLU(), last)

    def forward(
        self,
        local: Float[Tensor, "B l h w"],
        shared: Float[Tensor, "B g"],
        phase: Float[Tensor, "B p"],
        rows: Int64[Tensor, " h"],
        columns: Int64[Tensor, " w"],
        period: Size | None = None,
    ) -> Float[Tensor, "B z h w"]:
        """The field at some rows and columns of cells; phases are in half turns.

        With a period, in cells, the wave numbers are the nearest ones of whole waves in it.
        """
        parts = [local, shared[:, :, None, None].expand(-1, -1, *local.shape[2:])]
        if self.numbers is not None:
            k = self.numbers.expand(len(local), -1, -1).double()
            if self.told is not None:
                k = k + self.told(shared).view_as(k)
            if period is not None:
                turn = 2 * math.pi / k.new_tensor(period)
                k, rows, columns = (k / turn).round() * turn, rows % period[0], columns % period[1]
            # In float64, for a plane has cells that are far from the first one.
            down, across = k[..., 0, None] * rows, k[..., 1, None] * columns
            start = math.pi * phase.double()[..., None, None]
            parts.append(torch.sin(down[..., :, None] + across[..., None, :] + start).to(local.dtype))
        return torch.cat(parts, 1)
