"""A picture of a person's own: read it and its mask, restore it, keep what is to be kept, say what looked wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from sfumato.data.mask_files import mask_levels, seems_inverted
from sfumato.errors import CapabilityError, DataError, ShapeError, WeightsError
from sfumato.images import LARGEST, open_picture, to_float, to_uint8
from sfumato.kinds import build, find, parse
from sfumato.restorers.base import Enlarger, Filler, Restorer
from sfumato.restorers.conditional import Conditional
from sfumato.restorers.original import Original, read_original, write_restored
from sfumato.restorers.tiled import fill_tiled
from sfumato.streams import stream
from sfumato.tasks.base import Observation, Operator, Task, region_weight
from sfumato.tasks.down_sampling import BlockMean
from sfumato.tasks.operators import Masking
from sfumato.training.run import Run, load

Pixels = UInt8[Tensor, "C H W"]
Hole = Bool[Tensor, "H W"]


@dataclass(frozen=True)
class Restored:
    """The restored picture and what a person should know of it."""

    pixels: Pixels
    warnings: list[str]
    hole: Hole | None = None
    """Where it was made, if a mask said so."""


def read_mask(mask: Path | UInt8[Tensor, "H W"], picture: Pixels, invert: bool = False) -> tuple[Hole, list[str]]:
    """A mask as True where the picture is to be made, and warnings. In the file or the grey levels that is white.

    Raises: DataError: unreadable, or nothing or everything is to be made. ShapeError: another size than the picture.
    """
    height, width = picture.shape[1:]
    warnings: list[str] = []
    if isinstance(mask, Path):
        path = str(mask)
        levels, warnings = mask_levels(open_picture(mask), path, picture)
        grey = levels[0]
    else:
        path, grey = "of the picture", mask
    if grey.shape != (height, width):
        raise ShapeError(
            f"the mask {path} is {grey.shape[1]} x {grey.shape[0]}, the picture {width} x {height} (upright, as its EXIF "
            "says); make them the same size"
        )
    between = int(((grey > 16) & (grey < 239)).sum()) / grey.numel()
    if between > 0.01:
        warnings.append(
            f"{between:.0%} of the mask is grey (a JPEG or a soft brush?); from 128 it counts as white; PNG is safest"
        )
    hole = grey < 128 if invert else grey >= 128
    share = int(hole.sum()) / hole.numel()
    if share == 0:
        small = "its largest value is 1 of 255: multiply it by 255" if int(grey.max()) == 1 else "no white pixel"
        raise DataError(
            f"the mask {path} asks for nothing ({small}); paint white where the picture is to be made, or use --invert"
        )
    if share == 1:
        raise DataError(
            f"the mask {path} asks for everything (all white), so nothing is known; leave some black, or use `sfumato sample`"
        )
    if seems_inverted(hole):
        warnings.append(
            f"the mask asks for {share:.0%} of the picture (white = to be made); if it is the wrong way round, give --invert"
        )
    return hole, warnings


def restorer_of(model: str | Run, device: str = "auto") -> tuple[Restorer, Run | None]:
    """A restorer from a run, from its folder, or from the name of a classical one.

    Raises: WeightsError: the folder is no finished run. ConfigError: neither a folder nor a name.
    """
    if isinstance(model, Run):
        return Conditional(Conditional.Config(), model.family), model
    folder = Path(model)
    if not folder.is_dir() and len(folder.parts) > 1:
        raise WeightsError(f"no run at {model}; give the folder of a finished one, or the name of a classical restorer")
    if folder.is_dir():
        run = load(folder, device)
        return Conditional(Conditional.Config(), run.family), run
    kind = find(Restorer, model)
    if isinstance(kind, type) and issubclass(kind, Restorer) and kind.needs is not None:
        raise CapabilityError(f"restorer {model!r} needs a trained model; give --model the folder of a run")
    return build(parse(Restorer, model)), None


def restore_picture(
    picture: Path | str | Pixels,
    model: str | Run | Restorer,
    *,
    mask: Path | str | UInt8[Tensor, "H W"] | None = None,
    scale: int | None = None,
    invert: bool = False,
    seed: int = 0,
    device: str = "auto",
    hidden: UInt8[Tensor, "H W"] | None = None,
) -> Restored:
    """Fill the white part of a mask, enlarge by `scale`, or with neither do what a run was trained for, as to denoise.

    Filling and enlarging can be asked of a trained run or of a classical restorer. Picture and mask are files, or pixels.
    `hidden` is 1 where pixels mean nothing, as under full transparency; a file says it itself.
    A file comes back in RGB, as it would be shown; `restore_file` writes it as it was, with all that the file says beside
    its colours.

    Raises: DataError, ShapeError: the picture or mask cannot be used. CapabilityError: the model was not trained for this.
    """
    if isinstance(picture, Tensor):
        return _restored(picture, "the picture", hidden, model, mask, scale, invert, seed, device)
    original = read_original(picture)
    made = _restored(original.pixels, str(picture), original.hidden, model, mask, scale, invert, seed, device)
    colours = made.pixels if isinstance(model, Run) and model.spec.channels == 1 else made.pixels.expand(3, -1, -1)
    return Restored(colours, [*original.warnings, *made.warnings], made.hole)


def restore_file(
    picture: Path,
    out: Path,
    model: str | Run | Restorer,
    *,
    mask: Path | None = None,
    scale: int | None = None,
    invert: bool = False,
    seed: int = 0,
    device: str = "auto",
) -> list[str]:
    """Restore a picture file into another, and say what looked wrong or could not be kept.

    Mode, depth, transparency, colour profile, EXIF and resolution are those of the picture, and so are the kept pixels.

    Raises: as `restore_picture`; DataError: `out` cannot be written, or cannot hold the picture.
    """
    original: Original = read_original(picture)
    made = _restored(original.pixels, str(picture), original.hidden, model, mask, scale, invert, seed, device)
    image = original.restored(made.pixels, made.hole)
    said, hole = [*original.warnings, *made.warnings], made.hole
    del made  # before it is written and read again: a large picture is there often enough
    return [*said, *write_restored(image, out, original, hole)]


def _restored(
    pixels: Pixels,
    called: str,
    hidden: UInt8[Tensor, "H W"] | None,
    model: str | Run | Restorer,
    mask: Path | str | UInt8[Tensor, "H W"] | None,
    scale: int | None,
    invert: bool,
    seed: int,
    device: str,
) -> Restored:
    restorer, run = (model, None) if isinstance(model, Restorer) else restorer_of(model, device)
    if (mask is not None and scale is not None) or (run is None and mask is None and scale is None):
        raise CapabilityError("give either --mask (white = to be made) or --scale (how many times larger)")
    given, grey = pixels, len(pixels) == 1
    operator, noise = None, 0.0
    if mask is None:
        operator, noise = (_enlarging(pixels, scale, run), 0.0) if scale is not None else _clearing(run)
    if run is not None:
        _check_size(pixels, run, scale or 1, called, larger=mask is not None)
        pixels = _in_channels(pixels, run.spec.channels, called)
    if operator is None:
        assert mask is not None
        hole, warnings = read_mask(mask if isinstance(mask, Tensor) else Path(mask), given, invert)
        if run is not None and not any(_drawn(task, run).hides for task in run.tasks):
            raise CapabilityError(f"this model was not trained to fill masks; it was trained for: {_tasks(run)}")
        unknown = hole if hidden is None else hole | hidden.bool()  # what cannot be seen tells nothing
        if bool(unknown.all()):
            raise DataError(f"nothing of {called} can be seen outside the hole, so nothing is known")
        made, more = _filled(pixels, unknown, restorer, run, called, seed)
        return Restored(_as_given(made, given), [*warnings, *more], hole)
    if isinstance(restorer, Enlarger):  # how a person's small picture came about nobody knows, so nothing is imposed
        restorer.check(Observation(torch.empty(0), operator, operator.known))
        made = to_uint8(restorer.enlarge(to_float(pixels[None]), operator.size))[0]
    else:
        made = _answer(pixels, operator, noise, restorer, seed)
    return Restored(made if operator.mixes and grey else _as_given(made, given), [])


def _filled(
    pixels: Pixels, hole: Hole, restorer: Restorer, run: Run | None, called: str, seed: int
) -> tuple[Pixels, list[str]]:
    """The hole made by whatever the restorer can: in bytes, in one piece, or window by window."""
    if isinstance(restorer, Filler):  # in 8 bits, a quarter of the memory
        picture = pixels.permute(1, 2, 0).contiguous().numpy()
        filled = restorer.filled(picture, hole.numpy()).reshape(picture.shape)
        np.copyto(filled, picture, where=~hole.numpy()[..., None])
        return torch.from_numpy(filled).permute(2, 0, 1), []
    operator = Masking(1.0 - hole.float()[None, None])
    if run is None or tuple(pixels.shape[1:]) == run.spec.size:
        return _answer(pixels, operator, 0.0, restorer, seed), []
    rows, columns = run.spec.size

    def answer(part: Pixels, unknown: Hole, number: int) -> Pixels:
        return _answer(part, Masking(1.0 - unknown.float()[None, None]), 0.0, restorer, seed + number)

    made, parts = fill_tiled(pixels, hole, run.spec.size, answer)
    return made, [
        f"{called} is larger than the {columns} x {rows} this model was trained on: {parts} part{'s' * (parts > 1)} of it, "
        "each around a hole, filled at that size; finer structure is taken from the known part of the picture"
    ]


def _answer(pixels: Pixels, operator: Operator, noise: float, restorer: Restorer, seed: int) -> Pixels:
    """One picture through a restorer as an observation."""
    where = restorer.family.device if restorer.family is not None else torch.device("cpu")
    x, operator = to_float(pixels[None]).to(where), operator.to(where)
    # A mask hides and grey mixes what the picture still has; blurred, noisy and small pictures are what was measured.
    y = operator.forward(x) if operator.hides or operator.mixes else x
    observation = Observation(y, operator, region_weight(operator.known, "all"), noise)
    restorer.check(observation)
    made = restorer.restore(observation, rng=stream(seed, "sample", device=where))
    return to_uint8(made)[0].cpu()


def _in_channels(pixels: Pixels, channels: int, called: str) -> Pixels:
    """The picture with as many channels as a model knows.

    Raises: ShapeError: a colour picture for a model of grey ones, or another number of channels.
    """
    if len(pixels) == channels:
        return pixels
    if len(pixels) == 1 and channels == 3:
        return pixels.expand(3, -1, -1)
    if len(pixels) == 3 and channels == 1:
        if bool((pixels == pixels[:1]).all()):
            return pixels[:1]
        raise ShapeError(
            f"{called} is in colour, and this model makes grey pictures only; save the picture as grey first"
        )
    raise ShapeError(f"{called} has {len(pixels)} channels, this model {channels}; give it as many")


def _as_given(made: Pixels, given: Pixels) -> Pixels:
    """Grey where the picture was grey, in colour where it was in colour."""
    if len(made) == len(given):
        return made
    if len(given) == 3:
        return made.expand(3, -1, -1)
    return made.float().mean(0, keepdim=True).round().to(torch.uint8)


def _check_size(pixels: Pixels, run: Run, scale: int, called: str, larger: bool) -> None:
    """Raises: ShapeError: another size than the model's; a hole may be filled in a larger picture too."""
    rows, columns = (side // scale for side in run.spec.size)
    large = larger and pixels.shape[1] >= rows and pixels.shape[2] >= columns
    if tuple(pixels.shape[1:]) != (rows, columns) and not large:
        raise ShapeError(
            f"{called} is {pixels.shape[2]} x {pixels.shape[1]}; this model restores pictures of its own size, "
            f"{columns} x {rows}: crop or resize it first, or use a classical restorer (telea, bicubic ...)"
        )


def _enlarging(pixels: UInt8[Tensor, "C h w"], scale: int, run: Run | None) -> Operator:
    """The down-sampling that a small picture is taken to come from: the run's own, or block means."""
    if scale < 2:
        raise ShapeError(f"--scale {scale} enlarges nothing; give 2 or more")
    if run is None:
        if pixels.shape[1] * pixels.shape[2] * scale**2 > LARGEST:
            raise ShapeError(f"--scale {scale} would make more than {LARGEST:,} pixels; give a smaller one")
        return BlockMean(1, (pixels.shape[1] * scale, pixels.shape[2] * scale), scale)
    for task in run.tasks:
        operator = _drawn(task, run)
        if operator.shrinks and getattr(operator, "scale", None) == scale:
            return operator
    raise CapabilityError(f"this model was not trained to enlarge by {scale}; it was trained for: {_tasks(run)}")


def _clearing(run: Run | None) -> tuple[Operator, float]:
    """What a run undoes that needs neither mask nor scale, and the noise in it."""
    assert run is not None
    for task in run.tasks:
        operator = _drawn(task, run)
        if task.conditional and not operator.hides and not operator.shrinks:
            return operator, task.noise
    raise CapabilityError(
        f"give --mask (white = to be made) or --scale (how many times larger); this model was trained for: {_tasks(run)}"
    )


def _drawn(task: Task, run: Run) -> Operator:
    """An operator of this task for one image of the run's size."""
    return task.operator(stream(0, "mask"), 1, run.spec.size)


def _tasks(run: Run) -> str:
    return ", ".join(task.name for task in run.tasks)
