"""Exemplars: one picture of any size and aspect, or several, to learn a texture from; masks say where the texture is."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from pydantic import Field
from torch import Tensor

from sfumato.data.base import Dataset, Sides, Source, SourceConfig, Split, nothing
from sfumato.data.folder import files
from sfumato.data.mask_files import SOLID, mask_levels
from sfumato.errors import DataError, ShapeError
from sfumato.files import at_home
from sfumato.images import Opened, from_pil, opened_file, upright

MOST = 64  # exemplars


class Exemplar(Source):
    """Whole pictures to train on, and the same ones to be held against: what is asked is whether their law was learnt.

    Transparent pixels do not count, nor do those that a mask leaves black. Pictures of several sizes are laid into the corner
    of the largest rows and columns, and the rest does not count. Pictures that are all grey have one channel.

    Raises: DataError: no picture, or a mask of another size or that leaves nothing.
    """

    class Config(SourceConfig):
        kind: Literal["exemplar"] = "exemplar"
        path: Path
        """A picture, or a folder of pictures."""
        mask: Path | None = None
        """White where the texture is: a picture as large as the exemplar, for a single one."""
        sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
        """Of the file of a single picture; what it does not agree with is refused, so that a run keeps meaning what it says."""
        window: Sides | None = None
        """Rows and columns to be cut out of the middle of each picture."""
        channels: Literal[1, 3] | None = None
        """1 for grey, 3 for RGB; left out: 1 where all pictures are grey."""

    config: Config

    def read(self) -> Dataset:
        config, path = self.config, at_home(self.config.path)
        paths = files(path)[0][:MOST] if path.is_dir() else [path]
        found = [opened_file(one) for one in paths]
        if config.sha256 and hashlib.sha256(path.read_bytes()).hexdigest() != config.sha256:
            raise DataError(f"{path} is not the picture that was learnt from any more; learn from it anew")
        channels = config.channels or (1 if all(grey(one) for one in found) else 3)
        pictures = [from_pil(one.image, channels) for one in found]
        solid = [opaque(one) for one in found]
        if config.mask is not None:
            if len(found) > 1:
                raise DataError(f"one mask for {len(found)} exemplars; give one exemplar, or make the rest transparent")
            solid = [solid[0] & where(config.mask, pictures[0])]
        if config.window is not None:
            pictures = [middle(one, config.window, str(path)) for one in pictures]
            solid = [middle(one, config.window, str(path)) for one in solid]
        rows, columns = (max(one.shape[axis] for one in pictures) for axis in (1, 2))
        x = torch.zeros(len(pictures), channels, rows, columns, dtype=torch.uint8)
        known = torch.zeros(len(pictures), 1, rows, columns, dtype=torch.bool)
        for i, (one, part) in enumerate(zip(pictures, solid, strict=True)):
            x[i, :, : one.shape[1], : one.shape[2]] = one
            known[i, :, : one.shape[1], : one.shape[2]] = part
        for one, place in zip(known, paths, strict=True):
            if not bool(one.any()):
                raise DataError(f"nothing of {place} counts: it is transparent, or its mask is black everywhere")
        split = Split(x, known=None if bool(known.all()) else known)
        return Dataset(path.name, split, nothing(split), split, shared=True)


def grey(file: Opened) -> bool:
    """Whether a picture has no colour."""
    return file.image.mode in ("1", "L", "LA", "La") or file.image.mode.startswith(("I", "F"))


def opaque(file: Opened) -> Bool[Tensor, "1 H W"]:
    """Where a picture is not transparent."""
    picture = upright(file.image)
    if picture.mode not in ("RGBA", "LA", "PA", "La", "RGBa") and "transparency" not in picture.info:
        return torch.ones(1, picture.height, picture.width, dtype=torch.bool)
    return torch.from_numpy(np.asarray(picture.convert("RGBA"))[None, ..., 3] >= SOLID)


def where(path: Path, like: UInt8[Tensor, "C H W"]) -> Bool[Tensor, "1 H W"]:
    """Where a mask is white.

    Raises: DataError: it cannot be read, or has another size than its picture.
    """
    levels = mask_levels(opened_file(at_home(path)).image, str(path))[0]
    if levels.shape[1:] != like.shape[1:]:
        sizes = [f"{one.shape[2]} x {one.shape[1]}" for one in (levels, like)]
        raise DataError(f"the mask {path} is {sizes[0]} and the exemplar {sizes[1]}; make them the same size")
    return levels >= SOLID


def middle(picture: Tensor, size: tuple[int, int], name: str) -> Tensor:
    """The central window of a picture.

    Raises: ShapeError: it is larger than the picture.
    """
    rows, columns = picture.shape[1:]
    if size[0] > rows or size[1] > columns:
        raise ShapeError(
            f"a window of {size[0]} x {size[1]} does not fit into {name}, {rows} x {columns}; take a smaller one"
        )
    top, left = (rows - size[0]) // 2, (columns - size[1]) // 2
    return picture[:, top : top + size[0], left : left + size[1]]
