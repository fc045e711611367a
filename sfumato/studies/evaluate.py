"""Evaluate one run on the test images of its data, beside the methods that need no training or next to none."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch

from sfumato.config import Strict
from sfumato.data.base import Dataset
from sfumato.errors import ConfigError, ShapeError
from sfumato.families.gaussian import Gaussian
from sfumato.files import write_atomic
from sfumato.kinds import build, discover, parse
from sfumato.metrics.base import Metric
from sfumato.restorers.base import Restorer
from sfumato.restorers.conditional import Conditional
from sfumato.restorers.gaussian_posterior import GaussianPosterior
from sfumato.streams import stream
from sfumato.studies.measure import measure, picture, show_truth
from sfumato.studies.results import Result, ordered, save
from sfumato.studies.runner import result
from sfumato.studies.study import Method, Study
from sfumato.tasks.generation import Generation
from sfumato.training.budget import Budget
from sfumato.training.run import Run, load, make_family, run_spec
from sfumato.training.trainer import Trainer

BATCH = 256


def evaluate_run(
    folder: Path | str,
    metrics: Sequence[str | Strict] = (),
    test: int | None = None,
    out: Path | None = None,
    device: str = "auto",
    data: Dataset | None = None,
    run: Run | None = None,
    baselines: bool = False,
) -> list[Result]:
    """One result for each task the run was trained on, on the test images of its own data or of other data.

    With `baselines` the classical restorers and the best linear answer, fitted to the training images, are measured too.
    Below `out` (the run's folder when left out) lies a study of it all, which `build_report` makes a page of. A run that is
    loaded already is taken as it is.

    Raises: WeightsError: the folder is no finished run. ConfigError: an unknown metric, or no test images. ShapeError: other
    data of another size.
    """
    folder = Path(folder)
    trained = run or load(folder, device)
    chosen = [parse(Metric, metric) for metric in metrics or Study.model_fields["metrics"].default]
    settings = trained.config.data
    if data is None:
        data = build(settings if test is None else settings.model_copy(update={"test": test})).load()
    elif (data.spec.channels, data.size) != (trained.spec.channels, trained.spec.size):
        there, here = (f"{s.channels} x {s.size[0]} x {s.size[1]}" for s in (data.spec, trained.spec))
        raise ShapeError(f"{data.name} has images of {there}, this model makes {here}; bring them to the same")
    if len(data.test) == 0:
        raise ConfigError(f"{data.name} has no test images, so there is nothing to measure on; use `sfumato sample`")
    where, seed = out or folder / "evaluation", trained.config.seed
    method = Method(name=str(trained.config.family.kind), family=trained.config.family)
    rows: list[tuple[Method, Restorer, Run | None]] = [
        (method, Conditional(Conditional.Config(), trained.family), trained)
    ]
    rows += beside(trained, data) if baselines else []
    study = Study(
        title=f"{folder.name}: {method.name} on {', '.join(task.name for task in trained.tasks)}",
        data=settings,
        tasks=trained.config.tasks,
        methods=[row[0] for row in rows],
        seeds=[seed],
        budget=trained.config.budget,
        metrics=chosen,
        plugins=trained.config.plugins,
    )
    write_atomic(where / "study.json", study.to_json())
    show_truth(trained.tasks, data.test, where)
    answer, made = [], set[str]()
    for row, restorer, model in rows:
        for task in trained.tasks:
            operator = task.operator([stream(0, "mask", 0)], 1, data.size)
            if not restorer.answers(operator) or (model is None and not task.conditional):
                continue
            measured = measure(
                restorer,
                task,
                data,
                [build(metric) for metric in chosen],
                seed=seed,
                batch=BATCH,
                device=trained.family.device if model is trained else torch.device("cpu"),
                classes=trained.family.labelled,
            )
            name = f"{row.slug}--{task.name}--{seed}"
            picture(measured.shown, where / "pictures" / f"{name}.png")
            found = result(row, task, seed, measured, model, restorer.calls())
            save(found, where, name)
            answer.append(found)
            made.add(name)
    for path in (where / "results").glob("*.json"):  # of an earlier evaluation; only now, that this one is whole
        if path.stem not in made:
            path.unlink()
    return ordered(answer, study)


def beside(run: Run, data: Dataset) -> list[tuple[Method, Restorer, Run | None]]:
    """The classical restorers, and the Gaussian of the training images where it has a size for them."""
    rows: list[tuple[Method, Restorer, Run | None]] = []
    with suppress(ConfigError):  # too large for a covariance
        spec = run_spec(data, [])
        family = make_family(Gaussian.Config(), spec, 0)
        trainer = Trainer(family, Generation(Generation.Config()), Budget(average="none"), seed=0)
        trainer.run(data.train)
        config = run.config.model_copy(
            update={"family": Gaussian.Config(), "tasks": [Generation.Config()], "parts": {}}
        )
        settings = GaussianPosterior.Config(answer="mean")
        fitted = Run(config, trainer.ledger, family, spec)
        method = Method(name="Gaussian (mean)", family=Gaussian.Config(), restorer=settings)
        rows.append((method, GaussianPosterior(settings, family), fitted))
    for name, kind in discover(Restorer).items():
        if (
            issubclass(kind, Restorer)
            and kind.needs is None
            and not kind.own_patches
            and kind.__module__.startswith("sfumato.")
        ):
            method = Method(name=name.replace("_", " ").capitalize(), restorer=kind.Config())
            rows.append((method, build(method.restorer), None))
    return rows
