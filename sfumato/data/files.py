"""Official files of public data sets: in the user's folder, the cache or fetched; and the idx format."""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from sfumato.data.base import Dataset, Split
from sfumato.errors import CapabilityError, DataError
from sfumato.files import at_home

LARGEST = 1 << 30  # bytes of one file's content; a header that promises more is not believed
HELD = 5_000  # images at the end of an official training file that validate


@dataclass(frozen=True)
class Official:
    """A file as its authors publish it, with MD5 since that is the sum they give."""

    name: str
    url: str
    md5: str
    unpacked: str = ""
    """MD5 of what a .gz holds: it also knows the file when it was unpacked or packed again."""

    def __str__(self) -> str:
        return f"{self.url} (md5 {self.md5})"


def locate(source: str, files: Sequence[Official], root: Path | None) -> list[Path]:
    """A path for each file: in `root`, packed or not, else in the cache, else fetched into the cache.

    Raises: DataError: `root` is not a folder, or a file is neither there nor in the cache and cannot be fetched.
        CapabilityError: a file is missing and pooch, which would fetch it, is not installed.
    """
    paths = [within(root, file) for file in files]
    missing = [file for file, path in zip(files, paths, strict=True) if path is None]
    fetched = dict(zip(missing, fetch(source, missing, root), strict=True)) if missing else {}
    return [path or fetched[file] for file, path in zip(files, paths, strict=True)]


def within(root: Path | None, file: Official) -> Path | None:
    """The file in this folder, as published or unpacked, if it is there.

    Raises: DataError: `root` is not a folder.
    """
    if root is None:
        return None
    root = at_home(root)
    if not root.is_dir():
        raise DataError(f"data.root = {root} is not a folder; name the one with {file.name}, or leave data.root out")
    names = (file.name, file.name.removesuffix(".gz")) if file.unpacked else (file.name,)
    return next((root / name for name in names if (root / name).is_file()), None)


def fetch(source: str, files: Sequence[Official], root: Path | None) -> list[Path]:
    """Paths in the cache, after downloading what is not there yet and checking its sum.

    Raises: DataError: see `locate`; the message names each file, its address and sum, and where to put it.
        CapabilityError: pooch is not installed.
    """
    names = ", ".join(file.name for file in files)
    try:
        import pooch
    except ImportError:
        hint = "pip install 'sfumato[data]', or set data.root to a folder that holds them"
        raise CapabilityError(f"{source} needs {names}, and pooch to fetch them; {hint}") from None
    cache = Path(pooch.os_cache("sfumato")) / source
    missing = [file for file in files if not (cache / file.name).is_file()]
    try:
        for file in missing:
            pooch.retrieve(file.url, known_hash=f"md5:{file.md5}", fname=file.name, path=cache)
    except (OSError, ValueError) as error:  # requests' errors are OSError; pooch's for another sum is ValueError
        missing = [file for file in missing if not (cache / file.name).is_file()]
        place = f"{cache} or a folder named by data.root" if root is None else f"{root} or {cache}"
        raise DataError(
            f"{source} lacks {len(missing)} of its files and cannot fetch them ({type(error).__name__});"
            f" bring {', '.join(map(str, missing))} to {place};"
            ' or set data.kind = "npz", which reads any .npz with keys images, labels, test_images'
        ) from None
    return [cache / file.name for file in files]


def digest(content: bytes) -> str:
    """MD5 in hexadecimal."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def read_idx(path: Path, official: Official | None) -> UInt8[Tensor, " ..."]:
    """The array in an idx file of bytes, packed by gzip or not, compared with the official sum unless that is None.

    Raises: DataError: not an idx file of bytes, truncated, longer than its header says, or not the official content.
    """
    again = f"delete it and bring {official} again" if official else "replace it"
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            magic = file.read(4)
            if len(magic) < 4 or magic[:3] != b"\0\0\x08" or not 1 <= magic[3] <= 4:
                raise DataError(f"{path} is not an idx file of bytes (it begins with {magic!r}); {again}")
            header = file.read(4 * magic[3])
            shape = struct.unpack(f">{magic[3]}I", header)
            count = math.prod(shape)
            if count > LARGEST:
                raise DataError(f"{path} promises {count:,} bytes; at most {LARGEST:,} are read; {again}")
            body = file.read(count + 1)  # one more than there should be, to notice it
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise DataError(f"{path} is truncated or broken ({error}); {again}") from None
    if len(body) != count:
        had = f"{len(body):,}" if len(body) < count else "more"
        raise DataError(f"{path} should hold {count:,} bytes after its header but has {had}; {again}")
    if official and (found := digest(magic + header + body)) != official.unpacked:
        raise DataError(f"{path} is not the official file: content with md5 {found}, not {official.unpacked}; {again}")
    return torch.from_numpy(np.frombuffer(body, dtype=np.uint8).reshape(shape).copy())


def idx_dataset(
    name: str, files: Sequence[Official], root: Path | None, held: int = HELD, check: bool = True
) -> Dataset:
    """Train images and labels, test images and labels, in idx files; the last `held` training images validate.

    Raises: DataError: see `locate` and `read_idx`; or images, labels and classes do not fit together.
    """
    paths = locate(name, files, root)
    arrays = [read_idx(path, file if check else None) for path, file in zip(paths, files, strict=True)]
    splits = []
    for images, labels, path in zip(arrays[::2], arrays[1::2], paths[::2], strict=True):
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            shapes = f"images {tuple(images.shape)} and labels {tuple(labels.shape)}"
            raise DataError(f"{path} and its labels hold {shapes}, not N x H x W and N; bring the official files again")
        splits.append(Split(images[:, None], labels.long()))
    return official_split(name, splits[0], splits[1], held)


def official_split(name: str, train: Split, test: Split, held: int) -> Dataset:
    """The official test part, and the official training part with its last `held` images set aside to validate.

    Raises: DataError: a label is not one of ten classes, or there is nothing left to train on.
    """
    highest = max((int(s.labels.max()) for s in (train, test) if s.labels is not None and len(s)), default=0)
    if highest > 9:
        raise DataError(f"{name} has a label {highest}; its ten classes are 0 to 9; bring the official files again")
    keep = len(train) - held
    if keep < 1:
        raise DataError(f"{name} has {len(train)} training images; more than the {held} that validate are needed")
    everything = torch.arange(len(train))
    return Dataset(name, train.pick(everything[:keep]), train.pick(everything[keep:]), test, classes=10)
