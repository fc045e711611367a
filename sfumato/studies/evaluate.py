"""Evaluate one run on the test images of its data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sfumato.config import Strict
from sfumato.data.base import Dataset
from sfumato.errors import ConfigError, ShapeError
from sfumato.kinds import build, parse
from sfumato.metrics.base import Metric
from sfumato.restorers.conditional import Conditional
from sfumato.studies.measure import measure, picture
from sfumato.studies.results import Result
from sfumato.studies.runner import result
from sfumato.studies.study import Method, Study
from sfumato.training.run import Run, load

BATCH = 256


def evaluate_run(
    folder: Path | str,
    metrics: Sequence[str | Strict] = (),
    test: int | None = None,
    out: Path | None = None,
    device: str = "auto",
    data: Dataset | None = None,
    run: Run | None = None,
) -> list[Result]:
    """One result for each task the run was trained on, on the test images of its own data or of other data.

    Pictures go below `out` (the run's folder when left out). A run that is loaded already is taken as it is.

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
    method = Method(name=str(trained.config.family.kind), family=trained.config.family)
    restorer = Conditional(Conditional.Config(), trained.family)
    where, seed = out or folder / "evaluation", trained.config.seed
    answer = []
    for task in trained.tasks:
        measured = measure(
            restorer,
            task,
            data,
            [build(metric) for metric in chosen],
            seed=seed,
            batch=BATCH,
            device=trained.family.device,
            classes=trained.family.labelled,
        )
        picture(measured.shown, where / "pictures" / f"{method.slug}--{task.name}--{seed}.png")
        answer.append(result(method, task, seed, measured, trained, restorer.calls()))
    return answer
