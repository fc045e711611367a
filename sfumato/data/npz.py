"""Npz: any images in one NumPy archive or one memory-mapped array, without pickles."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from sfumato.data.base import Dataset, Source, SourceConfig, Split, shuffled
from sfumato.data.pictures import MemoryMap
from sfumato.errors import DataError
from sfumato.files import at_home
from sfumato.images import Pixels

KEYS = ("images", "labels", "validation_images", "validation_labels", "test_images", "test_labels")
MOST = 5_000  # images that are set aside to validate or to test, where the file does not say which


class Npz(Source):
    """Uint8 images under the key `images`, and if wanted `labels`, `test_images`, `validation_labels` and so on.

    Images are N x H x W (grey), N x H x W x C or N x C x H x W with C = 1 or 3; labels are whole numbers from 0. A
    tenth of `images` (at most 5,000) validates and another tests where the file has no such keys: with `test_images`
    the last ones validate, in the file's order; without them `images` are first shuffled in a way that depends on their
    number alone. Other keys are not read. A path that ends in .npy is one array of images without labels; it is split the
    same way and stays on disk, so that it may be larger than the memory.

    Raises: DataError: no or a broken file, no `images`, another type or shape, or labels that do not fit.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> np.savez_compressed(folder / "noise.npz", images=np.zeros((50, 8, 8), dtype=np.uint8))
        >>> data = Npz(Npz.Config(path=folder / "noise.npz")).load()
        >>> len(data.train), len(data.validation), len(data.test), data.spec.channels
        (40, 5, 5, 1)
        >>> np.save(folder / "large.npy", np.zeros((50, 24, 40, 3), dtype=np.uint8))
        >>> large = Npz(Npz.Config(path=folder / "large.npy")).load()
        >>> large.spec.size, large.train.pictures.in_memory
        ((24, 40), False)
    """

    class Config(SourceConfig):
        kind: Literal["npz"] = "npz"
        path: Path
        """The .npz file, or a .npy file that is read as a memory map."""

    config: Config

    def read(self) -> Dataset:
        path = at_home(self.config.path)
        parts: dict[str, Split | None]
        if path.suffix.lower() == ".npy":
            parts = {"": Split(mapped(path)), "validation": None, "test": None}
        else:
            arrays = read_arrays(path)
            parts = {name: part(arrays, name, path) for name in ("", "validation", "test")}
        everything = parts[""]
        if everything is None:
            raise DataError(f"{path} has no images; `images` must hold at least one")
        train, validation, test = everything, parts["validation"], parts["test"]
        tenth = min(MOST, max(1, len(train) // 10))
        if test is None:
            train, test = hold_out(train.pick(shuffled(len(train), "npz")), tenth, path)
        if validation is None:
            train, validation = hold_out(train, tenth, path)
        shapes = [split.pictures.shape for split in (train, validation, test)]
        if len(set(shapes)) > 1:
            shown = ", ".join(map(str, shapes))
            raise DataError(f"{path} holds images of shapes {shown}; give all parts the same channels and size")
        labels = [split.labels for split in (train, validation, test) if split.labels is not None]
        classes = 1 + max(int(some.max()) for some in labels) if labels else 0
        return Dataset(path.stem, train, validation, test, classes)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays under the keys that are known.

    Raises: DataError: not an .npz file, truncated, with object arrays, or without `images`.
    """
    if not path.is_file():
        raise DataError(f"no file at {path}; give the path of an .npz file with a key images")
    try:
        with path.open("rb") as file:  # NumPy would leave a broken file open
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"{path} is one array, not an .npz archive; use np.savez_compressed(path, images=...)")
            present = list(archive.files)
            arrays = {key: archive[key] for key in KEYS if key in present}
    except DataError:
        raise
    except Exception as error:  # zip, zlib, lzma and NumPy each have their own errors for a broken file
        if "allow_pickle" in str(error):
            hint = "it holds pickled objects, which could run code"
        else:
            hint = f"{type(error).__name__}: {error}" if path.stat().st_size else "an empty file"
        raise DataError(f"{path} cannot be read ({hint}); save uint8 arrays again with np.savez_compressed") from None
    if "images" not in arrays:
        shown = ", ".join(present[:10]) or "none at all"
        raise DataError(f"{path} has no key images (it has: {shown}); save the training images under that key")
    return arrays


