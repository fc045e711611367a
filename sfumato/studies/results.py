"""Results: one JSON file a finished cell, gathered into results.jsonl; nothing finished is ever lost or made twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator

from sfumato import config as settings
from sfumato.config import Strict
from sfumato.errors import ConfigError, DataError, shortened
from sfumato.files import write_atomic
from sfumato.kinds import build
from sfumato.metrics.base import Score
from sfumato.studies.study import Study
from sfumato.training.claims import migrated
from sfumato.training.ledger import Ledger


class Result(Strict):
    """One cell: a method on a task, trained with a seed (a classical method has the first seed alone)."""

    method: str
    """The row."""
    task: str
    """The task's name."""
    seed: int
    """The training's seed."""
    status: Literal["ok", "diverged"]
    """diverged: the training or sampling left the finite numbers; it stays in the tables with its cause."""
    cause: str = ""
    """What happened, where it did not end well."""
    learned: bool
    """False for classical restorers."""
    random: bool
    """Whether another seed would have trained another model."""
    chosen: int | None = None
    """Images that the weights had seen which validation images chose; None for the end of a training."""
    trained_on: list[str] = []
    """The tasks this model was trained on: one, or all of a joint study."""
    parameters: int = 0
    """Deployed: what sampling needs."""
    parameters_training: int = 0
    """With critics and whatever else stays at home."""
    width: float | None = None
    """The width that parity found."""
    ledger: Ledger | None = None
    """What the training cost."""
    parents: dict[str, Ledger] = {}
    """What the trainings cost that this one goes on from or is built of."""
    milliseconds: float = 0.0
    """Wall-clock time to restore one image, in batches."""
    calls: int = 0
    """Network calls for one image."""
    costs: dict[str, float] = {}
    """What its answers took beside their time, by name and unit."""
    scores: dict[str, Score] = {}
    """The figures by their labels."""
    within: dict[str, dict[str, float]] = {}
    """Figures within classes, by their labels and the classes' names."""
    decided: str = ""
    """A digest of every setting that decided it; empty for those of version 0.1."""

    @model_validator(mode="before")
    @classmethod
    def _of_before(cls, values: Any) -> Any:
        """Results of version 0.1 do not say whether their training was random: what learned was."""
        return {"random": values.get("learned", True), **values} if isinstance(values, dict) else values

    @property
    def training(self) -> str:
        """What tells its training from every other, the ledger with its seconds; empty where nothing was trained."""
        return "" if self.ledger is None else self.ledger.model_dump_json()

    @property
    def cell(self) -> str:
        """The name of its file."""
        return f"{self.method}--{self.task}--{self.seed}"


def save(result: Result, folder: Path, cell: str) -> None:
    """Write a cell's file atomically."""
    write_atomic(folder / "results" / f"{cell}.json", result.model_dump_json())


def gather(folder: Path) -> list[Result]:
    """All finished cells of a study's folder, in a fixed order.

    Raises: DataError: a file is not a result.
    """
    found = []
    for path in sorted((folder / "results").glob("*.json")):
        try:
            found.append(Result.model_validate_json(path.read_text()))
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path} is not a result ({str(error).splitlines()[0]}); remove it to measure that cell again"
            ) from None
    return found


def ordered(results: list[Result], study: Study) -> list[Result]:
    """The study's own cells in its order: by task, then method, then seed; others may be left of an earlier form of it."""
    tasks = [build(task).name for task in study.tasks]
    methods = [method.name for method in study.methods]
    own = [r for r in results if r.task in tasks and r.method in methods and r.seed in study.seeds]
    return sorted(own, key=lambda result: (tasks.index(result.task), methods.index(result.method), result.seed))


def write_lines(results: list[Result], folder: Path) -> Path:
    """results.jsonl: a line a cell."""
    path = folder / "results.jsonl"
    write_atomic(path, "".join(result.model_dump_json() + "\n" for result in results))
    return path


def read_lines(path: Path) -> list[Result]:
    """The cells of a results.jsonl.

    Raises: DataError: missing, or a line is not a result.
    """
    try:
        return [Result.model_validate(json.loads(line)) for line in path.read_text().splitlines() if line.strip()]
    except OSError:
        raise DataError(f"no results at {path}; run `sfumato study` first, or give the folder it wrote") from None
    except ValueError as error:
        raise DataError(
            f"{path} is damaged ({str(error).splitlines()[0]}); give the command `sfumato study` again"
        ) from None


def read_resolved(folder: Path) -> Study:
    """The study as it was run, with scale and parity applied; what a folder names is never imported.

    Raises: ConfigError: it has kinds from modules that nobody imported.
    """
    path = folder / "study.json"
    values = migrated(settings.read(path))
    try:
        return settings.load(Study, values, str(path), trusted=False)
    except ConfigError as error:
        if isinstance(named := values.get("plugins"), list) and named:
            raise ConfigError(
                f"{error}; it names modules of its own ({shortened(named)}): name those that you trust, as in --plugin NAME"
            ) from None
        raise
