"""Resolved: a study with its widths solved, its data loaded and its tasks built, once, for all cells to share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from sfumato.config import Strict
from sfumato.data.base import Dataset
from sfumato.errors import ConfigError
from sfumato.kinds import build
from sfumato.studies.parity import deployed_parameters, fit_parameters
from sfumato.studies.study import Method, Study
from sfumato.tasks.base import Task
from sfumato.tasks.generation import Generation
from sfumato.training import run as runs
from sfumato.training.parts import START


@dataclass(frozen=True)
class Resolved:
    """What cells are given. Metrics are not here: they gather figures, so each measurement builds its own."""

    study: Study
    data: Dataset
    tasks: tuple[Task, ...]

    @cached_property
    def answered(self) -> frozenset[tuple[int, int]]:
        """Method and task of each pair where the restorer can undo the task; a classical one often cannot."""
        examples = [task.example(self.data.spec.channels, self.data.size) for task in self.tasks]
        return frozenset(
            (m, t)
            for m, method in enumerate(self.study.methods)
            for t, example in enumerate(examples)
            if method.restorer.owner.answers(example.operator)
            and (
                method.family is None
                or not method.restorer.owner.trains_on_tasks
                or not method.family.owner.refuses(method.family, example)
            )
        )


def resolve(study: Study, data: Dataset | None = None) -> Resolved:
    """Load, build and solve what a study names.

    Raises: ConfigError: parity cannot be reached. DataError: the images cannot be read.
    """
    data = data or build(study.data).load()
    return Resolved(solved(study, data), data, tuple(build(task) for task in study.tasks))


def solved(study: Study, data: Dataset) -> Study:
    """The study with every learned method at the width that parity asks for.

    Raises: ConfigError: a width cannot be found within the tolerance.
    """
    if study.parity.parameters is None:
        return study
    methods = []
    for method in study.methods:
        if method.family is not None:
            served = [trained_tasks(study, method, group) for group in groups(study, method)]
            specs = [runs.run_spec(data, [build(task) for task in group]) for group in served]
            if any(other != specs[0] for other in specs):
                raise ConfigError(
                    "parity cannot hold in a study that trains generation and restoration apart, since only one has a "
                    "condition; split it into two studies, or train jointly"
                )
            parts = {name: runs.skeleton(path).family for name, path in method.parts.items() if name != START}
            if deployed_parameters(method.family, specs[0], parts) == 0:
                methods.append(method)  # what is computed and not trained has no width to turn
                continue
            family = fit_parameters(method.family, specs[0], study.parity.parameters, study.parity.tolerance, parts)
            method = method.model_copy(update={"family": family})
        methods.append(method)
    return study.model_copy(update={"methods": methods})


def trained_tasks(study: Study, method: Method, group: tuple[int, ...]) -> list[Strict]:
    """The settings of the tasks that a method's model is trained on, to answer these ones."""
    if not method.restorer.owner.trains_on_tasks:
        return [Generation.Config()]
    return [study.tasks[task] for task in group]


def groups(study: Study, method: Method) -> list[tuple[int, ...]]:
    """The tasks that each training of a method serves."""
    everything = tuple(range(len(study.tasks)))
    shared = study.train == "jointly" or method.family is None or not method.restorer.owner.trains_on_tasks
    return [everything] if shared else [(task,) for task in everything]
