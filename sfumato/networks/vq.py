"""The encoder and decoder of a VQ-VAE with one or two levels of codes (Razavi, van den Oord and Vinyals, 2019)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.errors import ConfigError
from sfumato.images import Size
from sfumato.networks.layers import Maps, ResidualBlock, group_norm, rounded
from sfumato.networks.quantizer import Quantized, Quantizer


def grids(size: Size, shrink: int, levels: int) -> list[Size]:
    """Rows and columns of each level's codes, the finest first.

    Raises: ConfigError: the sides of the images cannot be halved so often.

    Example:
        >>> grids((32, 48), 4, 2)
        [(8, 12), (4, 6)]
    """
    most = shrink * 2 ** (levels - 1)
    if any(side % most for side in size):
        raise ConfigError(
            f"{levels} levels of codes want sides that {most} divides; these are {size[0]} x {size[1]}: "
            "set shrink or levels lower, or make the images another size"
        )
    return [(size[0] // (shrink * 2**level), size[1] // (shrink * 2**level)) for level in range(levels)]


class Down(nn.Sequential):
    """Maps halved `halvings` times, then two residual blocks."""

    def __init__(self, inputs: int, width: int, halvings: int):
        layers: list[nn.Module] = [nn.Conv2d(inputs, width, 3, padding=1)]
        for _ in range(halvings):
            layers += [ResidualBlock(width, width), nn.Conv2d(width, width, 4, stride=2, padding=1)]
        super().__init__(*layers, ResidualBlock(width, width), ResidualBlock(width, width))


class Up(nn.Module):
    """Two residual blocks, then maps doubled `doublings` times."""

    def __init__(self, inputs: int, width: int, outputs: int, doublings: int):
        super().__init__()
        self.enter = nn.Conv2d(inputs, width, 3, padding=1)
        self.blocks = nn.ModuleList(ResidualBlock(width, width) for _ in range(2 + doublings))
        self.exit = nn.Sequential(group_norm(width), nn.SiLU(), nn.Conv2d(width, outputs, 3, padding=1))

    def forward(self, x: Maps) -> Maps:
        """[B, inputs, h, w] to [B, outputs, h 2^doublings, w 2^doublings]."""
        h = self.enter(x)
        for i, block in enumerate(self.blocks):
            h = block(F.interpolate(h, scale_factor=2.0) if i >= 2 else h)
        out: Tensor = self.exit(h)
        return out


class Coder(nn.Module):
    """Images to codes and back; with two levels the coarse codes are found first, and the fine ones beside what they say."""

    def __init__(
        self, channels: int, width: float, levels: int, shrink: int, codes: int, code_channels: int, decay: float
    ):
        super().__init__()
        c = rounded(width)
        halvings = shrink.bit_length() - 1
        self.enter = Down(channels, c, halvings)
        self.deeper = nn.ModuleList(Down(c, c, 1) for _ in range(levels - 1))
        self.back = nn.ModuleList(Up(code_channels, c, c, 1) for _ in range(levels - 1))
        self.narrow = nn.ModuleList(nn.Conv2d(c if i == levels - 1 else 2 * c, code_channels, 1) for i in range(levels))
        self.books = nn.ModuleList(Quantizer(codes, code_channels, decay) for _ in range(levels))
        self.decoder = Up(levels * code_channels, c, channels, halvings)

    def encode(self, x: Maps) -> list[Quantized]:
        """What each level makes of images, the finest first."""
        found: list[Quantized] = []
        for vectors, book in self._each(x, found):
            found.insert(0, book(vectors))
        return found

    def vectors(self, x: Maps) -> list[Tensor]:
        """What each level's codes stand for, before they are found; the finest first."""
        found: list[Quantized] = []
        seen: list[Tensor] = []
        for vectors, book in self._each(x, found):
            seen.insert(0, vectors)
            found.insert(0, book(vectors))
        return seen

    def _each(self, x: Maps, found: list[Quantized]) -> Iterator[tuple[Tensor, nn.Module]]:
        """Vectors and book of each level, the coarsest first; the caller puts what it found into `found`."""
        maps = [self.enter(x)]
        for down in self.deeper:
            maps.append(down(maps[-1]))
        for level in reversed(range(len(self.books))):
            h = maps[level]
            if found:
                h = torch.cat([h, self.back[level](found[0].maps)], 1)
            yield self.narrow[level](h), self.books[level]

    def decode(self, maps: Sequence[Tensor]) -> Maps:
        """Images of the code maps of all levels, the finest first."""
        size = maps[0].shape[2:]
        out: Tensor = self.decoder(torch.cat([F.interpolate(part, size=size) for part in maps], 1))
        return out

    def look_up(self, codes: Sequence[Tensor]) -> list[Tensor]:
        """The code maps of codes."""
        return [book.look_up(part) for book, part in zip(self.books, codes, strict=True)]  # type: ignore[operator]
