"""Data: where images come from, and the split that nobody may move.

A source gives uint8 images, optional labels, and fixed train, validation and test parts. A family is built from its
`DataSpec` alone, so that the same family fits grey 8 x 8 digits and 24 x 40 photographs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Annotated, Any, final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int
from pydantic import BeforeValidator, Field
from torch import Tensor

from sfumato.config import Strict
from sfumato.data.pictures import Pictures, Places, everything, pictures_of, shrunk, some
from sfumato.errors import ConfigError, DataError, shortened
from sfumato.files import at_home
from sfumato.images import Pixels, Size
from sfumato.kinds import Kind, discover
from sfumato.streams import stream

Side = Annotated[int, Field(ge=1, le=65_536, strict=True)]


def both(size: Any) -> Any:
    """One number stands for a square."""
    return (size, size) if isinstance(size, int) and not isinstance(size, bool) else size


Sides = Annotated[tuple[Side, Side], BeforeValidator(both)]
"""A size in settings: rows and columns, or one number for a square."""


class DataSpec(Strict):
    """What a network must know of its data: never part of a family's own settings."""

    channels: int = Field(ge=1, le=64)
    """Colour channels: 1 (grey) or 3 (RGB); 2 for points of the plane."""
    size: Sides
    """Rows and columns of an image; one number stands for a square."""
    classes: int = Field(default=0, ge=0, le=1_000_000)
    """Number of labels; 0 where there are none."""
    condition: int = Field(default=0, ge=0, le=256)
    """Channels of the condition's image: `channels` + 1 for restoration, 0 for generation alone."""

    @property
    def dimensions(self) -> int:
        """Numbers in one image: channels x rows x columns."""
        return self.channels * self.size[0] * self.size[1]


@dataclass(frozen=True)
class Split:
    """Some images, their labels, int64 [N], where there are any, the pictures they are to be made from, if paired, and where
    they count, bool [N, 1, H, W], if not everywhere.
    """

    pictures: Pictures
    labels: Int[Tensor, " N"] | None = None
    inputs: Pictures | None = None
    known: Bool[Tensor, "N 1 H W"] | None = None

    def __init__(
        self,
        pictures: Pixels | Pictures,
        labels: Int[Tensor, " N"] | None = None,
        inputs: Pixels | Pictures | None = None,
        known: Bool[Tensor, "N 1 H W"] | None = None,
    ):
        object.__setattr__(self, "pictures", pictures_of(pictures))
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "inputs", None if inputs is None else pictures_of(inputs))
        object.__setattr__(self, "known", known)

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def images(self) -> Pixels:
        """All images in memory, uint8 [N, C, H, W]."""
        return everything(self.pictures)

    def read(self, places: Places) -> tuple[Pixels, Int[Tensor, " M"] | None, Pixels | None]:
        """Images, labels and inputs at some places."""
        labels = None if self.labels is None else self.labels[places]
        return self.pictures.read(places), labels, None if self.inputs is None else self.inputs.read(places)

    def first(self, n: int | None) -> Split:
        """The first n images (all of them for None)."""
        return self if n is None or n == len(self) else self.pick(torch.arange(min(n, len(self))))

    def smaller(self, factor: int) -> Split:
        """The images with sides so many times shorter."""
        if factor == 1:
            return self
        inputs = None if self.inputs is None else shrunk(self.inputs, factor)
        known = None if self.known is None else F.max_pool2d((~self.known).float(), factor) == 0
        return Split(shrunk(self.pictures, factor), self.labels, inputs, known)

    def pick(self, index: Int[Tensor, " M"]) -> Split:
        """The images at these places."""
        labels = None if self.labels is None else self.labels[index]
        inputs = None if self.inputs is None else some(self.inputs, index)
        return Split(some(self.pictures, index), labels, inputs, None if self.known is None else self.known[index])


@dataclass(frozen=True)
class Dataset:
    """Three parts that share no image: fit on `train`, choose on `validation`, report on `test`.

    Validation and test may be empty; such data can train but not be reported on.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: int = 0
    class_names: tuple[str, ...] = ()
    """What the labels stand for, where that is known."""
    shared: bool = False
    """Whether training and test images are the same ones: exemplars, whose law is asked for."""
    credits: tuple[str, ...] = ()
    """Who made the training images, and under which licences, a line each; they go on the card of what is trained."""

    @property
    def spec(self) -> DataSpec:
        """Channels, size and classes of these images."""
        channels, *size = self.train.pictures.shape
        return DataSpec(channels=channels, size=(size[0], size[1]), classes=self.classes)

    @property
    def size(self) -> Size:
        """Rows and columns."""
        return self.spec.size

    def class_name(self, label: int) -> str:
        """What a label stands for, else its number."""
        return self.class_names[label] if label < len(self.class_names) else str(label)


def source_of(text: str) -> Any:
    """The settings of a source from its name, or from the path of a folder, .npz or .npy file.

    Raises: ConfigError: a path where nothing is.
    """
    if text in discover(Source):
        return text
    path = at_home(text)
    if path.exists() or path.suffix in (".npz", ".npy"):
        return {"kind": "npz" if path.suffix in (".npz", ".npy") else "folder", "path": str(path.absolute())}
    if "/" in text or "\\" in text or path.suffix:
        raise ConfigError(
            f"--data {shortened(text)}: nothing is there; give a folder of pictures, an .npz file or a source"
        )
    return text


class SourceConfig(Strict):
    """What every source can be asked."""

    train: int | None = None
    """Use only the first so many training images."""
    validation: int | None = None
    """Use only the first so many validation images."""
    test: int | None = None
    """Use only the first so many test images."""
    shrink: int = Field(default=1, ge=1, le=64)
    """Make the sides so many times shorter, by means of blocks: CIFAR-10 at 16 x 16 is shrink = 2."""


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

        Raises: DataError: nothing to train on, or images are not uint8. ConfigError: more images asked than there are.
        """
        full = self.read()
        parts = {}
        for part in ("train", "validation", "test"):
            split, wanted = getattr(full, part), getattr(self.config, part)
            if wanted is not None and not 1 <= wanted <= len(split):
                raise ConfigError(
                    f"data.{part} = {wanted}, but {full.name} has {len(split)} such images; ask for 1 to {len(split)}"
                )
            parts[part] = split.first(wanted).smaller(self.config.shrink)
            check_split(parts[part], f"{full.name} {part}")
        if len(parts["train"]) == 0:
            raise DataError(f"{full.name} has no images to train on; give at least one")
        return replace(full, **parts)


def check_split(split: Split, name: str) -> None:
    """Raises: DataError: labels or inputs of another number."""
    if split.labels is not None and len(split.labels) != len(split):
        raise DataError(f"{name}: {len(split.labels)} labels for {len(split)} images; each image needs one")
    if split.inputs is not None and len(split.inputs) != len(split):
        raise DataError(f"{name}: {len(split.inputs)} inputs for {len(split)} images; each image needs one")


def nothing(like: Split) -> Split:
    """A part without images."""
    return like.pick(torch.empty(0, dtype=torch.int64))


def shuffled(n: int, name: str) -> Int[Tensor, " N"]:
    """A permutation of n places that depends on the name alone: the fixed split of a data set."""
    return torch.randperm(n, generator=stream(0, "split", name))
