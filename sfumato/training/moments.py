"""Moments: the averaged weights at equal distances along a training, so that validation images can choose among them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from sfumato.training import checkpoint

FOLDER = "moments"


def passed(images: int, before: int, after: int, moments: int) -> bool:
    """Whether one of so many inner moments of a training of `images` lies in (before, after].

    Example:
        >>> [passed(100, before, before + 10, 3) for before in (0, 20, 40, 70, 90)]
        [False, True, True, True, False]
    """
    parts = moments + 1
    return before * parts // images < min(after * parts // images, moments)


def keep(folder: Path, images: int, weights: Mapping[str, Tensor]) -> None:
    """Write the weights of a moment.

    Raises: DataError: they cannot be written.
    """
    checkpoint.save_tensors(weights, folder / FOLDER / f"{images:012d}.safetensors")


def kept(folder: Path) -> dict[int, Path]:
    """The moments of a run by the images seen until then, the earliest first."""
    return {int(path.stem): path for path in sorted((folder / FOLDER).glob("[0-9]*.safetensors"))}
