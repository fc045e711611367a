"""Pairs: two folders of pictures, one to be made of the other, matched by name."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field

from sfumato.data.base import Dataset, Source, SourceConfig, Split
from sfumato.data.folder import Fit, Pixel, draw, files, square
from sfumato.errors import DataError, counted
from sfumato.files import at_home
from sfumato.images import read_picture

PARTS = ("train", "validation", "test")
FEW = 10  # pairs below which nothing is set aside


class Pairs(Source):
    """Picture i of `inputs` belongs to the picture of the same name (but for its ending) in `targets`.

    A digest of the names says which pair trains, validates or tests (8, 1 and 1 in 10), so that adding a pair moves no other;
    of fewer than ten pairs all train, and there is nothing to test on. Use it with the task `translation`.

    Raises: DataError: a folder is missing, a picture has no partner or cannot be read, or a name comes twice.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> for side in ("inputs", "targets"):
        ...     (folder / side).mkdir()
        ...     Image.new("RGB", (20, 10), "red").save(folder / side / "one.png")
        >>> data = Pairs(Pairs.Config(inputs=folder / "inputs", targets=folder / "targets", size=8)).load()
        >>> len(data.train), data.train.inputs.shape, len(data.test)
        (1, (3, 8, 8), 0)
    """

    class Config(SourceConfig):
        kind: Literal["pairs"] = "pairs"
        inputs: Path
        """The folder of what is given."""
        targets: Path
        """The folder of what is to be made."""
        size: int = Field(default=32, ge=1)
        """Rows and columns that every picture gets, by an antialiased filter (Lanczos)."""
        channels: Literal[1, 3] = 3
        """1 for grey, 3 for RGB."""
        fit: Fit = "crop"
        """How a picture becomes square: cut at its longer sides, black bars at its shorter sides, or stretched."""

    config: Config

    def read(self) -> Dataset:
        inputs, targets = (named(at_home(folder)) for folder in (self.config.inputs, self.config.targets))
        alone = sorted(set(inputs) ^ set(targets))
        if alone:
            where = self.config.inputs if alone[0] in inputs else self.config.targets
            what = counted(len(alone), "picture has", "pictures have")
            raise DataError(f"{what} no partner, the first is {where / alone[0]}; give both folders the same names")
        names = sorted(inputs)
        parts = {name: draw(digest_of(name), ()) if len(names) >= FEW else "train" for name in names}
        splits = {}
        for part in PARTS:
            chosen = [name for name in names if parts[name] == part]
            pictures = [[self._read(side[name]) for name in chosen] for side in (targets, inputs)]
            made, given = (torch.stack(these) if these else self._none() for these in pictures)
            splits[part] = Split(made, None, given)
        return Dataset("pairs", splits["train"], splits["validation"], splits["test"])

    def _read(self, path: Path) -> Pixel:
        return square(read_picture(path, 3), self.config.size, self.config.fit, self.config.channels)

    def _none(self) -> torch.Tensor:
        return torch.zeros(0, self.config.channels, self.config.size, self.config.size, dtype=torch.uint8)


def digest_of(name: str) -> str:
    """SHA-256 of a name."""
    return hashlib.sha256(name.encode()).hexdigest()


def named(folder: Path) -> dict[str, Path]:
    """The pictures below a folder by their relative names without ending.

    Raises: DataError: two pictures differ in their endings alone.
    """
    found: dict[str, Path] = {}
    for path in files(folder)[0]:
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise DataError(f"{found[name]} and {path} have one name; rename one of them")
        found[name] = path
    return found
