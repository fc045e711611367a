"""Cells: the independent pieces of a study, where each leaves its files, and which are still to be done."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from sfumato.kinds import build
from sfumato.restorers.base import Restorer
from sfumato.streams import stream
from sfumato.studies.study import Study
from sfumato.tasks.base import Task
from sfumato.training import run as runs


@dataclass(frozen=True)
class Cell:
    """One training (or one classical method) and the tasks it is measured on."""

    method: int
    seed: int
    tasks: tuple[int, ...]


def cells(study: Study) -> list[Cell]:
    """Every training a study needs, and one cell for each classical method."""
    tasks = range(len(study.tasks))
    answer = []
    for number, method in enumerate(study.methods):
        if method.family is None:
            answer.append(Cell(number, study.seeds[0], tuple(tasks)))
        else:
            groups: list[tuple[int, ...]] = [tuple(tasks)] if study.train == "jointly" else [(task,) for task in tasks]
            answer += [Cell(number, seed, group) for seed in study.seeds for group in groups]
    return answer


def run_folder(study: Study, cell: Cell, out: Path) -> Path:
    """Where a cell's training lives."""
    task = "jointly" if len(cell.tasks) == len(study.tasks) > 1 else build(study.tasks[cell.tasks[0]]).name
    return out / "runs" / f"{study.methods[cell.method].slug}--{task}--{cell.seed}"


def result_name(study: Study, cell: Cell, task: int) -> str:
    """The name of a cell's result for one task, without its ending."""
    return f"{study.methods[cell.method].slug}--{build(study.tasks[task]).name}--{cell.seed}"


def answers(restorer: type[Restorer], task: Task, size: int) -> bool:
    """Whether a restorer can undo this task's operator; a classical one often cannot, and its cell stays empty."""
    return isinstance(task.operator([stream(0, "mask", 0)], 1, size), restorer.answers)


def pending(study: Study, cell: Cell, out: Path, size: int) -> list[int]:
    """The tasks of a cell that its restorer can answer and that have no result yet."""
    restorer = study.methods[cell.method].restorer.owner
    return [
        task
        for task in cell.tasks
        if answers(restorer, build(study.tasks[task]), size)
        and not (out / "results" / f"{result_name(study, cell, task)}.json").is_file()
    ]


def training_progress(study: Study, out: Path) -> dict[str, Any]:
    """Images consumed by each training, read from the loss files of the runs; used to show progress."""
    answer = {}
    for cell in cells(study):
        if study.methods[cell.method].family is None:
            continue
        folder = run_folder(study, cell, out)
        images = 0
        if runs.is_finished(folder):
            images = study.budget.images
        elif (folder / "losses.jsonl").is_file():
            lines = (folder / "losses.jsonl").read_text().splitlines()
            try:
                images = int(json.loads(lines[-1])["images"]) if lines else 0
            except (ValueError, KeyError):
                images = 0
        answer[folder.name] = min(images, study.budget.images)
    return answer
