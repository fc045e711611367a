"""Textures from one picture: what `sfumato texture` and `sfumato.texture` do.

A method learns from the exemplar (or a folder has what was learnt before), and makes pictures of any size that look like it.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor

from sfumato import config as settings
from sfumato.config import Strict
from sfumato.data.exemplar import Exemplar
from sfumato.data.memory import in_memory
from sfumato.errors import CapabilityError, ConfigError
from sfumato.families.base import Family
from sfumato.families.texture import Plane, Texture, Wish, plane_seed, unwatched
from sfumato.images import PEAK, grid, to_float, to_uint8
from sfumato.kinds import choice, discover, find
from sfumato.maths.regions import Box
from sfumato.metrics.copied import closeness, provenance, shown
from sfumato.restorers.synthesis import learnt
from sfumato.streams import stream
from sfumato.strips import write_strips
from sfumato.tasks.generation import Generation
from sfumato.training.averages import Last
from sfumato.training.budget import Budget
from sfumato.training.run import RunConfig, load, make_family, train
from sfumato.training.state import Watch

GAP = 4  # pixels between the pictures of a sheet
LARGEST = 1 << 31  # pixels of a picture that is asked for; a typing error, above
LONGEST = 100_000  # and of a side: a strip of rows is in memory
COMPARED = 400_000  # pixels of a picture whose parts are looked for in the exemplar
WINDOW = 8  # rows and columns of a part
WHOLE = 64_000_000  # and of one that is made in one piece

Share = Callable[[float], None]


def methods() -> list[str]:
    """The names of the texture families."""
    return [name for name, kind in discover(Family).items() if issubclass(kind, Texture)]


def method_of(name: str, changes: Sequence[str] = ()) -> Strict:
    """The settings of a method from its name and `setting=value` changes.

    Raises: ConfigError: no such method, or one that learns from many pictures.
    """
    if not issubclass(find(Family, name), Texture):
        raise ConfigError(f"{name} learns from many pictures; those that learn from one: {', '.join(methods())}")
    if any(change.split("=")[0].strip() == "kind" for change in changes):
        raise ConfigError("--set kind=...: name the method with --method")
    values = settings.override({"method": {"kind": name}}, [f"method.{change}" for change in changes])
    found: Strict = settings.load(Named, values, "texture").method
    return found


class Named(Strict):
    """A method and its settings."""

    method: Annotated[Any, choice(Family)]
    """A texture family."""


def size_of(text: str) -> tuple[int, int]:
    """Rows and columns from WIDTHxHEIGHT, or from one number for a square.

    Raises: ConfigError: it is neither, or more than two billion pixels.

    Example:
        >>> size_of("1280x768"), size_of("64")
        ((768, 1280), (64, 64))
    """
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) > 2 or not all(part.strip().isascii() and part.strip().isdigit() for part in parts):
        raise ConfigError(
            f"--size {text[:40]}: write WIDTHxHEIGHT in pixels, as in 1280x768, or one number for a square"
        )
    columns, rows = (int(parts[0]), int(parts[-1])) if len(text) < 24 else (LONGEST + 1, 1)
    check_size((rows, columns), f"--size {text[:40]}")
    return rows, columns


def check_size(size: tuple[int, int], name: str) -> None:
    """Raises: ConfigError: a side is below 1 or above 100,000, or there are more than two billion pixels."""
    sides = all(isinstance(side, int) and 1 <= side <= LONGEST for side in size)
    if len(size) != 2 or not sides or size[0] * size[1] > LARGEST:
        raise ConfigError(
            f"{name} is no size; each side has 1 to {LONGEST:,} pixels, and the picture at most {LARGEST:,}"
        )


def source_of(exemplar: Path, mask: Path | None) -> Exemplar.Config:
    """The settings of an exemplar and its mask; a single file is known by its content."""
    digest = hashlib.sha256(exemplar.read_bytes()).hexdigest() if exemplar.is_file() else ""
    return Exemplar.Config(path=exemplar.absolute(), mask=None if mask is None else mask.absolute(), sha256=digest)


def untaught(exemplar: Path, method: Strict, mask: Path | None) -> Texture:
    """The method before it has learnt, by which wishes are checked that it could not meet."""
    family: Any = make_family(method, Exemplar(source_of(exemplar, mask)).load().spec, 0)
    return family


def learn(
    exemplar: Path,
    method: Strict,
    folder: Path,
    *,
    mask: Path | None = None,
    seed: int = 0,
    device: str = "auto",
    watch: Watch | None = None,
) -> Texture:
    """Learn from a picture file, or from all of a folder; the run's folder is one like any other, and an interrupted run
    goes on.

    Raises: DataError: the picture cannot be read. ConfigError: it is too small for the method.
    """
    source = source_of(exemplar, mask)
    pictures = len(Exemplar(source).read().train)
    if pictures > 1 and "pictures" not in method.model_fields_set:  # a folder
        method = method.model_copy(update={"pictures": pictures})
    one = Budget(batch=1, average=Last.Config())
    run = RunConfig(data=source, tasks=[Generation.Config()], family=method, budget=one, seed=seed)
    family: Any = train(run, folder, device=device, watch=watch).family
    return family


def learnt_before(folder: Path, device: str = "auto") -> Texture:
    """What a folder has.

    Raises: WeightsError: it is no finished run. CapabilityError: it is no texture's.
    """
    family = load(folder, device).family
    if not isinstance(family, Texture):
        raise CapabilityError(f"{folder} is a {family.config.kind}, which learnt no texture; use `sfumato sample`")
    return family


def check_wish(family: Texture, size: tuple[int, int], periodic: bool) -> None:
    """Raises: CapabilityError, ConfigError: this method cannot make such a picture."""
    if periodic and not family.wraps:
        raise CapabilityError(
            f"{family.config.kind} cannot make a picture that meets itself at its borders; these can: "
            + ", ".join(name for name in methods() if find(Family, name).wraps)  # type: ignore[attr-defined]
        )
    if periodic and isinstance(family, Plane):
        family.require_period(size)
    if not isinstance(family, Plane) and size[0] * size[1] > WHOLE:
        raise ConfigError(
            f"{family.config.kind} makes a picture in one piece, of at most {WHOLE:,} pixels; ask for a smaller one"
        )


def made(
    family: Texture, size: tuple[int, int], seed: int, number: int = 0, periodic: bool = False, watch: Share = unwatched
) -> UInt8[Tensor, "C H W"]:
    """Picture `number` of a seed."""
    check_wish(family, size, periodic)
    rng = stream(seed, "sample", number, device=family.device)
    with torch.no_grad():
        return to_uint8(family.make(Wish(size, periodic, watch), rng))[0].cpu()


def write(family: Texture, size: tuple[int, int], path: Path, seed: int, periodic: bool, watch: Share) -> None:
    """The same picture as `made`, into a PNG file, strip by strip: memory does not grow with it.

    Raises: CapabilityError: the method makes its picture in one piece.
    """
    check_wish(family, size, periodic)
    if not isinstance(family, Plane):
        raise CapabilityError(f"{family.config.kind} makes a picture in one piece")
    plane = plane_seed(stream(seed, "sample", 0, device=family.device))
    strips = family.strips(Box(0, 0, *size), plane, size if periodic else None, watch)
    write_strips((to_uint8(strip[None])[0] for strip in strips), size, path)


def sources(family: Texture, picture: UInt8[Tensor, "C H W"]) -> tuple[UInt8[Tensor, "3 h w"], float]:
    """A map of where each part of a made picture lies in the exemplar, red its row and green its column, bright where it was
    copied; and the share that was.

    Raises: CapabilityError: the exemplar was not kept with what was learnt. ConfigError: the picture is too large to compare.
    """
    if not bool(family.known.any()):
        raise CapabilityError(
            f"this {family.config.kind} keeps no exemplar to compare with; learn from the picture again"
        )
    true = to_uint8(family.exemplars[:1])[0].cpu()
    found = provenance(picture, true, WINDOW, closeness(true))
    return shown(found, true), float(found.same.float().mean())


def check_sources(family: Texture, size: tuple[int, int]) -> None:
    """Raises: ConfigError: made picture or exemplar are too small or too large to be compared."""
    for what, (rows, columns) in (("the picture", size), ("the exemplar", family.spec.size)):
        if min(rows, columns) < WINDOW or rows * columns > COMPARED:
            raise ConfigError(
                f"--sources: {what} is {columns} x {rows}; parts of {WINDOW} x {WINDOW} are looked for in pictures of at "
                f"most {COMPARED:,} pixels"
            )


def sheet(pictures: Sequence[UInt8[Tensor, "C H W"]], columns: int | None = None) -> UInt8[Tensor, "3 h w"]:
    """Pictures side by side on white, small ones in the corner of the largest."""
    rows, across = (max(one.shape[axis] for one in pictures) for axis in (1, 2))
    room = [
        F.pad(one.expand(3, -1, -1), (0, across - one.shape[2], 0, rows - one.shape[1]), value=int(PEAK))
        for one in pictures
    ]
    return grid(torch.stack(room), columns, GAP)


def texture(
    picture: Path | str | Tensor | NDArray[np.uint8],
    method: str | Strict = "texto",
    *,
    size: tuple[int, int] | int | None = None,
    mask: Path | str | None = None,
    seed: int = 0,
    periodic: bool = False,
    device: str = "auto",
    watch: Watch | None = None,
) -> UInt8[Tensor, "C H W"]:
    """A picture, uint8 [C, rows, columns], that looks like the exemplar: a file, or an array of uint8 (H x W, H x W x C or
    C x H x W).

    `size` is rows and columns, the exemplar's if left out; `periodic` makes it meet itself at its borders. `method` is the
    name of a texture family or its settings.

    Raises: ConfigError: no such method, or a picture that is too small for it. DataError, ShapeError: not a picture.

    Example:
        >>> texture(torch.randint(0, 256, (32, 32, 3), dtype=torch.uint8), "gaussian_field", size=(20, 50)).shape
        torch.Size([3, 20, 50])
    """
    config = method_of(method) if isinstance(method, str) else method
    size = (size, size) if isinstance(size, int) else size
    if size is not None:
        check_size((size[0], size[-1]) if len(size) == 2 else (0, 0), f"size = {size}")
    if isinstance(picture, Path | str):
        with tempfile.TemporaryDirectory(prefix="sfumato-") as place:
            masked = None if mask is None else Path(mask)
            family = learn(
                Path(picture), config, Path(place) / "run", mask=masked, seed=seed, device=device, watch=watch
            )
    else:
        if mask is not None:
            raise ConfigError("a mask goes with a picture file; for an array, use the alpha channel of a file")
        array = picture if isinstance(picture, Tensor) else torch.from_numpy(np.array(picture))
        x = in_memory(array[None] if array.ndim == 3 else array[None, ..., None], None).train.images
        family = learnt(config, to_float(x), seed, watch=watch)
    return made(family, size or family.spec.size, seed, periodic=periodic)
