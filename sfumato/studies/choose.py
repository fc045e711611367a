"""Choose: of the moments of a training the one that is best on validation images; test images have no say in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from sfumato.data.base import Dataset
from sfumato.errors import DataError
from sfumato.kinds import build
from sfumato.metrics.base import Metric
from sfumato.studies.measure import measure
from sfumato.tasks.base import Task
from sfumato.training import moments
from sfumato.training import run as runs
from sfumato.training.run import Run


def best_moment(
    folder: Path, last: Run, restorer: Any, task: Task, data: Dataset, metrics: Sequence[Any], *, seed: int, batch: int
) -> Run:
    """The run with the weights whose first figure on the validation images is best; the end wins where it is as good.

    `restorer` and `metrics` are settings. The first metric that this task has a figure of decides.

    Raises: DataError: no validation images. DivergedError: sampling left the finite numbers.
    """
    if len(data.validation) == 0:
        raise DataError(
            f'{data.name} has no validation images to choose by; leave out weights = "best" or choose other data'
        )
    device: torch.device = last.family.device
    held = replace(data, test=data.validation)

    def loss(run: Run) -> float:
        for settings in metrics:
            metric: Metric = build(settings)
            measured = measure(build(restorer, run.family), task, held, [metric], seed=seed, batch=batch, device=device)
            for score in measured.scores:
                return score.loss(score.value)
        raise DataError(f"no metric of this study has a figure on {task.name}, so nothing can be chosen by it")

    candidates = [last, *(runs.load(folder, str(device), moment) for moment in reversed(moments.kept(folder)))]
    return min(candidates, key=loss)
