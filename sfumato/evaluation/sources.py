"""Sources: what a user may name as MADE or REAL, turned into an image set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import ValidationError

from sfumato.config import Strict
from sfumato.data.base import Source
from sfumato.data.imageset import ImageSet, from_array, from_folder, from_tensor, from_zip, read_as
from sfumato.errors import DataError
from sfumato.files import at_home
from sfumato.kinds import build, discover, parse
from sfumato.training.run import is_finished, load
from sfumato.training.sampling import sample_pixels

PARTS = ("train", "validation", "test")
FORMS = (
    "a folder, a .zip, .npz or .npy file, statistics, a run (or run:test for its data),"
    " or a data source with its part, such as digits:test"
)
IMAGES = ("images", "arr_0", "samples", "test_images")  # keys under which people save images


def find(
    name: str,
    n: int | None = None,
    on_broken: Literal["refuse", "skip"] = "refuse",
    seed: int = 0,
    device: str = "cpu",
    masks: bool = False,
) -> ImageSet:
    """The images that a name stands for; `n` is how many a run draws, and how many are taken of anything else.

    Of `masks` the transparency is understood, too.

    A part or key follows a colon: `photos:train`, `images.npz:test_images`, `cifar10:test`; behind a run it is a part of the
    data that the run was trained on.

    Raises: DataError: nothing is there, or it holds no images. ConfigError and WeightsError: see `Source` and `load`.
    """
    if not name.strip(" :"):
        raise DataError(f"no name is given ({name!r}); give {FORMS}")
    path = at_home(name)
    if path.exists():
        return at(path, "", n, on_broken, seed, device, masks)
    before, colon, part = name.rpartition(":")
    path = at_home(before)
    if colon and before and path.exists():
        return at(path, part, n, on_broken, seed, device, masks)
    kind, part = (before, part) if colon else (name, "test")
    if kind not in discover(Source):
        known = ", ".join(discover(Source))
        raise DataError(f"nothing at {name}, and no data source of that name; give {FORMS} (sources: {known})")
    try:
        config = parse(Source, kind)
    except ValidationError:
        raise DataError(
            f"the source {kind} needs settings of its own; give the path instead, as in my_{kind}"
        ) from None
    return part_of(config, part).subset(n)


def part_of(config: Strict, part: str) -> ImageSet:
    """A part of a data source.

    Raises: DataError: it has no such part.
    """
    kind = str(parse(Source, config).model_dump()["kind"])
    if part not in PARTS:
        raise DataError(f"{kind}:{part}: a source has the parts train, validation and test; write {kind}:test")
    split = getattr(build(config).load(), part)
    return from_tensor(split.images, f"{kind}:{part}", part, "source")


def at(
    path: Path,
    part: str,
    n: int | None,
    on_broken: Literal["refuse", "skip"],
    seed: int,
    device: str,
    masks: bool = False,
) -> ImageSet:
    """The images at a path that exists."""
    if is_finished(path):
        return part_of(load(path, device).config.data, part).subset(n) if part else drawn(path, n, seed, device)
    if ((path / "config.json").is_file() and (path / "spec.json").is_file()) or list(path.glob("checkpoint-*")):
        raise DataError(f"{path} is a run that has not finished; give its `sfumato train` command again")
    if path.is_dir():
        inside = path / part if part else path
        if not inside.is_dir():
            raise DataError(f"{path} has no folder {part}; write the path of a folder of pictures")
        split = inside.name if inside.name in (*PARTS, "val") else ""
        return from_folder(inside, on_broken, split, read_as(masks)).subset(n)
    ending = path.suffix.lower()
    if part and ending in (".zip", ".npy"):
        raise DataError(f"{path} has no parts or keys, so :{part} means nothing; leave it out")
    if ending == ".zip":
        return from_zip(path, on_broken, part, read_as(masks)).subset(n)
    if ending in (".npz", ".npy"):
        content, key = array(path, part)
        return from_array(content, f"{path}:{key}" if key else str(path), split_of(key)).subset(n)
    raise DataError(f"{path} is not a set of images; give {FORMS}")


def split_of(key: str) -> str:
    """The part that a key of an npz file names."""
    return next((part for part in PARTS if key.startswith(part)), "")


def drawn(folder: Path, n: int | None, seed: int, device: str) -> ImageSet:
    """Images that a run draws, straight from the model: no file, no compression."""
    run = load(folder, device)
    pixels = sample_pixels(run, n or 2048, seed)
    more = {"model": str(run.config.family.kind), "seed": seed, "trained_on": str(run.config.data.kind)}
    return replace(from_tensor(pixels, str(folder), "", "model"), more=more)


def array(path: Path, key: str) -> tuple[np.ndarray, str]:
    """The images in an .npz or .npy file and their key: `key`, a usual one, or the only array there is.

    Raises: DataError: broken, with pickled objects, or without such an array.
    """
    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                return content, ""
            arrays = content.files
            likely = [name for name in IMAGES if name in arrays] or arrays
            if {"mu", "sigma"} & set(arrays) and not key:
                raise DataError(f"{path} holds statistics; images are needed here")
            if not arrays:
                raise DataError(f"{path} holds no arrays; save images with np.savez_compressed(path, images=...)")
            chosen = key or likely[0]
            if chosen not in arrays or (not key and len(likely) > 1):
                raise DataError(
                    f"{path} has the keys {', '.join(arrays[:10])}; name one, as in {path.name}:{likely[0]}"
                )
            return np.asarray(content[chosen]), chosen
    except DataError:
        raise
    except Exception as error:  # zip, zlib and NumPy each have their own errors for a broken file
        hint = "it holds pickled objects, which could run code" if "allow_pickle" in str(error) else str(error)
        hint = hint or "an empty file"
        raise DataError(f"{path} cannot be read ({hint}); save uint8 arrays with np.savez_compressed") from None
