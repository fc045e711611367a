"""Fitting: what a model can be asked about a picture, and the picture as the model knows pictures."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import UInt8
from torch import Tensor

from sfumato.errors import CapabilityError, ShapeError
from sfumato.images import LARGEST
from sfumato.maths.regions import Box
from sfumato.streams import stream
from sfumato.tasks.base import Operator, Task
from sfumato.tasks.down_sampling import BlockMean
from sfumato.training.run import Run

Pixels = UInt8[Tensor, "C H W"]
ASK = "give --mask (white = to be made), --border (pixels to be made around) or --scale (how many times larger)"


def drawn(task: Task, run: Run) -> Operator:
    """An operator of this task for one image of the run's size."""
    return task.operator(stream(0, "mask"), 1, run.spec.size)


def able(run: Run, what: Callable[[Operator], bool]) -> list[tuple[Task, Operator]]:
    """The tasks that a run was trained on whose operator is such a one, each with an operator of its size."""
    known = [(task, drawn(task, run)) for task in run.tasks if task.conditional]
    return [(task, operator) for task, operator in known if what(operator)]


def require_filling(run: Run) -> None:
    """Raises: CapabilityError: a run that was trained to restore was not trained to fill masks."""
    if run.spec.condition and not able(run, lambda operator: operator.hides):
        raise CapabilityError(f"this model was not trained to fill masks; it was trained for: {tasks(run)}")


def filling(run: Run | None) -> float:
    """The noise that a run takes what is given around a hole to have: the least that it was trained with."""
    known = [] if run is None else able(run, lambda operator: operator.hides)
    return min((task.noise for task, _ in known), default=0.0)


def enlarging(pixels: UInt8[Tensor, "C h w"], scale: int, run: Run | None) -> tuple[Operator, float]:
    """The down-sampling that a small picture is taken to come from, the run's own, at its size, or block means; and its noise.

    Raises: ShapeError: no enlargement, or one beyond what a picture may hold. CapabilityError: the run cannot enlarge so.
    """
    if scale < 2:
        raise ShapeError(f"--scale {scale} enlarges nothing; give 2 or more")
    size = pixels.shape[1] * scale, pixels.shape[2] * scale
    if size[0] * size[1] > LARGEST:
        raise ShapeError(f"--scale {scale} would make more than {LARGEST:,} pixels; give a smaller one")
    if run is None:
        return BlockMean(1, size, scale), 0.0
    if not run.spec.condition:
        if any(side % scale for side in run.spec.size):
            raise CapabilityError(
                f"this model makes {run.spec.size[1]} x {run.spec.size[0]}, which {scale} does not divide"
            )
        return BlockMean(1, run.spec.size, scale), 0.0
    known = able(run, lambda operator: operator.shrinks and getattr(operator, "scale", None) == scale)
    if not known:
        raise CapabilityError(f"this model was not trained to enlarge by {scale}; it was trained for: {tasks(run)}")
    task, operator = min(known, key=lambda pair: pair[0].noise)
    return operator, task.noise


def clearing(run: Run | None) -> tuple[Operator, float]:
    """What a run undoes that needs neither mask nor scale, and the noise in it.

    Raises: CapabilityError: it undoes nothing of the kind.
    """
    known = [] if run is None else able(run, lambda operator: not operator.hides and not operator.shrinks)
    if not known:
        raise CapabilityError(ASK + ("" if run is None else f"; this model was trained for: {tasks(run)}"))
    task, operator = known[0]
    return operator, task.noise


def tasks(run: Run) -> str:
    """What a run was trained for, in words."""
    return ", ".join(task.name for task in run.tasks)


def in_channels(pixels: Pixels, channels: int, called: str) -> Pixels:
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


def as_given(made: Pixels, given: Pixels) -> Pixels:
    """Grey where the picture was grey, in colour where it was in colour."""
    if len(made) == len(given):
        return made
    if len(given) == 3:
        return made.expand(3, -1, -1)
    return made.float().mean(0, keepdim=True).round().to(torch.uint8)


def require_tiles(operator: Operator, pixels: Pixels, called: str) -> None:
    """Raises: ShapeError: another size than the model's, and a pixel of y depends on what lies beyond any tile."""
    if operator.shrinks:  # a filter of a few pixels
        return
    try:
        operator.crop(Box(0, 0, *operator.size))
    except CapabilityError:
        rows, columns = operator.size
        raise ShapeError(
            f"{called} is {pixels.shape[2]} x {pixels.shape[1]}; {type(operator).__name__} looks beyond any tile, so "
            f"this model undoes it in pictures of its own size, {columns} x {rows}: crop or resize it first"
        ) from None


def has_room(pixels: Pixels, run: Run) -> bool:
    """Whether a picture is as large as the images of the model that is to fill its holes."""
    return pixels.shape[1] >= run.spec.size[0] and pixels.shape[2] >= run.spec.size[1]
