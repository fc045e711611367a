"""Measure: restore every test image of a task with one method and compute the study's metrics on the answers."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import Tensor

from sfumato.config import write_atomic
from sfumato.data.base import Split
from sfumato.families.base import parameter_count
from sfumato.images import encode, grid, to_float, to_uint8
from sfumato.kinds import build
from sfumato.metrics.base import Metric, Score
from sfumato.restorers.base import Restorer
from sfumato.streams import stream
from sfumato.studies.cells import Cell
from sfumato.studies.results import Result
from sfumato.studies.study import Study
from sfumato.tasks.base import Observation, Task
from sfumato.training import processes
from sfumato.training.run import Run

SHOWN = 10  # test images that the report shows of every method


def observe(task: Task, images: Tensor, first: int) -> tuple[Tensor, Observation]:
    """True images in [-1, 1] and what is observed of them; image i has its own stream, whatever method or batch it meets."""
    x = to_float(images)
    return x, task.observe(x, [stream(0, "mask", first + i) for i in range(len(x))])


def measure(
    study: Study,
    cell: Cell,
    task: Task,
    restorer: Restorer,
    trained: Run | None,
    test: Split,
    out: Path,
    where: str = "cpu",
    train: Split | None = None,
) -> Result:
    """Restore every test image of a task and compute the study's metrics, classical methods' on the same device.

    The first answer to each observation is the one that counts and is timed; metrics of several draws get more of them.
    """
    metrics: list[Metric] = [build(metric) for metric in study.metrics]
    device = trained.family.device if trained is not None else processes.join(where)
    seconds, shown = 0.0, []
    _, first_few = observe(task, test.images[:8].to(device), 0)
    restorer.restore(
        first_few, rng=stream(cell.seed, "rehearsal", device=device)
    )  # libraries warm up outside the clock
    used: list[Metric] = []
    draws = max(metric.draws for metric in metrics)
    for metric in metrics:
        if metric.wants_train and train is not None:
            for part in train.images.split(study.batch):
                metric.train(part.to(device))
    for first in range(0, len(test), study.batch):
        true = test.images[first : first + study.batch].to(device)
        _, observation = observe(task, true, first)
        rng = stream(cell.seed, "sample", task.name, first, device=device)
        _wait(device)
        start = time.perf_counter()
        made = to_uint8(restorer.restore(observation, rng=rng))
        _wait(device)
        seconds += time.perf_counter() - start
        more = [stream(cell.seed, "sample", task.name, first, "draw", i, device=device) for i in range(1, draws)]
        answers = torch.stack([made, *(to_uint8(restorer.restore(observation, rng=other)) for other in more)])
        used = [metric for metric in metrics if metric.applies(observation)]
        for metric in used:
            metric.update(answers[: metric.draws] if metric.draws > 1 else made, true, observation)
        if first < SHOWN:
            shown.append(made[: SHOWN - first].cpu())
    method = study.methods[cell.method]
    _picture(torch.cat(shown), out / "pictures" / f"{method.slug}--{task.name}--{cell.seed}.png")
    scores: list[Score] = [score for metric in used for score in metric.scores()]
    return Result(
        method=method.name,
        task=task.name,
        seed=cell.seed,
        status="ok",
        learned=trained is not None,
        trained_on=[] if trained is None else [t.name for t in trained.tasks],
        parameters=0 if trained is None else parameter_count(trained.family.deployed()),
        parameters_training=0 if trained is None else parameter_count([trained.family]),
        width=None if trained is None else getattr(method.family, "width", None),
        ledger=None if trained is None else trained.ledger,
        milliseconds=1000 * seconds / len(test),
        calls=0 if trained is None else trained.family.calls(),
        scores={score.label: score for score in scores},
    )


def _wait(device: torch.device) -> None:
    """Let a GPU finish what was asked of it, so that a clock reads what it should."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def show_truth(study: Study, test: Split, out: Path) -> None:
    """Write the columns of true and of observed images that the report sets beside every method's."""
    images = test.images[:SHOWN]
    _picture(images, out / "pictures" / "true.png")
    for settings in study.tasks:
        task: Task = build(settings)
        _, observation = observe(task, images, 0)
        _picture(to_uint8(observation.preview), out / "pictures" / f"observed--{task.name}.png")


def _picture(pixels: Tensor, path: Path) -> None:
    """A column of pictures, enlarged to be seen."""
    scale = max(1, 64 // pixels.shape[-1])
    try:
        write_atomic(path, encode(grid(pixels, columns=1, gap=2, scale=scale)))
    except OSError as error:
        raise DataError(f"cannot write {path}: {error}") from None
