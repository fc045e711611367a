"""Image sets: pictures to be measured, from a folder, a zip, an npz or npy file, or tensors; decoded while others work.

Unlike a `Source` an image set has no parts and no square shape: it is what someone made, or what it is compared with.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

from sfumato.data.folder import ENDINGS, files
from sfumato.data.mask_files import mask_levels
from sfumato.data.npz import channels_first
from sfumato.errors import DataError, counted
from sfumato.images import Opened, Pixels, from_pil, opened, to_pil
from sfumato.streams import stream

Picture = UInt8[Tensor, "C H W"]
Filter = Literal["lanczos", "bicubic", "bilinear", "box", "nearest"]
Reader = Callable[[Opened, str], Picture]
COMPRESSED = "is compressed with loss (JPEG, WebP), and its compression is measured too"
UNREAD = (
    ".heic",
    ".heif",
    ".avif",
    ".jp2",
    ".jxl",
    ".ppm",
    ".pgm",
    ".tga",
    ".psd",
    ".ico",
    ".exr",
    ".hdr",
    ".dng",
    ".svg",
)
KEPT = 1 << 30  # bytes of decoded pixels that are kept, so that small pictures are decoded once
NAMED = 5  # broken files that a line names
SEVERAL = 6  # sizes that a line names


@dataclass(frozen=True)
class Entry:
    """One image: its name, how to decode it, the SHA-256 of its content, and its size, channels and format."""

    name: str
    decode: Callable[[], Picture]
    digest: str
    shape: tuple[int, int, int]
    format: str
    peculiar: tuple[str, ...] = ()
    """What may surprise about its file."""


@dataclass(frozen=True)
class ImageSet:
    """Images that are measured together, in the order of their names.

    Example:
        >>> made = from_tensor(torch.zeros(4, 3, 8, 8, dtype=torch.uint8))
        >>> len(made), made.sizes, made.pick([0])[0].shape
        (4, {'8 x 8': 4}, torch.Size([3, 8, 8]))
    """

    name: str
    entries: Sequence[Entry]
    split: str = ""
    """train, validation, test or another part's name; empty where nobody said."""
    of: int = 0
    """How many there were before a subset was taken."""
    broken: tuple[str, ...] = ()
    """Files that were left out because they cannot be read."""
    preparation: str = "none"
    """What was done to the images, in words."""
    more: dict[str, Any] = field(default_factory=dict)
    """What else the card should say."""
    named: bool = True
    """Whether the names are someone's own, and not just numbers in order."""
    left: Mapping[str, int] = field(default_factory=dict)
    """How many pictures of which ending were left out, since no reader is at hand."""

    def __len__(self) -> int:
        return len(self.entries)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the contents in their order, and over what was done to them."""
        marks = "\n".join(entry.digest for entry in self.entries)
        return hashlib.sha256(f"{self.preparation}\n{marks}".encode()).hexdigest()

    @cached_property
    def sizes(self) -> dict[str, int]:
        """How many images have which rows x columns, most first."""
        return dict(
            Counter(f"{height} x {width}" for _, height, width in (e.shape for e in self.entries)).most_common()
        )

    @cached_property
    def formats(self) -> dict[str, int]:
        """How many images came in which file format."""
        return dict(Counter(entry.format for entry in self.entries).most_common())

    def about(self) -> dict[str, Any]:
        """What a card says of the set."""
        warnings = []
        if len(self.sizes) > 1:
            warnings.append(f"{self.name} has {len(self.sizes)} sizes; each image is resized by the extractor alone")
        if self.broken:
            warnings.append(f"{len(self.broken)} unreadable files of {self.name} were left out")
        for line, count in Counter(line for entry in self.entries for line in entry.peculiar).most_common():
            one = next(entry.name for entry in self.entries if line in entry.peculiar)
            some = one if count == 1 else f"{one} and {counted(count - 1, 'other', 'others')}"
            warnings.append(f"{self.name}: {some} {line}")
        if self.left:
            named = ", ".join(f"{n} {ending}" for ending, n in self.left.items())
            warnings.append(f"{self.name}: pictures that cannot be read here were left out ({named})")
        told: dict[str, Any] = {"name": self.name, "n": len(self), "split": self.split or "not said"}
        told |= {"size": shown(self.sizes), "format": shown(self.formats), "preparation": self.preparation}
        told |= {"sha256": self.digest, **self.more}
        told |= {"of": self.of} if self.of > len(self) else {}
        told |= {"left_out": len(self.broken)} if self.broken else {}
        return told | ({"warnings": warnings} if warnings else {})

    def subset(self, n: int | None) -> ImageSet:
        """n of the images, drawn by a fixed stream; all of them for None.

        Raises: DataError: there are fewer.
        """
        if n is None:
            return self
        if not 1 <= n <= len(self):
            raise DataError(f"{n} images of {self.name} are asked for, which has {len(self)}; ask for 1 to {len(self)}")
        places = torch.randperm(len(self), generator=stream(0, "subset", len(self)))[:n].sort().values.tolist()
        return replace(self, entries=[self.entries[place] for place in places], of=len(self))

    def resized(self, size: int | None, how: Filter = "lanczos") -> ImageSet:
        """Every image cut to its central square and brought to size x size by an antialiased filter of Pillow."""
        if size is None:
            return self

        def change(entry: Entry) -> Entry:
            def decode() -> Picture:
                picture = ImageOps.fit(to_pil(entry.decode()), (size, size), Image.Resampling[how.upper()])
                return from_pil(picture, entry.shape[0])

            return replace(entry, decode=decode, shape=(entry.shape[0], size, size))

        done = f"cut square, {how} to {size}"
        return replace(self, entries=[change(entry) for entry in self.entries], preparation=done)

    def pick(self, places: Sequence[int]) -> list[Picture]:
        """Some of the images."""
        return [self.entries[place].decode() for place in places]

    def parts(self, at_once: int) -> Iterator[tuple[Sequence[Entry], list[Picture]]]:
        """The images in groups, the next groups being decoded while the caller works on one."""
        groups = [self.entries[first : first + at_once] for first in range(0, len(self), at_once)]
        with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 8)) as pool:
            ahead: deque[list[Future[Picture]]] = deque()
            try:
                for i, group in enumerate(groups):
                    while len(ahead) < 3 and i + len(ahead) < len(groups):
                        ahead.append([pool.submit(entry.decode) for entry in groups[i + len(ahead)]])
                    yield group, [future.result() for future in ahead.popleft()]
            finally:
                for future in (future for futures in ahead for future in futures):
                    future.cancel()


def shown(counts: dict[str, int]) -> str:
    """Counts in words: one alone without its count, a few with theirs."""
    if len(counts) == 1:
        return next(iter(counts))
    named = ", ".join(f"{key} ({count:,})" for key, count in list(counts.items())[:SEVERAL])
    return named + (f" and {len(counts) - SEVERAL} more" if len(counts) > SEVERAL else "")


def from_tensor(pixels: Pixels, name: str = "tensor", split: str = "", kind: str = "tensor") -> ImageSet:
    """The images of a uint8 tensor [N, 1 or 3, H, W].

    Raises: DataError: another type or shape, or no image.
    """
    shape = tuple(pixels.shape)
    if pixels.dtype != torch.uint8 or len(shape) != 4 or shape[1] not in (1, 3) or 0 in shape:
        wanted = "uint8 N x C x H x W with C = 1 (grey) or 3 (RGB) and at least one image is needed"
        raise DataError(f"{name} is {pixels.dtype} of shape {shape}; {wanted}")
    pixels = pixels.detach().cpu().contiguous()

    def entry(i: int) -> Entry:
        content = hashlib.sha256(repr(shape[1:]).encode())
        content.update(pixels[i].numpy().data)
        return Entry(f"{i:06d}", lambda: pixels[i], content.hexdigest(), shape[1:], kind)

    return ImageSet(name, [entry(i) for i in range(shape[0])], split, shape[0], named=False)


def from_folder(
    path: Path, on_broken: Literal["refuse", "skip"] = "refuse", split: str = "", read: Reader | None = None
) -> ImageSet:
    """Every picture below a folder, as RGB.

    Raises: DataError: no folder, no picture, or unreadable files (all named up to five, and counted).
    """
    paths, others = files(path)
    # Sorted as text, not by folders, so that a zip of the same files has the same order
    members = sorted((found.relative_to(path).as_posix(), found.read_bytes) for found in paths)
    left = {ending: n for ending, n in others.items() if ending in UNREAD}
    return surveyed(str(path), members, on_broken, split, read or in_colour, left)


def from_zip(
    path: Path, on_broken: Literal["refuse", "skip"] = "refuse", split: str = "", read: Reader | None = None
) -> ImageSet:
    """Every picture in a zip file, as RGB; nothing is unpacked to disk.

    Raises: DataError: not a zip file, no picture in it, or unreadable files.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = sorted((i for i in archive.infolist() if is_picture(i.filename)), key=lambda info: info.filename)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a readable zip file ({error}); make it again") from None
    large = [info.filename for info in infos if info.file_size > KEPT]
    names = [info.filename for info in infos]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if large:
        raise DataError(f"{path} holds {large[0]}, which unpacks to more than a GiB; make its pictures smaller")
    if twice:
        raise DataError(f"{path} holds {twice[0]} more than once; make the zip again")
    if not names:
        ones = " ".join(ENDINGS)
        raise DataError(
            f"{path} holds no pictures; put {ones} files into it (paths that lead out of a zip are not read)"
        )

    def content(info: zipfile.ZipInfo) -> bytes:
        if info.flag_bits & 1:
            raise DataError(f"{info.filename} has a password; make the zip again without one")
        with zipfile.ZipFile(path) as archive:  # opened anew: one ZipFile cannot be read by two threads
            return archive.read(info)

    members = [(info.filename, partial(content, info)) for info in infos]
    return surveyed(str(path), members, on_broken, split, read or in_colour)


