"""Pictures: many images of one shape behind one protocol, wherever they lie: in memory, in a memory map, in files.

A training reads a batch at a time, so a set need not fit into memory; nothing here copies more than what is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int, UInt8
from torch import Tensor

from sfumato.errors import ConfigError, DataError
from sfumato.images import Pixels

Places = slice | Int[Tensor, " M"]
AT_ONCE = 1024  # images read in one piece where all are wanted


@runtime_checkable
class Pictures(Protocol):
    """Images of one shape; `read` gives some of them."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows, columns."""
        ...

    @property
    def in_memory(self) -> bool:
        """Whether reading is only indexing, so that nobody has to read ahead."""
        ...

    def __len__(self) -> int: ...

    def read(self, places: Places) -> Pixels:
        """The images at these places."""
        ...


@dataclass(frozen=True)
class InMemory:
    """A uint8 tensor [N, C, H, W].

    Example:
        >>> InMemory(torch.zeros(3, 1, 4, 6, dtype=torch.uint8)).shape
        (1, 4, 6)
    """

    pixels: Pixels
    in_memory: bool = True

    @property
    def shape(self) -> tuple[int, int, int]:
        _, channels, rows, columns = self.pixels.shape
        return channels, rows, columns

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, places: Places) -> Pixels:
        return self.pixels[places if isinstance(places, slice) else places.to(self.pixels.device)]


@dataclass(frozen=True)
class MemoryMap:
    """A NumPy array on disk, N x H x W, N x H x W x C or N x C x H x W; only the pages that are asked for are read."""

    array: np.ndarray
    in_memory: bool = False

    @property
    def _last(self) -> bool:
        return self.array.ndim == 4 and self.array.shape[3] in (1, 3)

    @property
    def shape(self) -> tuple[int, int, int]:
        if self.array.ndim == 3:
            return (1, *self.array.shape[1:])
        a, b, c = self.array.shape[1:]
        return (c, a, b) if self._last else (a, b, c)

    def __len__(self) -> int:
        return len(self.array)

    def read(self, places: Places) -> Pixels:
        index = places if isinstance(places, slice) else places.cpu().numpy()
        part = torch.from_numpy(np.array(self.array[index]))
        if self.array.ndim == 3:
            return part[:, None]
        return part.permute(0, 3, 1, 2).contiguous() if self._last else part


@dataclass(frozen=True)
class Files:
    """Picture files that are decoded when they are asked for, by a function from a path to uint8 [C, H, W]."""

    paths: Sequence[Path]
    decode: Callable[[Path], UInt8[Tensor, "C H W"]]
    shape: tuple[int, int, int]
    in_memory: bool = False

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, places: Places) -> Pixels:
        chosen = range(len(self.paths))[places] if isinstance(places, slice) else places.tolist()
        if not chosen:
            return torch.zeros(0, *self.shape, dtype=torch.uint8)
        return torch.stack([self.decode(self.paths[i]) for i in chosen])


@dataclass(frozen=True)
class Some:
    """Some of other pictures, in another order; nothing is copied."""

    whole: Pictures
    places: Int[Tensor, " M"]

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.whole.shape

    @property
    def in_memory(self) -> bool:
        return self.whole.in_memory

    def __len__(self) -> int:
        return len(self.places)

    def read(self, places: Places) -> Pixels:
        return self.whole.read(self.places[places])


def pictures_of(images: Pixels | Pictures) -> Pictures:
    """Pictures as they are, a tensor as pictures in memory.

    Raises: DataError: a tensor that is not uint8 [N, C, H, W].
    """
    if not isinstance(images, Tensor):
        return images
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise DataError(f"images are {images.dtype} of shape {tuple(images.shape)}; uint8 N x C x H x W is needed")
    return InMemory(images)


def some(pictures: Pictures, places: Int[Tensor, " M"]) -> Pictures:
    """The pictures at these places: copied where all lie in memory, as a view where they do not."""
    if isinstance(pictures, InMemory):
        return InMemory(pictures.pixels[places])
    return Some(pictures, places)


def everything(pictures: Pictures) -> Pixels:
    """All images as one tensor; without a copy where they lie in memory."""
    if isinstance(pictures, InMemory):
        return pictures.pixels
    starts = range(0, max(len(pictures), 1), AT_ONCE)
    return torch.cat([pictures.read(slice(start, start + AT_ONCE)) for start in starts])


@dataclass(frozen=True)
class Shrunk:
    """Pictures whose sides are `factor` times shorter: means of blocks, rounded to levels.

    Raises: ConfigError: the sides are no multiples of the factor.

    Example:
        >>> pixels = torch.tensor([[[[0, 10], [20, 31]]]], dtype=torch.uint8)
        >>> Shrunk(InMemory(pixels), 2).read(slice(0, 1)).flatten().tolist()
        [15]
    """

    pictures: Pictures
    factor: int

    def __post_init__(self) -> None:
        if any(side % self.factor for side in self.pictures.shape[1:]):
            rows, columns = self.pictures.shape[1:]
            raise ConfigError(f"data.shrink = {self.factor} does not divide {rows} x {columns}; choose one that does")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows, columns."""
        channels, rows, columns = self.pictures.shape
        return channels, rows // self.factor, columns // self.factor

    @property
    def in_memory(self) -> bool:
        """Never: there is something to compute."""
        return False

    def __len__(self) -> int:
        return len(self.pictures)

    def read(self, places: Places) -> Pixels:
        """The images at these places."""
        return F.avg_pool2d(self.pictures.read(places).float(), self.factor).round().to(torch.uint8)


def shrunk(pictures: Pictures, factor: int) -> Pictures:
    """Smaller pictures; in memory where they were."""
    smaller = Shrunk(pictures, factor)
    return InMemory(everything(smaller)) if pictures.in_memory else smaller
