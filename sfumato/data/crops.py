"""Crops: squares cut out of large photographs at several scales, so that a small model learns them at every distance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float64, Int64, UInt8
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image
from pydantic import Field

from sfumato.data.base import Dataset, Source, SourceConfig, Split, shuffled
from sfumato.data.folder import PARTS, Pixel, look
from sfumato.errors import DataError, counted
from sfumato.files import at_home
from sfumato.images import from_pil, to_pil
from sfumato.streams import stream

ZOOMS = (1.5, 2.25, 3.5, 5.0, 7.0)  # the photograph's shorter side in crops: from two thirds of it to a seventh
LICENCES = "LICENCES.tsv"  # in the folder, if anybody wrote it: file, licence, author ..., with a line of headings
LEAST = 11.0  # grey levels; a crop with less `detail` is sky, wall or blur, and every method fills it equally well


class Crops(Source):
    """Square crops of the photographs in a folder; each shows between two thirds and a seventh of a shorter side.

    Crops of one photograph overlap, so a photograph lies in one part only: that of its sub-folder `train`, `validation` or
    `test`, or else the one that a digest of its pixels says. Crops that show next to nothing are not taken. Where the folder
    has a table LICENCES.tsv (file, licence, author), what it says of the training photographs goes on the model's card.

    Raises: DataError: as `Folder`; or no photograph of a part gave a crop.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for part in PARTS:
        ...     (folder / part).mkdir()
        ...     noise = np.random.default_rng(len(part)).integers(0, 256, (60, 90, 3), dtype=np.uint8)
        ...     Image.fromarray(noise).save(folder / part / "a.png")
        >>> data = Crops(Crops.Config(path=folder, size=16, each=50)).load()
        >>> data.spec.size, len(data.train), len(data.test)
        ((16, 16), 50, 50)
    """

    class Config(SourceConfig):
        kind: Literal["crops"] = "crops"
        path: Path
        """The folder; its photographs should be several times as large as a crop."""
        size: int = Field(default=64, ge=4, le=1024)
        """Rows and columns of a crop."""
        each: int = Field(default=400, ge=1)
        """Crops of one photograph, or as many as it has."""

    config: Config

    def read(self) -> Dataset:
        folder, found = at_home(self.config.path), dict[Path, UInt8[np.ndarray, "n 3 size size"]]()

        def cut(path: Path, pixels: Pixel) -> None:
            name = path.relative_to(folder).as_posix()
            found[path] = crops(name, to_pil(pixels), self.config.each, self.config.size)

        seen = look(folder, self.config.size, cut)
        for wrong, line in (
            (seen.outside, seen.outside_line),
            (seen.broken, seen.broken_line),
            (seen.leaks, seen.leaks_line),
        ):
            if wrong:
                raise DataError(f"{seen.path}: {line()}")
        splits = {}
        for part in PARTS:
            squares = [found[picture.path] for picture in seen.pictures if picture.part == part]
            n = sum(map(len, squares))
            if not n:
                raise DataError(
                    f"{seen.path}: {counted(len(squares), 'photograph')} in {part}, and no crop of {self.config.size} pixels "
                    "that shows anything; add large photographs, or make folders train, validation and test"
                )
            # Without this the first n images would all show one photograph.
            splits[part] = Split(torch.from_numpy(np.concatenate(squares))[shuffled(n, f"crops {part}")])
        trained = [
            one.path.relative_to(folder) for one in seen.pictures if one.part == "train" and len(found[one.path])
        ]
        return Dataset(
            seen.path.resolve().name or "crops",
            splits["train"],
            splits["validation"],
            splits["test"],
            credits=tuple(licences(folder / LICENCES, trained)),
        )


def licences(table: Path, files: Sequence[Path]) -> Iterator[str]:
    """What a table says of these files: licence, author and whatever else stands there; nothing where there is no table.

    Files are named by their path in the folder, or by their name alone.

    Raises: DataError: a table that is no text in UTF-8, or does not name one of them.
    """
    if not table.is_file():
        return
    try:
        rows = [line.split("\t") for line in table.read_text(encoding="utf-8").splitlines()[1:]]
    except UnicodeDecodeError as error:
        raise DataError(f"{table} is no text in UTF-8 ({error.reason}); save it as such") from None
    said = {name: ", ".join(filter(None, rest)) for name, *rest in rows}
    for path in files:
        known = said.get(path.as_posix(), said.get(path.name))
        if known is None:
            raise DataError(f"{table} says nothing of {path.as_posix()}; add a line for it, or remove the table")
        yield f"{path.name}: {known}"


def crops(name: str, photograph: Image.Image, n: int, size: int) -> UInt8[np.ndarray, "n 3 size size"]:
    """n different crops of one photograph at places that its name fixes, each scale giving an equal share.

    A coarse scale has few places; what it cannot give, the finer ones add. Fewer, where fewer show anything.
    """
    found = [np.empty((0, 3, size, size), np.uint8)]
    missing, taken = n, dict[tuple[int, int], set[tuple[int, int]]]()
    for k, zoom in enumerate(ZOOMS):
        factor = min(1.0, size * zoom / min(photograph.size))  # never enlarged: that would add blur alone
        width, height = (round(side * factor) for side in photograph.size)
        if min(width, height) < size:
            continue
        level = from_pil(photograph.resize((width, height), Image.Resampling.LANCZOS), 3).numpy()
        places = np.argwhere(detail(level, size) >= LEAST)
        before = taken.setdefault((width, height), set())  # two scales are one where a photograph is small
        if before:
            fresh = [place for place in places.tolist() if tuple(place) not in before]
            places = np.array(fresh, dtype=np.int64).reshape(-1, 2)
        order = torch.randperm(len(places), generator=stream(0, "photos", name, size, k))
        rows, columns = places[order[: missing // (len(ZOOMS) - k)].numpy()].T
        before |= set(zip(rows.tolist(), columns.tolist(), strict=True))
        windows = sliding_window_view(level, (size, size), axis=(1, 2))  # 3, places down, places across, size, size
        found.append(windows[:, rows, columns].swapaxes(0, 1))
        missing -= len(rows)
    return np.concatenate(found)


def detail(picture: UInt8[np.ndarray, "3 H W"], size: int) -> Float64[np.ndarray, "rows columns"]:
    """How much each crop shows: the standard deviation of grey levels in the second dullest of its four quarters.

    The deviation of the whole crop would let one dark corner excuse an empty sky. Sums over all places come from
    running sums of whole numbers, so they are exact and every machine chooses the same crops.

    Example:
        >>> detail(np.zeros((3, 8, 8), dtype=np.uint8), 8).tolist()
        [[0.0]]
    """
    half = size // 2
    grey = picture.sum(axis=0, dtype=np.int64)  # 3 times the mean of the channels
    total, squares = box_sums(grey, half), box_sums(grey * grey, half)
    area = half * half
    deviation = np.sqrt(squares * area - total * total) / (3 * area)
    quarters = (deviation[:-half, :-half], deviation[:-half, half:], deviation[half:, :-half], deviation[half:, half:])
    second: Float64[np.ndarray, "rows columns"] = np.partition(np.stack(quarters), 1, axis=0)[1]
    rows, columns = picture.shape[1] - size + 1, picture.shape[2] - size + 1
    return second[:rows, :columns]  # an odd crop has a line more than its quarters


def box_sums(values: Int64[np.ndarray, "H W"], side: int) -> Int64[np.ndarray, "rows columns"]:
    """The sum over each square of this side, from a table of running sums.

    Example:
        >>> box_sums(np.ones((2, 3), dtype=np.int64), 2).tolist()
        [[4, 4]]
    """
    table = np.pad(values.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    return table[side:, side:] - table[:-side, side:] - table[side:, :-side] + table[:-side, :-side]
