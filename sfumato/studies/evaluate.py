"""Evaluate one run on the test images of its data: a study of one method that is already trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sfumato.config import Strict
from sfumato.kinds import build, parse
from sfumato.metrics.base import Metric
from sfumato.restorers.conditional import Conditional
from sfumato.studies.cells import Cell
from sfumato.studies.measure import measure
from sfumato.studies.results import Result
from sfumato.studies.study import Method, Study
from sfumato.training.run import load


def evaluate_run(
    folder: Path | str,
    metrics: Sequence[str | Strict] = (),
    test: int | None = None,
    out: Path | None = None,
    device: str = "auto",
) -> list[Result]:
    """One result for each task the run was trained on; pictures go below `out` (the run's folder when left out).

    Raises: WeightsError: the folder is no finished run. ConfigError: an unknown metric.
    """
    folder = Path(folder)
    trained = load(folder, device)
    config = trained.config
    chosen: dict[str, Any] = {"metrics": [parse(Metric, metric) for metric in metrics]} if metrics else {}
    data = config.data if test is None else config.data.model_copy(update={"test": test})
    study = Study(
        title=f"Evaluation of {folder.name}",
        data=data,
        tasks=config.tasks,
        train="jointly",
        seeds=[config.seed],
        budget=config.budget,
        methods=[Method(name=str(config.family.kind), family=config.family)],
        **chosen,
    )
    parts = build(data).load()
    restorer = Conditional(Conditional.Config(), trained.family)
    cell = Cell(0, config.seed, tuple(range(len(study.tasks))))
    where = out or folder / "evaluation"
    return [
        measure(study, cell, task, restorer, trained, parts.test, where, train=parts.train) for task in trained.tasks
    ]
