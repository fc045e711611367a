"""The runner: a study's cells, each on its own, in any order, on as many processes as asked for.

A cell is a method with one training: train (or find it trained), restore every test image of its tasks, measure, write one
file a task. A cell that diverges is a result; a study that is stopped goes on where it was.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sfumato.config import write_atomic
from sfumato.data.base import Dataset, Split
from sfumato.errors import ConfigError, DataError, DivergedError
from sfumato.families.base import parameter_count
from sfumato.images import encode, grid, to_float, to_uint8
from sfumato.kinds import build
from sfumato.metrics.base import Metric, Score
from sfumato.restorers.base import Restorer
from sfumato.streams import stream
from sfumato.studies import results
from sfumato.studies.parity import fit_width
from sfumato.studies.results import Result
from sfumato.studies.study import Method, Study
from sfumato.tasks.base import Observation, Task
from sfumato.training import processes
from sfumato.training import run as runs
from sfumato.training.run import Run, RunConfig

SHOWN = 10  # test images that the report shows of every method


@dataclass(frozen=True)
class Cell:
    """One training (or one classical method) and the tasks it is measured on."""

    method: int
    seed: int
    tasks: tuple[int, ...]


def resolve(study: Study, data: Dataset) -> Study:
    """The study with every learned method at the width that parity asks for.

    Raises: ConfigError: a width cannot be found within the tolerance.
    """
    if study.parity.parameters is None:
        return study
    groups = [study.tasks] if study.train == "jointly" else [[task] for task in study.tasks]
    specs = [runs.run_spec(data, [build(task) for task in group]) for group in groups]
    spec = specs[0]
    if any(other != spec for other in specs):
        raise ConfigError(
            "parity cannot hold in a study that trains generation and restoration apart, since only one has a condition; "
            "split it into two studies, or train jointly"
        )
    methods = [
        method
        if method.family is None
        else method.model_copy(
            update={"family": fit_width(method.family, spec, study.parity.parameters, study.parity.tolerance)}
        )
        for method in study.methods
    ]
    return study.model_copy(update={"methods": methods})


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


def pending(study: Study, cell: Cell, out: Path, size: int) -> list[int]:
    """The tasks of a cell that its restorer can answer and that have no result yet."""
    restorer = study.methods[cell.method].restorer.owner
    return [
        task
        for task in cell.tasks
        if answers(restorer, build(study.tasks[task]), size)
        and not (out / "results" / f"{_name(study, cell, task)}.json").is_file()
    ]


def _name(study: Study, cell: Cell, task: int) -> str:
    return f"{study.methods[cell.method].slug}--{build(study.tasks[task]).name}--{cell.seed}"


def run(
    study: Study,
    out: Path | str,
    *,
    device: str = "auto",
    jobs: int = 1,
    data: Dataset | None = None,
    done: Callable[[Cell], None] | None = None,
    source: str | None = None,
) -> Path:
    """Answer a study: run what is missing, gather results.jsonl, and return its path.

    `jobs` trains that many cells at once, each in its own process with its share of the cores; those processes load the
    study's data themselves. `source` is the text of the study's file, kept beside the results for the report.

    Raises: ConfigError: the folder holds another study, or parity cannot be reached. Interrupted: Ctrl-C.
    """
    out, data = Path(out), data or build(study.data).load()
    study = resolve(study, data)
    runs.claim(out, study.to_json(), "study.json")
    if source is not None:
        write_atomic(out / "study.toml", source)
    show_truth(study, data.test, out)
    todo = [cell for cell in cells(study) if pending(study, cell, out, data.spec.size)]
    if todo:
        rehearse(study, data, device)
    try:
        if jobs == 1 or len(todo) < 2:
            for cell in todo:
                work(study, cell, out, device, data)
                if done is not None:
                    done(cell)
        else:
            _in_processes(study, todo, out, device, jobs, done)
    finally:
        path = results.write_lines(results.ordered(results.gather(out), study), out)
    return path


def _in_processes(
    study: Study, todo: Sequence[Cell], out: Path, device: str, jobs: int, done: Callable[[Cell], None] | None
) -> None:
    threads = max((os.cpu_count() or 1) // jobs, 1)
    # Learned cells first: they take longest, and the classical ones fill the gaps at the end.
    order = sorted(todo, key=lambda cell: study.methods[cell.method].family is None)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_set_threads, initargs=(threads,)) as pool:
        futures = {pool.submit(work, study, cell, out, device): cell for cell in order}
        try:
            for future in as_completed(futures):
                future.result()
                if done is not None:
                    done(futures[future])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _set_threads(threads: int) -> None:
    torch.set_num_threads(threads)
    # Ctrl-C reaches every process of the terminal: one that trains saves and stops (training/interrupt.py), one that only
    # waits or measures is left to the parent.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def work(study: Study, cell: Cell, out: Path, device: str, data: Dataset | None = None) -> None:
    """Train and measure one cell; what is already done is not done again."""
    data = data or build(study.data).load()
    method = study.methods[cell.method]
    try:
        trained = None if method.family is None else _train(study, method, cell, out, device, data)
    except DivergedError as error:
        for number in pending(study, cell, out, data.spec.size):
            _record_failure(study, cell, number, out, error)
        return
    restorer: Restorer = build(method.restorer, None if trained is None else trained.family)
    for number in pending(study, cell, out, data.spec.size):
        task: Task = build(study.tasks[number])
        try:
            result = measure(study, cell, task, restorer, trained, data.test, out, device)
        except DivergedError as error:
            _record_failure(study, cell, number, out, error)
        else:
            results.save(result, out, _name(study, cell, number))


def answers(restorer: type[Restorer], task: Task, size: int) -> bool:
    """Whether a restorer can undo this task's operator; a classical one often cannot, and its cell stays empty."""
    return isinstance(task.operator([stream(0, "mask", 0)], 1, size), restorer.answers)


