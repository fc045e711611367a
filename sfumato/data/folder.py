"""Folder: pictures of any size and mode in a folder of files, and a preflight that says what is wrong with them."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Literal

import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from pydantic import Field
from torch import Tensor

from sfumato import images
from sfumato.data.base import Dataset, Source, SourceConfig, Split
from sfumato.errors import DataError, counted
from sfumato.files import at_home
from sfumato.images import from_pil, open_picture, to_pil

Pixel = UInt8[Tensor, "C H W"]
Fit = Literal["crop", "pad", "stretch"]

ENDINGS = tuple(ending for endings in images.ENDINGS.values() for ending in endings)
PARTS = ("train", "validation", "test")
SHOWN = 5  # how many of many paths a line names


class Folder(Source):
    """Pictures in a folder and its sub-folders, made square and of one size; of an animation, the first frame.

    Sub-folders `train`, `validation` and `test` are the parts where they are there; a part without a folder is taken
    out of the training pictures. Which ones, a digest of a picture's own pixels says: 8 in 10 to train, 1 to validate,
    1 to test; so adding, renaming or removing a picture never moves another. Where every picture lies in a folder below
    its part, and there are at least two such folders, their sorted names are the classes.

    Raises: DataError: no folder, no readable picture, a part without pictures, pictures beside the parts' folders, a
        broken file (unless `on_broken = "skip"`), or one picture in two parts (unless `duplicates = "drop"`).

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for i in range(60):
        ...     Image.new("RGB", (20, 10), (4 * i, 0, 0)).save(folder / f"{i}.png")
        >>> data = Folder(Folder.Config(path=folder, size=8)).load()
        >>> data.spec, len(data.train) + len(data.validation) + len(data.test)
        (DataSpec(channels=3, size=(8, 8), classes=0, condition=0), 60)
    """

    class Config(SourceConfig):
        kind: Literal["folder"] = "folder"
        path: Path
        """The folder."""
        size: int = Field(default=32, ge=1)
        """Rows and columns that every picture gets, by an antialiased filter (Lanczos)."""
        channels: Literal[1, 3] = 3
        """1 for grey, 3 for RGB."""
        fit: Fit = "crop"
        """How a picture becomes square: cut at its longer sides, black bars at its shorter sides, or stretched."""
        on_broken: Literal["refuse", "skip"] = "refuse"
        """What to do about files that cannot be read: stop and name them, or leave them out."""
        duplicates: Literal["keep", "drop"] = "keep"
        """Whether copies of a picture stay; of copies in two parts, `drop` leaves the one in test or validation."""

    config: Config

    def read(self) -> Dataset:
        config = self.config
        images: dict[Path, Pixel] = {}

        def keep(path: Path, pixels: Pixel) -> None:
            images[path] = square(pixels, config.size, config.fit, config.channels)

        seen = look(config.path, config.size, keep)
        if seen.outside:
            raise DataError(f"{seen.path}: {seen.outside_line()}")
        if seen.broken and (config.on_broken == "refuse" or not seen.pictures):
            either = ', or set data.on_broken = "skip"' if seen.pictures else ""
            raise DataError(f"{seen.path}: {seen.broken_line()}{either}")
        pictures: Sequence[Picture] = seen.pictures
        if config.duplicates == "drop":
            pictures = [min(copies, key=lambda p: (-PARTS.index(p.part), p.path)) for copies in same(pictures)]
        elif seen.leaks:
            raise DataError(f'{seen.path}: {seen.leaks_line()}, or set data.duplicates = "drop"')
        classes = {name: i for i, name in enumerate(seen.classes)}
        # In the order of their digests the first n are a fair sample, and a new picture changes no other's turn.
        pictures = sorted(pictures, key=lambda p: (p.digest, p.path))
        splits = {}
        for part in PARTS:
            chosen = [picture for picture in pictures if picture.part == part]
            if not chosen:
                hint = "add pictures, or make folders train, validation and test"
                raise DataError(f"{seen.path}: {seen.parts_line()}; {hint}")
            labels = torch.tensor([classes[p.label] for p in chosen if p.label is not None]) if classes else None
            splits[part] = Split(torch.stack([images[p.path] for p in chosen]), labels)
        return Dataset(
            seen.path.resolve().name or "folder",
            splits["train"],
            splits["validation"],
            splits["test"],
            len(classes),
            tuple(classes),
        )


@dataclass(frozen=True)
class Picture:
    """A readable picture file: its part, its class folder if it lies in one, and the digest of its decoded pixels."""

    path: Path
    part: str
    label: str | None
    width: int
    height: int
    mode: str
    digest: str


@dataclass(frozen=True)
class Preflight:
    """What a folder of pictures holds, and what is wrong with it; print it, or ask `problems`."""

    path: Path
    size: int
    pictures: tuple[Picture, ...]
    broken: tuple[tuple[Path, str], ...]
    """Files with a picture's ending that cannot be read, and why."""
    outside: tuple[Path, ...]
    """Pictures beside the folders train, validation and test, where there are such folders."""
    ignored: dict[str, int]
    """How many files have another ending."""

    @property
    def parts(self) -> dict[str, int]:
        """How many pictures each part has."""
        return {part: sum(picture.part == part for picture in self.pictures) for part in PARTS}

    @property
    def classes(self) -> dict[str, int]:
        """How many pictures each class has; empty where some picture lies in no class folder, or all lie in one."""
        count = Counter(picture.label for picture in self.pictures)
        names = sorted(name for name in count if name is not None)
        return {name: count[name] for name in names} if None not in count and len(names) > 1 else {}

    @property
    def modes(self) -> dict[str, int]:
        """How many pictures have each of Pillow's modes: L is grey, P palette, RGBA transparent, I;16 16 bits."""
        return dict(Counter(picture.mode for picture in self.pictures).most_common())

    @property
    def small(self) -> list[Path]:
        """Pictures with a side shorter than `size`, which will be enlarged."""
        return [picture.path for picture in self.pictures if min(picture.width, picture.height) < self.size]

    @property
    def duplicates(self) -> list[list[Path]]:
        """Groups of files with exactly the same pixels."""
        return [[picture.path for picture in copies] for copies in same(self.pictures) if len(copies) > 1]

    @property
    def leaks(self) -> list[list[Path]]:
        """Groups of files with exactly the same pixels in more than one part."""
        groups = [copies for copies in same(self.pictures) if len({picture.part for picture in copies}) > 1]
        return [[picture.path for picture in copies] for copies in groups]

    def outside_line(self) -> str:
        """What to do about pictures beside the folders of the parts."""
        named, what = self._some(self.outside), counted(len(self.outside), "picture lies", "pictures lie")
        return f"{what} outside train, validation and test ({named}); move them into train"

    def broken_line(self) -> str:
        """What to do about broken files."""
        total = len(self.broken) + len(self.pictures)
        named = self._some([path for path, _ in self.broken])
        return f"{len(self.broken)} of {total} pictures cannot be read ({named}); the first: {self.broken[0][1]}"

    def leaks_line(self) -> str:
        """What to do about pictures in two parts."""
        first = " = ".join(map(self._short, self.leaks[0]))
        what = counted(len(self.leaks), "picture lies", "pictures lie")
        return f"{what} in more than one part, the first as {first}; remove the copies"

    def parts_line(self) -> str:
        """How many pictures each part has, in words."""
        return ", ".join(f"{n} {part}" for part, n in self.parts.items())

    def problems(self) -> list[str]:
        """What `Folder` refuses or what may surprise, a line each; empty if all is well."""
        lines = []
        if self.outside:
            lines.append(self.outside_line())
        if self.broken:
            lines.append(self.broken_line())
        if self.leaks:
            lines.append(self.leaks_line())
        if not all(self.parts.values()):
            lines.append(
                f"a part is empty ({self.parts_line()}); add pictures, or make folders train, validation and test"
            )
        if self.duplicates:
            copies = ", ".join(" = ".join(map(self._short, group)) for group in self.duplicates[:SHOWN])
            lines.append(
                f"{counted(len(self.duplicates), 'picture is', 'pictures are')} there more than once ({copies})"
            )
        if self.small:
            what = counted(len(self.small), "picture has", "pictures have")
            lines.append(f"{what} a side below {self.size} pixels: enlarged ({self._some(self.small)})")
        return lines

    def lines(self) -> list[str]:
        """The whole report, a line each."""
        report = [f"{self.path}: {counted(len(self.pictures), 'picture')} ({self.parts_line()})"]
        for name, sides in (("width", [p.width for p in self.pictures]), ("height", [p.height for p in self.pictures])):
            if sides:
                report.append(f"{name}: {min(sides)} to {max(sides)} pixels, median {median(sides):g}")
        for name, counts in (("modes", self.modes), ("classes", self.classes), ("ignored files", self.ignored)):
            if counts:
                report.append(f"{name}: " + ", ".join(f"{n} {key}" for key, n in counts.items()))
        return report + [f"problem: {line}" for line in self.problems()]

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _short(self, path: Path) -> str:
        return path.relative_to(self.path).as_posix()

    def _some(self, paths: Sequence[Path]) -> str:
        more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
        return ", ".join(map(self._short, paths[:SHOWN])) + more


