"""CIFAR-10: 60,000 colour 32 x 32 photographs (Krizhevsky, 2009), from the binary files, which need no pickle."""

from __future__ import annotations

import tarfile
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from sfumato.data.base import Dataset, Source, SourceConfig, Split
from sfumato.data.files import HELD, Official, digest, locate, official_split
from sfumato.errors import DataError
from sfumato.files import at_home

ARCHIVE = Official(
    "cifar-10-binary.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "c32a1d4ab5d03f1284b67883e8d87530",
)
AGAIN = f"delete it and bring {ARCHIVE} again"
TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST = "test_batch.bin"
RECORD = 1 + 3 * 32 * 32  # a label, then the red, the green and the blue rows
EACH = 10_000  # records in one file


class Cifar10(Source):
    """32 x 32 RGB photographs in 10 classes: 45,000 to train, 5,000 to validate, 10,000 to test.

    The last 5,000 images of the five training files, in their order, validate.

    Raises: DataError: the official archive is neither there nor to be had, or it is broken.
        CapabilityError: it has to be fetched and pooch is not installed.
    """

    class Config(SourceConfig):
        kind: Literal["cifar10"] = "cifar10"
        root: Path | None = None
        """Folder of cifar-10-binary.tar.gz or its six .bin files; by default the user's cache, filled by download."""

    config: Config

    def read(self) -> Dataset:
        return read_binary(self.config.root)


def read_binary(root: Path | None, held: int = HELD, check: bool = True) -> Dataset:
    """The six binary files as a data set; without `check` they may hold any number of images, and any archive will do.

    Raises: DataError: see `Cifar10`.
    """
    where = unpacked(root) or locate("cifar10", [ARCHIVE], root)[0]
    blobs = from_folder(where) if where.is_dir() else from_archive(where, check)
    splits = {name: records(blob, f"{name} in {where}", check) for name, blob in blobs.items()}
    images = torch.cat([splits[name].images for name in TRAIN])
    labels = torch.cat([torch.as_tensor(splits[name].labels) for name in TRAIN])
    # Unpacked files have no published sums; that the classes are even would hardly survive any damage.
    if check and labels.bincount(minlength=10).tolist() != [len(TRAIN) * EACH // 10] * 10:
        raise DataError(f"the .bin files in {where} do not hold 5,000 images of each class; {AGAIN}")
    return official_split("cifar10", Split(images, labels), splits[TEST], held)


def unpacked(root: Path | None) -> Path | None:
    """The folder with .bin files: `root` itself, or the one that the archive unpacks to; None where there is none."""
    if root is None:
        return None
    root = at_home(root)
    folders = (root, root / "cifar-10-batches-bin")
    return next((folder for folder in folders if any((folder / name).is_file() for name in (*TRAIN, TEST))), None)


def from_folder(folder: Path) -> dict[str, bytes]:
    """The content of the six files in a folder.

    Raises: DataError: one of them is missing.
    """
    missing = [name for name in (*TRAIN, TEST) if not (folder / name).is_file()]
    if missing:
        raise DataError(f"{folder} lacks {', '.join(missing)} of CIFAR-10's six files; {AGAIN}")
    return {name: (folder / name).read_bytes() for name in (*TRAIN, TEST)}


def from_archive(path: Path, check: bool) -> dict[str, bytes]:
    """The content of the six files in the archive, which is never unpacked to disk.

    Raises: DataError: not the official archive, truncated, or a file is missing in it.
    """
    if check and (found := digest(path.read_bytes())) != ARCHIVE.md5:
        size = f"{path.stat().st_size:,} of 170,052,171 bytes"
        raise DataError(f"{path} is not the official archive ({size}, md5 {found}); {AGAIN}")
    blobs = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                name = member.name.rpartition("/")[2]
                file = archive.extractfile(member) if name in (*TRAIN, TEST) else None
                if file is not None:
                    blobs[name] = file.read(EACH * RECORD + 1)  # one more than there should be, to notice it
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise DataError(f"{path} is truncated or broken ({error}); {AGAIN}") from None
    missing = [name for name in (*TRAIN, TEST) if name not in blobs]
    if missing:
        raise DataError(f"{path} lacks {', '.join(missing)} of CIFAR-10's six files; {AGAIN}")
    return blobs


def records(blob: bytes, name: str, check: bool) -> Split:
    """Images and labels of one binary file.

    Raises: DataError: its length is not that of 10,000 records, or of whole records without `check`.
    """
    if len(blob) % RECORD or not blob or (check and len(blob) != EACH * RECORD):
        size = f"{len(blob):,}" if len(blob) <= EACH * RECORD else "more"
        raise DataError(f"{name} should hold {EACH * RECORD:,} bytes but has {size}; {AGAIN}")
    table = torch.from_numpy(np.frombuffer(blob, dtype=np.uint8).reshape(-1, RECORD).copy())
    return Split(table[:, 1:].reshape(-1, 3, 32, 32), table[:, 0].long())