def rehearse(study: Study, data: Dataset, device: str) -> None:
    """Load every metric and try every classical restorer on one image, so that what is missing is said before training.

    Raises: CapabilityError, WeightsError: an extra package or a weight file is missing.
    """
    for metric in study.metrics:
        build(metric).prepare(processes.join(device))
    for method in study.methods:
        for settings in study.tasks:
            task: Task = build(settings)
            if method.family is None and answers(method.restorer.owner, task, data.spec.size):
                _, observation = observe(task, data.test.images[:1], 0)
                build(method.restorer).restore(observation, rng=stream(0, "rehearsal"))


def _train(study: Study, method: Method, cell: Cell, out: Path, device: str, data: Dataset) -> Run:
    config = RunConfig(
        data=study.data,
        tasks=[study.tasks[task] for task in cell.tasks],
        family=method.family,
        budget=study.budget,
        seed=cell.seed,
    )
    return runs.train(config, run_folder(study, cell, out), device=device, data=data)


def _record_failure(study: Study, cell: Cell, task: int, out: Path, error: DivergedError) -> None:
    method = study.methods[cell.method]
    failure = Result(
        method=method.name,
        task=build(study.tasks[task]).name,
        seed=cell.seed,
        status="diverged",
        cause=str(error),
        learned=True,
        trained_on=[build(study.tasks[t]).name for t in cell.tasks],
    )
    results.save(failure, out, _name(study, cell, task))


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
) -> Result:
    """Restore every test image of a task and compute the study's metrics, classical methods' on the same device."""
    metrics: list[Metric] = [build(metric) for metric in study.metrics]
    device = trained.family.device if trained is not None else processes.join(where)
    seconds, shown = 0.0, []
    _, first_few = observe(task, test.images[:8].to(device), 0)
    restorer.restore(
        first_few, rng=stream(cell.seed, "rehearsal", device=device)
    )  # libraries warm up outside the clock
    used: list[Metric] = []
    for first in range(0, len(test), study.batch):
        true = test.images[first : first + study.batch].to(device)
        _, observation = observe(task, true, first)
        rng = stream(cell.seed, "sample", task.name, first, device=device)
        _wait(device)
        start = time.perf_counter()
        made = to_uint8(restorer.restore(observation, rng=rng))
        _wait(device)
        seconds += time.perf_counter() - start
        used = [metric for metric in metrics if metric.applies(observation)]
        for metric in used:
            metric.update(made, true, observation)
        if first < SHOWN:
            shown.append(made[: SHOWN - first].cpu())
    method = study.methods[cell.method]
    _picture(torch.cat(shown), out / "pictures" / f"{method.slug}--{task.name}--{cell.seed}.png")
    scores: list[Score] = [metric.compute() for metric in used]
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