def preflight(path: Path | str, size: int = 32) -> Preflight:
    """Look at every picture in a folder and say what `Folder` would find, without keeping any pixels.

    Raises: DataError: there is no such folder, no picture file in it, or a folder for tests but none to train.
    """
    return look(Path(path), size)


def look(folder: Path, size: int, keep: Callable[[Path, Pixel], None] | None = None) -> Preflight:
    """Decode every picture below a folder once, and hand its path and RGB pixels to `keep`.

    Raises: DataError: there is no such folder, no picture file in it, or a folder for tests but none to train.
    """
    folder = at_home(folder)
    paths, ignored = files(folder)
    given = [part for part in PARTS if (folder / part).is_dir()]
    if given and "train" not in given:
        raise DataError(f"{folder} has a folder {given[0]} but none called train; add it, or rename {given[0]}")
    pictures, broken, outside = [], [], []
    for path in paths:
        *parents, _ = path.relative_to(folder).parts
        if given and (not parents or parents[0] not in given):
            outside.append(path)
            continue
        own = parents.pop(0) if given else "train"
        try:
            with open_picture(path) as picture:  # Pillow keeps the files of animations open
                pixels, mode = from_pil(picture, 3), picture.mode
        except Exception as error:  # beside what `open_picture` catches, metadata may break the turning upright
            reason = " ".join(str(error).split())
            broken.append((path, reason if str(path) in reason else f"{path}: {reason}"))
            continue
        digest = hashlib.sha256(repr(tuple(pixels.shape)).encode() + pixels.numpy().tobytes()).hexdigest()
        part = own if own != "train" else draw(digest, given)
        label = parents[0] if parents else None
        _, height, width = pixels.shape  # upright, which the file need not be
        pictures.append(Picture(path, part, label, width, height, mode, digest))
        if keep:
            keep(path, pixels)
    return Preflight(folder, size, tuple(pictures), tuple(broken), tuple(outside), ignored)


