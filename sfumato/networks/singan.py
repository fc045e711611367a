"""SinGAN's networks (Shaham, Dekel and Michaeli, 2019): at each scale a generator that adds detail and a critic of patches,
both of five 3 x 3 convolutions, so that a score has looked at 11 x 11 pixels.

The published networks normalise by the statistics of the batch, also when they draw, and a batch is one picture. Here each
picture is normalised by itself, which is the same and does not change with the company that it keeps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.images import Images, Size
from sfumato.networks.dcgan import begun
from sfumato.networks.layers import Maps

LAYERS = 5
LEAST = 4  # rows and columns of a picture at the coarsest scale, and of what a critic looks at


class Patches(nn.Sequential):
    """Four times convolution, normalisation and leaky ReLU, and a last convolution; `padding` zeros around each map."""

    def __init__(self, inputs: int, outputs: int, width: int, padding: int):
        layers: list[nn.Module] = []
        for a, b in pairwise([inputs, *[width] * (LAYERS - 1)]):
            layers += [nn.Conv2d(a, b, 3, padding=padding), nn.InstanceNorm2d(b, affine=True), nn.LeakyReLU(0.2)]
        super().__init__(*layers, nn.Conv2d(width, outputs, 3, padding=padding))
        begun(self)


class ScaleGenerator(nn.Module):
    """x + tanh(psi(z + x)): what noise z adds to a picture x that came from the scale below.

    Example:
        >>> x = torch.zeros(1, 3, 6, 8)
        >>> tuple(ScaleGenerator(3, width=4)(x, x).shape)
        (1, 3, 6, 8)
    """

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.body = Patches(channels, channels, width, padding=0)

    def forward(self, noise: Maps, x: Maps) -> Maps:
        """[B, C, h, w] twice to the same. Zeros around the input alone: around each map they would tell where the border is."""
        detail: Tensor = self.body(F.pad(noise + x, (LAYERS,) * 4))
        return x + torch.tanh(detail)


class ScaleCritic(nn.Module):
    """A score for each pixel's surroundings.

    Example:
        >>> tuple(ScaleCritic(3, width=4)(torch.zeros(1, 3, 6, 8)).shape)
        (1, 1, 6, 8)
    """

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.body = Patches(channels, 1, width, padding=1)

    def forward(self, x: Maps) -> Float[Tensor, "B 1 h w"]:
        """[B, C, h, w] to [B, 1, h, w]."""
        scores: Tensor = self.body(x)
        return scores


class Pyramid(nn.Module):
    """x_n = G_n(sigma_n z_n, x_(n + 1) enlarged), from the coarsest scale n = N, where there is no x, to the finest, n = 0.

    It holds what drawing needs: the generators, how strong the noise is at each scale, the noise z* that gives the exemplar
    back (at the coarsest scale; zero elsewhere), and the exemplar as the finest scale learnt it.

    Example:
        >>> pyramid = Pyramid(3, [(16, 12), (8, 6)], [4, 4])
        >>> tuple(pyramid(pyramid.still()).shape), tuple(pyramid([torch.zeros(1, 3, 20, 30)], last=1).shape)
        ((1, 3, 16, 12), (1, 3, 20, 30))
    """

    anchor: Tensor
    amplitude: Tensor
    exemplar: Tensor

    def __init__(self, channels: int, sizes: Sequence[Size], widths: Sequence[int]):
        super().__init__()
        self.sizes = list(sizes)
        self.generators = nn.ModuleList(ScaleGenerator(channels, width) for width in widths)
        self.register_buffer("anchor", torch.zeros(1, channels, *sizes[-1]))
        self.register_buffer("amplitude", torch.ones(len(sizes)))
        self.register_buffer("exemplar", torch.zeros(1, channels, *sizes[0]))

    def forward(self, noise: Sequence[Images], x: Images | None = None, last: int = 0) -> Images:
        """From scale last + len(noise) - 1, which x enters, to `last`; noise[i] is of scale last + i and says its size."""
        for n in reversed(range(last, last + len(noise))):
            z = noise[n - last]
            below = torch.zeros_like(z) if x is None else enlarged(x, (z.shape[2], z.shape[3]))
            x = self.generators[n](self.amplitude[n] * z, below)
        assert x is not None
        return x

    def still(self, last: int = 0) -> list[Images]:
        """The noise that gives the exemplar back, at the scales from `last` on."""
        zeros = [self.anchor.new_zeros(1, self.anchor.shape[1], *size) for size in self.sizes[last:-1]]
        return [*zeros, self.anchor]


def ratios(size: Size, factor: float, coarsest: int, largest: int) -> list[float]:
    """Sides of each scale over the exemplar's, the finest first: a geometric row whose last makes the shorter side `coarsest`.

    Example:
        >>> [round(64 * ratio) for ratio in ratios((64, 80), 0.75, 25, 250)]
        [64, 51, 40, 32, 25]
    """
    finest = min(1.0, largest / max(size))
    shorter = finest * min(size)
    end = min(coarsest, max(shorter / 2, LEAST))
    steps = max(math.ceil(math.log(end / shorter) / math.log(factor) - 1e-9), 0)
    return [finest * (end / shorter) ** (n / max(steps, 1)) for n in range(steps + 1)]


def enlarged(x: Images, size: Size) -> Images:
    """By cubic interpolation; as it is where it has that size."""
    return x if tuple(x.shape[2:]) == tuple(size) else F.interpolate(x, size, mode="bicubic", align_corners=False)


def shrunk(x: Images, known: Float[Tensor, "B 1 H W"], size: Size) -> tuple[Images, Float[Tensor, "B 1 h w"]]:
    """The weighted mean of what is known below each pixel, by a triangle as wide as the pixel's neighbours reach; and where
    at least half of the weight is known.

    Example:
        >>> x, known = torch.tensor([[[[1.0, 1.0, 9.0, 9.0]]]]), torch.tensor([[[[1.0, 1.0, 0.0, 0.0]]]])
        >>> [part.tolist() for part in shrunk(x, known, (1, 2))]
        [[[[[1.0, 1.0]]]], [[[[1.0, 0.0]]]]]
    """

    def smaller(part: Tensor) -> Tensor:
        return F.interpolate(part, size, mode="bilinear", antialias=True, align_corners=False)

    share = smaller(known)
    return smaller(torch.where(known > 0, x, 0.0)) / share.clamp(min=1e-6), (share >= 0.5).float()


def begin_as(network: nn.Module, other: nn.Module) -> None:
    """Take over the weights whose shapes agree."""
    for mine, theirs in zip(network.parameters(), other.parameters(), strict=True):
        if mine.shape == theirs.shape:
            mine.copy_(theirs)