def part(arrays: dict[str, np.ndarray], name: str, path: Path) -> Split | None:
    """The images and labels of one part, or None where the file has no such images.

    Raises: DataError: the images are of another type or shape, or the labels do not fit them.
    """
    prefix = f"{name}_" if name else ""
    images, labels = arrays.get(f"{prefix}images"), arrays.get(f"{prefix}labels")
    if images is None:
        if labels is not None:
            raise DataError(f"{path} has {prefix}labels but no {prefix}images; save both or neither")
        return None
    pixels = channels_first(images, f"{path}: {prefix}images")
    if labels is None:
        return Split(pixels)
    return Split(pixels, whole_numbers(labels, len(pixels), f"{path}: {prefix}labels"))


def mapped(path: Path) -> MemoryMap:
    """The images of a .npy file, left on disk.

    Raises: DataError: no or a broken file, not one array, or images of another type or shape.
    """
    if not path.is_file():
        raise DataError(f"no file at {path}; give the path of a .npy file of uint8 images")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # NumPy has several errors for a broken file
        if "Python objects" in str(error):
            hint = "it holds pickled objects, which could run code"
        elif (
            "allow_pickle" in str(error) and path.stat().st_size
        ):  # anything without NumPy's first bytes may be a pickle
            hint = "it does not begin as a .npy file does"
        else:
            hint = f"{type(error).__name__}: {error}" if path.stat().st_size else "an empty file"
        raise DataError(f"{path} cannot be read ({hint}); save a uint8 array again with np.save") from None
    if not isinstance(array, np.ndarray):
        array.close()
        raise DataError(f"{path} is an archive, not one array; give it a name that ends in .npz")
    layout(array.dtype, array.shape, f"{path}: images")
    return MemoryMap(array)


def channels_first(images: np.ndarray, name: str) -> Pixels:
    """N x H x W, N x H x W x C or N x C x H x W with C = 1 or 3 as N x C x H x W.

    Raises: DataError: not uint8, another number of axes or channels, or empty.
    """
    layout(images.dtype, images.shape, name)
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[3] in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(images))


def layout(dtype: np.dtype, shape: tuple[int, ...], name: str) -> None:
    """Raises: DataError: not uint8, another number of axes or channels, or empty."""
    if dtype != np.uint8:
        raise DataError(f"{name} are {dtype}; save uint8 from 0 to 255, as in (x * 255).round().astype('uint8')")
    if len(shape) != 3 and (len(shape) != 4 or (shape[3] not in (1, 3) and shape[1] not in (1, 3))):
        raise DataError(f"{name} have shape {shape}; N x H x W or N x H x W x C with C = 1 (grey) or 3 (RGB) is read")
    if 0 in shape:
        raise DataError(f"{name} have shape {shape}, so there is no pixel; give at least one image")


def whole_numbers(labels: np.ndarray, n: int, name: str) -> Int[Tensor, " N"]:
    """Labels as int64.

    Raises: DataError: not one whole number from 0 an image.
    """
    if labels.dtype.kind not in "iu":
        raise DataError(f"{name} are {labels.dtype}; save whole numbers from 0")
    if labels.shape != (n,):
        raise DataError(f"{name} have shape {labels.shape}; {n} images need {n} labels in one axis")
    if int(labels.min()) < 0:
        raise DataError(f"{name} go down to {labels.min()}; number the classes from 0")
    return torch.from_numpy(labels.astype(np.int64))


def hold_out(split: Split, held: int, path: Path) -> tuple[Split, Split]:
    """All but the last `held` images, and these.

    Raises: DataError: there are too few images to set any aside.
    """
    keep = len(split) - held
    if keep < 1:
        wanted = "3 or more, or the keys test_images and validation_images"
        raise DataError(f"{path} has too few images to set some aside; give {wanted}")
    places = torch.arange(len(split))
    return split.pick(places[:keep]), split.pick(places[keep:])