def files(folder: Path) -> tuple[list[Path], dict[str, int]]:
    """All picture files below a folder in the order of their names, and how many files have which other ending.

    Names that begin with a dot belong to the operating system or to version control, and links to folders may go round
    in circles: neither are followed, but they are counted.

    Raises: DataError: no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise DataError(f"no folder at {folder}; give the path of a folder with pictures")

    def stop(error: OSError) -> None:
        raise DataError(f"cannot look into {error.filename}: {error.strerror}; change its permissions or move it away")

    paths: list[Path] = []
    ignored: Counter[str] = Counter()
    for place, folders, names in os.walk(folder, onerror=stop):
        ignored.update("linked folder" for name in folders if Path(place, name).is_symlink())
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            ending = os.path.splitext(name)[1].lower()
            if name.startswith(".") or ending not in ENDINGS:
                ignored[ending or "without ending"] += 1
            elif (
                Path(place, name).exists() and not Path(place, name).is_file()
            ):  # a pipe would be waited for without end
                ignored["no regular file"] += 1
            else:
                paths.append(Path(place, name))
    if not paths:
        others = ", ".join(f"{n} {ending}" for ending, n in ignored.items()) or "it is empty"
        raise DataError(f"{folder} holds no pictures ({others}); put {' '.join(ENDINGS)} files there")
    return sorted(paths), dict(ignored.most_common())


def draw(digest: str, given: Sequence[str]) -> str:
    """The part of a picture that no folder decides: 8 in 10 train, 1 validates, 1 tests, unless that part is given."""
    share = int(digest[:8], 16) / 16**8
    drawn = "train" if share < 0.8 else "validation" if share < 0.9 else "test"
    return "train" if drawn in given else drawn


def same(pictures: Sequence[Picture]) -> list[list[Picture]]:
    """The pictures in groups of equal pixels."""
    ordered = sorted(pictures, key=lambda picture: (picture.digest, picture.path))
    return [list(group) for _, group in groupby(ordered, key=lambda picture: picture.digest)]


def square(pixels: Pixel, size: int, fit: Fit, channels: int) -> Pixel:
    """The picture at size x size, cut, padded with black or stretched, through Pillow's antialiased Lanczos filter."""
    picture, lanczos = to_pil(pixels), Image.Resampling.LANCZOS
    if fit == "crop":
        picture = ImageOps.fit(picture, (size, size), lanczos)
    elif fit == "pad":
        longer = max(picture.size)
        width, height = (max(1, round(side * size / longer)) for side in picture.size)  # a hair stays a pixel wide
        page = Image.new("RGB", (size, size))
        page.paste(picture.resize((width, height), lanczos), ((size - width) // 2, (size - height) // 2))
        picture = page
    else:
        picture = picture.resize((size, size), lanczos)
    return from_pil(picture, channels)
