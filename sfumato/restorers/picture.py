"""One picture of a person's own: read it and its mask, restore it, say what looked wrong. White is what has to be made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from sfumato.errors import CapabilityError, DataError, ShapeError
from sfumato.images import LARGEST, read_picture, to_float, to_uint8
from sfumato.kinds import build, find, parse
from sfumato.restorers.base import Restorer
from sfumato.restorers.conditional import Conditional
from sfumato.streams import stream
from sfumato.tasks.base import Observation, Operator, Task, region_weight
from sfumato.tasks.down_sampling import BlockMean
from sfumato.tasks.operators import Masking
from sfumato.training.run import Run, load


@dataclass(frozen=True)
class Restored:
    """The restored picture and what a person should know of it."""

    pixels: UInt8[Tensor, "C H W"]
    warnings: list[str]


def read_mask(
    mask: Path | UInt8[Tensor, "H W"], height: int, width: int, invert: bool = False
) -> tuple[Float[Tensor, "1 1 H W"], list[str]]:
    """A mask as `known` (1 = given), and warnings. In the file or the grey levels, white is where the picture is to be made.

    Raises: DataError: unreadable, or nothing or everything is to be made. ShapeError: another size than the picture.
    """
    path, grey = (mask, read_picture(mask, channels=1)[0]) if isinstance(mask, Path) else ("of the picture", mask)
    if grey.shape != (height, width):
        raise ShapeError(
            f"the mask {path} is {grey.shape[1]} x {grey.shape[0]}, the picture {width} x {height}; make them the same size"
        )
    warnings = []
    between = float(((grey > 16) & (grey < 239)).float().mean())
    if between > 0.01:
        warnings.append(
            f"{between:.0%} of the mask is grey (a JPEG or a soft brush?); from 128 it counts as white; PNG is safest"
        )
    hole = grey < 128 if invert else grey >= 128
    share = float(hole.float().mean())
    if share == 0:
        raise DataError(
            f"the mask {path} asks for nothing (no white pixel); paint white where the picture is to be made, or use --invert"
        )
    if share == 1:
        raise DataError(
            f"the mask {path} asks for everything (all white), so nothing is known; leave some black, or use `sfumato sample`"
        )
    if share > 0.5:
        warnings.append(
            f"the mask asks for {share:.0%} of the picture (white = to be made); if it is the wrong way round, give --invert"
        )
    return (~hole).float()[None, None], warnings


def restorer_of(model: str | Run, device: str = "auto") -> tuple[Restorer, Run | None]:
    """A restorer from a run, from its folder, or from the name of a classical one.

    Raises: WeightsError: the folder is no finished run. ConfigError: neither a folder nor a name.
    """
    if isinstance(model, Run):
        return Conditional(Conditional.Config(), model.family), model
    folder = Path(model)
    if folder.is_dir():
        run = load(folder, device)
        return Conditional(Conditional.Config(), run.family), run
    kind = find(Restorer, model)
    if isinstance(kind, type) and issubclass(kind, Restorer) and kind.needs is not None:
        raise CapabilityError(f"restorer {model!r} needs a trained model; give --model the folder of a run")
    return build(parse(Restorer, model)), None


def restore_picture(
    picture: Path | str | UInt8[Tensor, "C H W"],
    model: str | Run,
    *,
    mask: Path | str | UInt8[Tensor, "H W"] | None = None,
    scale: int | None = None,
    invert: bool = False,
    seed: int = 0,
    device: str = "auto",
) -> Restored:
    """Fill the white part of a mask, enlarge by `scale`, or with neither do what a run was trained for, as to denoise.

    Filling and enlarging can be asked of a trained run or of a classical restorer. Picture and mask are files, or pixels.

    Raises: DataError, ShapeError: the picture or mask cannot be used. CapabilityError: the model was not trained for this.
    """
    restorer, run = restorer_of(model, device)
    if (mask is not None and scale is not None) or (run is None and mask is None and scale is None):
        raise CapabilityError("give either --mask (white = to be made) or --scale (how many times larger)")
    called = "the picture" if isinstance(picture, Tensor) else picture
    pixels = picture if isinstance(picture, Tensor) else read_picture(picture, run.spec.channels if run else 3)
    if run is not None and len(pixels) != run.spec.channels:
        raise ShapeError(f"the picture has {len(pixels)} channels, this model {run.spec.channels}; give it as many")
    warnings: list[str] = []
    noise = 0.0
    if mask is not None:
        known, warnings = read_mask(
            mask if isinstance(mask, Tensor) else Path(mask), pixels.shape[1], pixels.shape[2], invert
        )
        operator: Operator = Masking(known)
        if run is not None and not any(_drawn(task, run).hides for task in run.tasks):
            raise CapabilityError(f"this model was not trained to fill masks; it was trained for: {_tasks(run)}")
    elif scale is not None:
        operator = _enlarging(pixels, scale, run)
    else:
        assert run is not None
        operator, noise = _clearing(run)
    if run is not None:
        rows, columns = (side // (scale or 1) for side in run.spec.size)
        if tuple(pixels.shape[1:]) != (rows, columns):
            raise ShapeError(
                f"{called} is {pixels.shape[2]} x {pixels.shape[1]}; this model restores pictures of its own size, "
                f"{columns} x {rows}: crop or resize it first, or use a classical restorer (telea, bicubic ...)"
            )
    where = restorer.family.device if restorer.family is not None else torch.device("cpu")
    x = to_float(pixels[None]).to(where)
    operator = operator.to(where)
    # A mask hides and grey mixes what the picture still has; blurred, noisy and small pictures are what was measured.
    y = operator.forward(x) if operator.hides or operator.mixes else x
    observation = Observation(y, operator, region_weight(operator.known, "all"), noise)
    restorer.check(observation)
    made = restorer.restore(observation, rng=stream(seed, "sample", device=where))
    return Restored(to_uint8(made)[0].cpu(), warnings)


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


def _clearing(run: Run) -> tuple[Operator, float]:
    """What a run undoes that needs neither mask nor scale, and the noise in it."""
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
