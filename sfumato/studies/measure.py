"""Measure: restore every test image of a task with one method and compute figures on the answers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from sfumato.data.base import Dataset, Split
from sfumato.errors import CapabilityError, DataError
from sfumato.files import write_atomic
from sfumato.images import Pixels, encode, grid, to_float, to_uint8
from sfumato.metrics.base import Metric, Score
from sfumato.restorers.base import Restorer
from sfumato.streams import stream
from sfumato.tasks.base import Observation, Task

SHOWN = 10  # test images that the report shows of every method


@dataclass(frozen=True)
class Measured:
    """What one method did on one task."""

    scores: list[Score]
    within: dict[str, dict[str, float]]
    """Figures within classes, by the metric's label and the class's name; empty where nobody asked."""
    milliseconds: float
    shown: Pixels
    """The first answers, for the report."""
    costs: dict[str, float] = field(default_factory=dict)
    """What the answers took beside their time."""


def observe(task: Task, split: Split, places: slice, device: torch.device | str) -> tuple[Pixels, Observation]:
    """True images and what is observed of them; image i has its own stream, whatever method or batch it meets."""
    pixels, _, inputs = split.read(places)
    pixels = pixels.to(device)
    given = None if inputs is None else to_float(inputs.to(device))
    rngs = [stream(0, "mask", places.start + i) for i in range(len(pixels))]
    return pixels, task.observe(to_float(pixels), rngs, given)


def measure(
    restorer: Restorer,
    task: Task,
    data: Dataset,
    metrics: Sequence[Metric],
    *,
    seed: int,
    batch: int,
    device: torch.device,
    classes: bool = False,
) -> Measured:
    """Restore every test image of a task and compute metrics on the answers.

    The first answer to each observation is the one that counts and is timed; metrics of several draws get more of them.
    A task of generation tells the classes of the test images to a family that hears them, a task of restoration does not.
    """
    test, family = data.test, restorer.family
    seconds, shown = 0.0, []
    _, first_few = observe(task, test, slice(0, 8), device)
    if restorer.rehearses:  # libraries warm up outside the clock
        restorer.restore(first_few, rng=stream(seed, "rehearsal", device=device))
    used: list[Metric] = []
    models = [metric for metric in metrics if metric.needs is not None]
    images = [metric for metric in metrics if metric.needs is None]
    draws = max((metric.draws for metric in images), default=1)
    for metric in images:
        if metric.wants_train:
            for first in range(0, len(data.train), batch):
                metric.train(data.train.read(slice(first, first + batch))[0].to(device))
    for first in range(0, len(test), batch):
        places = slice(first, first + batch)
        true, observation = observe(task, test, places, device)
        told = None
        if family is not None and family.labelled and not task.conditional and test.labels is not None:
            told = test.labels[places].to(device)
        rng = stream(seed, "sample", task.name, first, device=device)
        _wait(device)
        start = time.perf_counter()
        made = to_uint8(restorer.answer(observation, told, rng=rng))
        _wait(device)
        seconds += time.perf_counter() - start
        more = [stream(seed, "sample", task.name, first, "draw", i, device=device) for i in range(1, draws)]
        answers = torch.stack([made, *(to_uint8(restorer.answer(observation, told, rng=other)) for other in more)])
        used = [metric for metric in images if metric.applies(observation)]
        for metric in used:
            metric.update(answers[: metric.draws] if metric.draws > 1 else made, true, observation)
        if first < SHOWN:
            shown.append(made[: SHOWN - first].cpu())
    scores: list[Score] = [score for metric in used for score in metric.scores()]
    scores += _of_the_model(models, restorer, task, test, seed, batch)
    within = {}
    if classes and test.labels is not None:
        for metric in used:
            by_class = metric.within(test.labels)
            if by_class:
                within[metric.label] = {data.class_name(label): value for label, value in by_class.items()}
    return Measured(scores, within, 1000 * seconds / len(test), torch.cat(shown), restorer.costs())


def _of_the_model(
    metrics: Sequence[Metric], restorer: Restorer, task: Task, test: Split, seed: int, batch: int
) -> list[Score]:
    """Figures that ask the family itself, where it can answer: only what it was trained to generate has a density."""
    family = restorer.family
    if family is None or task.conditional:
        return []
    found: list[Score] = []
    for metric in metrics:
        if metric.needs is not None and isinstance(family, metric.needs):
            with suppress(
                CapabilityError
            ):  # its settings leave it without an answer, as a Bernoulli law without a density
                found += metric.measure_model(family, test, seed=seed, batch=batch)
    return found


def _wait(device: torch.device) -> None:
    """Let a GPU finish what was asked of it, so that a clock reads what it should."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def show_truth(tasks: Sequence[Task], test: Split, out: Path) -> None:
    """Write the columns of true and of observed images that the report sets beside every method's."""
    images = test.read(slice(0, SHOWN))[0]
    picture(images, out / "pictures" / "true.png")
    for task in tasks:
        _, observation = observe(task, test, slice(0, SHOWN), "cpu")
        picture(to_uint8(observation.preview), out / "pictures" / f"observed--{task.name}.png")


def picture(pixels: Tensor, path: Path) -> None:
    """Write a column of pictures, enlarged to be seen."""
    scale = max(1, 64 // pixels.shape[-1])
    try:
        write_atomic(path, encode(grid(pixels, columns=1, gap=2, scale=scale)))
    except OSError as error:
        raise DataError(f"cannot write {path}: {error}; free some space or choose another folder") from None
