"""Data: where images come from, and the split that nobody may move.

A source gives uint8 images, optional labels, and fixed train, validation and test parts. A family is built from its
`DataSpec` alone, so that the same family fits grey 8 x 8 digits and 64 x 64 photographs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Int
from torch import Tensor

from sfumato.config import Strict
from sfumato.errors import ConfigError, DataError
from sfumato.images import Pixels
from sfumato.kinds import Kind
from sfumato.streams import stream


class DataSpec(Strict):
    """What a network must know of its data: never part of a family's own settings."""

    channels: int
    """Colour channels: 1 (grey) or 3 (RGB); 2 for points of the plane."""
    size: int
    """Rows and columns of an image."""
    classes: int = 0
    """Number of labels; 0 where there are none."""
    condition: int = 0
    """Channels of the condition: `channels` + 1 for restoration, 0 for generation alone."""


@dataclass(frozen=True)
class Split:
    """Some images, uint8 [N, C, H, W], and their labels, int64 [N], where there are any."""

    images: Pixels
    labels: Int[Tensor, "N"] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def first(self, n: int | None) -> Split:
        """The first n images (all of them for None)."""
        return Split(self.images[:n], None if self.labels is None else self.labels[:n])

    def pick(self, index: Int[Tensor, "M"]) -> Split:
        """The images at these places."""
        return Split(self.images[index], None if self.labels is None else self.labels[index])


@dataclass(frozen=True)
class Dataset:
    """Three parts that share no image: fit on `train`, choose on `validation`, report on `test`."""

    name: str
    train: Split
    validation: Split
    test: Split
    classes: int = 0

    @property
    def spec(self) -> DataSpec:
        """Channels, size and classes of these images."""
        _, channels, size, _ = self.train.images.shape
        return DataSpec(channels=channels, size=size, classes=self.classes)


class SourceConfig(Strict):
    """What every source can be asked."""

    train: int | None = None
    """Use only the first so many training images."""
    validation: int | None = None
    """Use only the first so many validation images."""
    test: int | None = None
    """Use only the first so many test images."""


class Source(Kind, ABC, root=True):
    """A named origin of images; `load` reads, splits and checks them."""

    def __init__(self, config: SourceConfig):
        self.config = config

    @abstractmethod
    def read(self) -> Dataset:
        """All the images, split the same way each time."""

    @final
    def load(self) -> Dataset:
        """The images, cut to the counts that the settings ask for.

        Raises: DataError: a part is empty, images are not square, or not uint8. ConfigError: more images asked than there are.
        """
        full = self.read()
        parts = {}
        for part in ("train", "validation", "test"):
            split, wanted = getattr(full, part), getattr(self.config, part)
            if wanted is not None and not 1 <= wanted <= len(split):
                raise ConfigError(
                    f"data.{part} = {wanted}, but {full.name} has {len(split)} such images; ask for 1 to {len(split)}"
                )
            parts[part] = split.first(wanted)
            check_split(parts[part], f"{full.name} {part}")
        return replace(full, **parts)


def check_split(split: Split, name: str) -> None:
    """Raises: DataError: no images, not uint8 [N, C, H, W] with H = W, or labels of another length."""
    images = split.images
    if len(images) == 0:
        raise DataError(f"{name} has no images; give at least one")
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[2] != images.shape[3]:
        raise DataError(
            f"{name}: images are {images.dtype} of shape {tuple(images.shape)}; uint8 N x C x H x H is needed"
        )
    if split.labels is not None and len(split.labels) != len(images):
        raise DataError(f"{name}: {len(split.labels)} labels for {len(images)} images; each image needs one")


def shuffled(n: int, name: str) -> Int[Tensor, "N"]:
    """A permutation of n places that depends on the name alone: the fixed split of a data set."""
    return torch.randperm(n, generator=stream(0, "split", name))
