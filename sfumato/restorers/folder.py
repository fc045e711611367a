"""A folder of pictures to restore, each with the mask that belongs to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sfumato.data.folder import files
from sfumato.data.matching import matches
from sfumato.errors import DataError


def matched(folder: Path, mask: Path | None) -> list[tuple[Path, Path | None]]:
    """Every picture below a folder with its mask: the same one for all, or that of its name from a folder of masks.

    Raises: DataError: no picture, or one without a mask.
    """
    pictures, _ = files(folder)
    if mask is None or not mask.is_dir():
        return [(picture, mask) for picture in pictures]
    masks, _ = files(mask)
    names = _names(pictures, folder), _names(masks, mask)
    found, how = matches(*names)
    if found is None or how == "order":
        alone = next((name for name in names[0] if name not in names[1]), names[0][0])
        raise DataError(f"{mask} has no mask of the name {alone}; give the masks the names of the pictures in {folder}")
    return [(picture, masks[place]) for picture, place in zip(pictures, found, strict=True)]


def _names(paths: Sequence[Path], folder: Path) -> list[str]:
    return [path.relative_to(folder).with_suffix("").as_posix() for path in paths]
