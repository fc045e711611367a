"""Pairs: metrics that compare each made image with its own true one, over two sets of images."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import torch
from torch import Tensor

from sfumato.data.imageset import ImageSet, Picture
from sfumato.errors import CapabilityError, DataError, ShapeError
from sfumato.evaluation import sources
from sfumato.evaluation.request import Request
from sfumato.evaluation.vectors import Watch, nobody
from sfumato.images import to_float
from sfumato.metrics.base import Metric, Score
from sfumato.tasks.base import Observation
from sfumato.tasks.operators import Masking

AT_ONCE = 64


def paired(made: ImageSet, real: ImageSet) -> tuple[ImageSet, ImageSet, str]:
    """Both sets so that image i of one belongs to image i of the other: by name where names agree, else by order.

    Raises: DataError: another number of images.
    """
    if len(made) != len(real):
        raise DataError(
            f"{made.name} has {len(made)} images and {real.name} {len(real)}; paired metrics need one for one,"
            " or --n and --n-real alike"
        )
    stems = [[str(PurePosixPath(entry.name).with_suffix("")) for entry in part.entries] for part in (made, real)]
    if set(stems[0]) == set(stems[1]) and len(set(stems[0])) == len(made):
        place = {stem: i for i, stem in enumerate(stems[1])}
        return made, real.changed(entries=[real.entries[place[stem]] for stem in stems[0]]), "name"
    return made, real, "order"


def judge(metric: Metric, request: Request, made: ImageSet, real: ImageSet, watch: Watch = nobody) -> list[Score]:
    """A paired metric over all pairs, with what the card should say of both sets.

    Raises: CapabilityError: it needs several answers to one observation, or an operator that only a task knows.
    DataError and ShapeError: the images do not fit each other.
    """
    if metric.draws > 1 or not metric.paired:
        raise CapabilityError(f"{metric.label} needs a model that answers; use it in a study, or evaluate a run")
    made, real, how = paired(made, real)
    masks = mask_set(request, made)
    parts = [made.parts(AT_ONCE), real.parts(AT_ONCE)] + ([masks.parts(AT_ONCE)] if masks is not None else [])
    done = 0
    for groups in zip(*parts, strict=True):
        names = [entry.name for entry in groups[0][0]]
        for i, name in enumerate(names):
            x, y = alike(groups[0][1][i], groups[1][1][i])
            known = None if masks is None else known_of(groups[2][1][i], x, name)
            metric.update(x[None], y[None], observation(y, known))
        done += len(names)
        watch(metric.label, done, len(made))
    told: dict[str, Any] = {"made": made.about(), "real": real.about(), "paired_by": how}
    return [score.model_copy(update={"card": {**score.card, **told}}) for score in metric.scores()]


def alike(x: Picture, y: Picture) -> tuple[Picture, Picture]:
    """Both with three channels where one is grey and the other is not."""
    if x.shape[0] == y.shape[0]:
        return x, y
    return x.expand(3, -1, -1), y.expand(3, -1, -1)


def observation(true: Picture, known: Tensor | None) -> Observation:
    """What was known of an image: its mask, or nothing where nobody said."""
    _, height, width = true.shape
    known = torch.zeros(1, 1, height, width) if known is None else known
    operator = Masking(known)
    return Observation(operator.forward(to_float(true[None])), operator, 1.0 - known)


def mask_set(request: Request, made: ImageSet) -> ImageSet | None:
    """The masks of the made images, in their order."""
    if request.masks is None:
        return None
    return paired(made, sources.find(request.masks, None, request.on_broken))[1]


def known_of(mask: Picture, image: Picture, name: str) -> Tensor:
    """1 where a mask is dark, 0 where it is light: masks are white where the picture was made.

    Raises: ShapeError: the mask has another size.
    """
    if mask.shape[1:] != image.shape[1:]:
        sizes = [f"{part.shape[1]} x {part.shape[2]}" for part in (mask, image)]
        raise ShapeError(f"the mask of {name} is {sizes[0]}, the image {sizes[1]}; they must be of one size")
    return (mask.float().mean(0) < 128).float()[None, None]
