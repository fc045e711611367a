"""Memory: images that somebody holds in Python, with a true record of what they were."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field

from sfumato.data.base import Dataset, Source, SourceConfig, Split, nothing, shuffled
from sfumato.data.npz import MOST, channels_first, whole_numbers
from sfumato.errors import DataError

AT_ONCE = 4096  # images that are hashed at once
FEWEST = 10  # images from which on a tenth is set aside to validate and another to test


class Memory(Source):
    """Images that were given in Python: how many there are of which shape, and the SHA-256 of their pixels and labels.

    The record tells two sets apart; the images themselves are nowhere on disk, so whoever loads such a run gives them again.

    Raises: DataError: they are asked for.
    """

    class Config(SourceConfig):
        kind: Literal["memory"] = "memory"
        name: str = "images"
        """What they were called."""
        counts: tuple[int, int, int]
        """Images to train, to validate and to test."""
        shape: tuple[int, int, int]
        """Channels, rows and columns."""
        sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
        """Of all pixels and labels, part by part."""

    config: Config

    def read(self) -> Dataset:
        count, shape = sum(self.config.counts), " x ".join(map(str, self.config.shape))
        raise DataError(
            f"the {count:,} images ({shape}) of this run were given in memory and are nowhere on disk; give them again: "
            "sfumato.load_run(folder).evaluate(data=images)"
        )


def in_memory(images: Any, labels: Any = None, name: str = "images") -> Dataset:
    """A data set of uint8 images in a tensor or array, N x H x W, N x H x W x C or N x C x H x W with C = 1 or 3.

    They are shuffled in a way that depends on their number alone; a tenth validates and another tests. Below ten images
    none is set aside, as for a single exemplar.

    Raises: DataError: another type or shape, no image, or labels that do not fit.

    Example:
        >>> data = in_memory(np.zeros((50, 8, 8, 3), dtype=np.uint8))
        >>> len(data.train), len(data.validation), len(data.test), data.spec.channels
        (40, 5, 5, 3)
    """
    array = images.detach().cpu().numpy() if isinstance(images, torch.Tensor) else np.asarray(images)
    pixels = channels_first(array, name)
    told = None
    if labels is not None:
        numbers = labels.detach().cpu().numpy() if isinstance(labels, torch.Tensor) else np.asarray(labels)
        told = whole_numbers(numbers, len(pixels), "labels")
    full = Split(pixels, told)
    classes = 0 if told is None else int(told.max()) + 1
    if len(full) < FEWEST:
        return Dataset(name, full, nothing(full), nothing(full), classes)
    order, tenth = shuffled(len(full), "memory"), min(MOST, len(full) // 10)
    train, validation, test = order[2 * tenth :], order[:tenth], order[tenth : 2 * tenth]
    return Dataset(name, full.pick(train), full.pick(validation), full.pick(test), classes)


def record(data: Dataset) -> Memory.Config:
    """The settings that stand for a data set in memory.

    Example:
        >>> record(in_memory(np.zeros((50, 8, 8), dtype=np.uint8))).counts
        (40, 5, 5)
    """
    parts = (data.train, data.validation, data.test)
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)} {part.pictures.shape}".encode())
        for start in range(0, len(part), AT_ONCE):
            pixels, labels, inputs = part.read(slice(start, start + AT_ONCE))
            for tensor in (pixels, labels, inputs):
                digest.update(b"none" if tensor is None else tensor.cpu().contiguous().numpy().tobytes())
    counts = (len(parts[0]), len(parts[1]), len(parts[2]))
    return Memory.Config(name=data.name, counts=counts, shape=data.train.pictures.shape, sha256=digest.hexdigest())
