"""The runner: a study's cells, each on its own, in any order, on as many processes as asked for.

A cell is a method with one training: train (or find it trained), restore every test image of its tasks, measure, write one
file a task. A cell that diverges is a result; a study that is stopped goes on where it was.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing.synchronize import Event
from pathlib import Path

import torch

from sfumato.config import write_atomic
from sfumato.data.base import Dataset
from sfumato.errors import ConfigError, DivergedError, Interrupted
from sfumato.kinds import build
from sfumato.metrics.base import Metric
from sfumato.restorers.base import Restorer
from sfumato.streams import stream
from sfumato.studies import results
from sfumato.studies.cells import Cell, answers, cells, pending, result_name, run_folder, training_progress
from sfumato.studies.measure import measure, observe, show_truth
from sfumato.studies.parity import fit_width
from sfumato.studies.results import Result
from sfumato.studies.study import Method, Study
from sfumato.tasks.base import Task
from sfumato.training import processes
from sfumato.training import run as runs
from sfumato.training.run import Run, RunConfig


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
    stop = context.Event()
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(threads, stop)) as pool:
        futures = {pool.submit(_unless_stopped, study, cell, out, device): cell for cell in order}
        try:
            for future in as_completed(futures):
                future.result()
                if done is not None:
                    done(futures[future])
        except BaseException as error:
            stop.set()  # the pool has handed out the next cells already, and cannot take them back
            pool.shutdown(wait=False, cancel_futures=True)
            if isinstance(error, KeyboardInterrupt):
                raise Interrupted(
                    f"stopped; what was finished is in {out}, and the same command goes on from there"
                ) from None
            raise


_stop: Event | None = None  # set in a worker by `_begin`; shared by all processes of a study


def _unless_stopped(study: Study, cell: Cell, out: Path, device: str) -> None:
    assert _stop is not None
    if _stop.is_set():
        raise Interrupted("stopped before this cell began")
    try:
        work(study, cell, out, device)
    except Interrupted:
        _stop.set()
        raise


def _begin(threads: int, stop: Event) -> None:
    global _stop
    _stop = stop
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
            result = measure(study, cell, task, restorer, trained, data.test, out, device, data.train)
        except DivergedError as error:
            _record_failure(study, cell, number, out, error)
        else:
            results.save(result, out, result_name(study, cell, number))


def rehearse(study: Study, data: Dataset, device: str) -> None:
    """Load every metric and try every classical restorer on one image, so that what is missing is said before training.

    Raises: CapabilityError, WeightsError: an extra package or a weight file is missing. ConfigError: two metrics of one name.
    """
    labels = []
    for settings in study.metrics:
        metric: Metric = build(settings)
        metric.prepare(processes.join(device))
        if metric.label in labels:  # one figure would stand where the other was
            raise ConfigError(f"two metrics are both called {metric.label}; keep one in this study")
        labels.append(metric.label)
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
    results.save(failure, out, result_name(study, cell, task))


__all__ = ["measure", "rehearse", "resolve", "run", "training_progress", "work"]