def is_picture(name: str) -> bool:
    """Whether a name in a zip file ends as a picture's and is not the operating system's own."""
    parts = PurePosixPath(name).parts
    hidden = name.endswith("/") or any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return not hidden and PurePosixPath(name).suffix.lower() in ENDINGS


def surveyed(
    name: str,
    members: Sequence[tuple[str, Callable[[], bytes]]],
    on_broken: Literal["refuse", "skip"],
    split: str,
    read: Reader,
    left: Mapping[str, int] = MappingProxyType({}),
) -> ImageSet:
    """Read and decode every file once: so a broken one is known before hours of work, and small pictures are kept."""

    def look(member: tuple[str, Callable[[], bytes]]) -> tuple[Entry | str, Picture | str]:
        title, fetch = member
        try:
            content = fetch()
            file = opened(content, title)
            picture = read(file, title)
        except Exception as error:  # beside what Pillow raises on broken files, reading them may fail
            reason = " ".join(str(error).split())
            return title, reason if reason.startswith(title) else f"{title}: {reason}"
        digest = hashlib.sha256(content).hexdigest()
        _, height, width = picture.shape
        told = (*file.peculiar, *((COMPRESSED,) if file.lossy else ()))
        shape = (3, height, width)
        return Entry(title, lambda: read(opened(fetch(), title), title), digest, shape, file.format, told), picture

    entries: list[Entry] = []
    broken: list[tuple[str, str]] = []
    held = 0
    with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 8)) as pool:
        for entry, picture in pool.map(look, members):
            if isinstance(entry, str) or isinstance(picture, str):
                broken.append((str(entry), str(picture)))
                continue
            held += picture.numel()
            entries.append(replace(entry, decode=lambda p=picture: p) if held <= KEPT else entry)
    if broken and (on_broken == "refuse" or not entries):
        more = f" and {len(broken) - NAMED} more" if len(broken) > NAMED else ""
        named = ", ".join(title for title, _ in broken[:NAMED]) + more
        either = ", or leave them out with --skip-broken" if entries else ""
        first = f"the first: {broken[0][1]}"
        raise DataError(f"{name}: {len(broken)} of {len(members)} pictures cannot be read ({named}); {first}{either}")
    return ImageSet(name, entries, split, len(entries), tuple(title for title, _ in broken), left=dict(left))


def in_colour(file: Opened, name: str) -> Picture:
    """A picture file as uint8 RGB."""
    return from_pil(file.image, 3)


def as_mask(file: Opened, name: str) -> Picture:
    """A mask file as grey levels, its transparency understood."""
    return mask_levels(file.image, name)[0]


def read_as(masks: bool) -> Reader:
    """How the files of a set are read."""
    return as_mask if masks else in_colour


def from_array(array: np.ndarray, name: str, split: str = "") -> ImageSet:
    """uint8 N x H x W, N x H x W x C or N x C x H x W with C = 1 or 3.

    Raises: DataError: another type or shape.
    """
    shape = array.shape
    if array.ndim == 3 and shape[2] in (1, 3) and shape[0] > 3:
        raise DataError(f"{name} have shape {shape}, which looks like one colour picture; give N x H x W x C")
    return from_tensor(channels_first(array, name), name, split, "npz")
