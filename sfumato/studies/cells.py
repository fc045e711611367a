"""Cells: the independent pieces of a study, the training that each needs, and which are still to be done."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfumato.config import Strict
from sfumato.kinds import build
from sfumato.studies.resolved import Resolved, groups, trained_tasks
from sfumato.studies.study import Study
from sfumato.training import losses
from sfumato.training import run as runs
from sfumato.training.claims import holds
from sfumato.training.run import RunConfig


@dataclass(frozen=True)
class Cell:
    """One training (or one classical method) and the tasks it is measured on."""

    method: int
    seed: int
    tasks: tuple[int, ...]
    training: RunConfig | None = None


def cells(study: Study) -> list[Cell]:
    """Every training that a study needs with what is measured on it, one for a method that has no randomness in training."""
    answer = []
    for number, method in enumerate(study.methods):
        repeated = method.family is not None and method.family.owner.random
        for seed in study.seeds if repeated else study.seeds[:1]:
            for group in groups(study, method):
                training = None
                if method.family is not None:
                    training = RunConfig(
                        data=study.data,
                        tasks=trained_tasks(study, method, group),
                        family=method.family,
                        parts=method.parts,
                        budget=study.budget,
                        seed=seed,
                        plugins=study.plugins,
                    )
                answer.append(Cell(number, seed, group, training))
    return answer


def run_folder(config: RunConfig, out: Path) -> Path:
    """Where a training lives: its name ends in a digest of all its settings, so equal trainings are one.

    One of an older version, where settings that are defaults now were not yet written down, is found by what it holds.
    """
    names = [build(task).name for task in config.tasks]
    digest = hashlib.sha256(config.to_json().encode()).hexdigest()[:8]
    what = names[0] if len(names) == 1 else "jointly"
    stem = f"{config.family.kind}--{what}--{config.seed}"
    place = out / "runs" / f"{stem}--{digest}"
    if place.is_dir():
        return place
    older = (out / "runs").glob(f"{stem}--*/config.json")
    return next((path.parent for path in sorted(older) if holds(path, config)), place)


def result_name(resolved: Resolved, cell: Cell, task: int) -> str:
    """The name of a cell's result for one task, without its ending."""
    return f"{resolved.study.methods[cell.method].slug}--{resolved.tasks[task].name}--{cell.seed}"


def pending(resolved: Resolved, cell: Cell, out: Path) -> list[int]:
    """The tasks of a cell that its restorer can answer and that have no result yet, or one that other settings decided."""
    return [
        task
        for task in cell.tasks
        if (cell.method, task) in resolved.answered
        and _known(out / "results" / f"{result_name(resolved, cell, task)}.json")
        not in ("", decided(resolved, cell, task))
    ]


def decided(resolved: Resolved, cell: Cell, task: int) -> str:
    """A digest of every setting that a result follows from."""
    study = resolved.study
    method = json.loads(study.methods[cell.method].to_json())
    told = {
        "method": {key: value for key, value in method.items() if key != "drawn" or value},  # as before there was any
        "task": study.tasks[task],
        "training": cell.training,
        "data": study.data,
        "seed": cell.seed,
        "metrics": study.metrics,
        "classes": study.classes,
        "batch": study.batch,
    }
    text = json.dumps({key: _plain(value) for key, value in told.items()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    if isinstance(value, Strict):
        return json.loads(value.to_json())
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _known(path: Path) -> str | None:
    """What decided the result in a file; None without one, or where it cannot be read."""
    try:
        found = json.loads(path.read_text())
        return str(found.get("decided", ""))
    except (OSError, ValueError, AttributeError):
        return None if not path.is_file() else ""


def training_progress(resolved: Resolved, out: Path) -> dict[str, int]:
    """Images consumed by each training that is needed, read from the loss files of the runs; used to show progress."""
    answer, study = {}, resolved.study
    for cell in cells(study):
        if cell.training is None or not any((cell.method, task) in resolved.answered for task in cell.tasks):
            continue
        folder = run_folder(cell.training, out)
        images = 0
        if runs.is_finished(folder):
            images = study.budget.images
        elif (folder / losses.NAME).is_file():
            lines = losses.read(folder / losses.NAME)
            images = int(lines[-1]["images"]) if lines else 0
        answer[folder.name] = min(images, study.budget.images)
    return answer
