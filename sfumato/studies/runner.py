"""The runner: a study's cells, each on its own, in any order, on as many processes as asked for.

A cell is a method with one training: train (or find it trained), restore every test image of its tasks, measure, write one
file a task. A cell that diverges is a result; a study that is stopped goes on where it was.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing.synchronize import Event
from pathlib import Path

import torch

from sfumato.data.base import Dataset
from sfumato.errors import ConfigError, DivergedError, Interrupted
from sfumato.families.base import parameter_count
from sfumato.files import write_atomic
from sfumato.kinds import build
from sfumato.metrics.base import Metric
from sfumato.restorers.base import Restorer
from sfumato.streams import stream
from sfumato.studies import results
from sfumato.studies.cells import (
    Cell,
    cells,
    decided,
    pending,
    result_name,
    run_folder,
    training_progress,
)
from sfumato.studies.choose import best_moment
from sfumato.studies.measure import Measured, measure, observe, picture, show_truth
from sfumato.studies.resolved import Resolved, resolve
from sfumato.studies.results import Result
from sfumato.studies.study import Method, Study
from sfumato.tasks.base import Task
from sfumato.training import interrupt, processes
from sfumato.training import run as runs
from sfumato.training.claims import claim, held
from sfumato.training.run import Run

GRACE = 30.0  # seconds that a worker has to save its training when its study is gone


def run(
    study: Study | Resolved,
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
    study's data themselves. A study may come resolved. `source` is the text of its file, kept beside the results.

    Raises: ConfigError: the folder holds another study, or parity cannot be reached. Interrupted: Ctrl-C.
    """
    resolved = study if isinstance(study, Resolved) else resolve(study, data)
    with held(Path(out)):
        return _run(resolved, Path(out), device, jobs, done, source)


def _run(
    resolved: Resolved, out: Path, device: str, jobs: int, done: Callable[[Cell], None] | None, source: str | None
) -> Path:
    study = resolved.study
    claim(out, study, "study.json", free=Study.FREE)
    if source is not None:
        write_atomic(out / "study.toml", source)
    show_truth(resolved.tasks, resolved.data.test, out)
    todo = by_training(cell for cell in cells(study) if pending(resolved, cell, out))
    if todo:
        rehearse(resolved, device)
    try:
        if jobs == 1 or len(todo) < 2:
            for part in todo:
                for cell in part:
                    work(resolved, cell, out, device)
                    if done is not None:
                        done(cell)
        else:
            _in_processes(study, todo, out, device, jobs, done)
    finally:
        path = results.write_lines(results.ordered(results.gather(out), study), out)
    return path


def by_training(todo: Iterable[Cell]) -> list[list[Cell]]:
    """The cells in groups that share a training, so that no two processes make the same one."""
    found: dict[str, list[Cell]] = {}
    for cell in todo:
        key = f"classical {cell.method}" if cell.training is None else cell.training.to_json()
        found.setdefault(key, []).append(cell)
    return list(found.values())


def _in_processes(
    study: Study, todo: Sequence[Sequence[Cell]], out: Path, device: str, jobs: int, done: Callable[[Cell], None] | None
) -> None:
    threads = max((os.cpu_count() or 1) // jobs, 1)
    # Learned cells first: they take longest, and the classical ones fill the gaps at the end.
    order = sorted(todo, key=lambda part: part[0].training is None)
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(study, threads, stop)) as pool:
        futures = {pool.submit(_unless_stopped, part, out, device): part for part in order}
        try:
            for future in as_completed(futures):
                future.result()
                for cell in futures[future] if done is not None else ():
                    done(cell)
        except BaseException as error:
            stop.set()  # the pool has handed out the next cells already, and cannot take them back
            pool.shutdown(wait=False, cancel_futures=True)
            if isinstance(error, KeyboardInterrupt):
                raise Interrupted(
                    f"stopped; what was finished is in {out}, and the same command goes on from there"
                ) from None
            raise


_stop: Event | None = None  # set in a worker by `_begin`; shared by all processes of a study
_resolved: Resolved | None = None  # the same; each process has its own
_busy = threading.Lock()  # held while a cell is worked on


def _unless_stopped(part: Sequence[Cell], out: Path, device: str) -> None:
    assert _stop is not None and _resolved is not None
    try:
        for cell in part:
            if _stop.is_set():
                raise Interrupted("stopped before this cell began")
            with _busy:
                work(_resolved, cell, out, device)
    except Interrupted:
        _stop.set()
        raise


def _begin(study: Study, threads: int, stop: Event) -> None:
    global _stop, _resolved
    torch.set_num_threads(threads)
    interrupt.listen(stop)
    threading.Thread(target=_end_with_parent, args=(stop,), daemon=True).start()
    _stop, _resolved = stop, Resolved(study, build(study.data).load(), tuple(build(task) for task in study.tasks))
    # Ctrl-C reaches every process of the terminal: one that trains saves and stops (training/interrupt.py), one that only
    # waits or measures is left to the parent.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end_with_parent(stop: Event) -> None:
    """A worker whose study was killed saves its training and ends; nobody would take its results."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        stop.set()
        _busy.acquire(timeout=GRACE)
        os._exit(1)


def work(resolved: Resolved, cell: Cell, out: Path, device: str) -> None:
    """Train and measure one cell; what is already done is not done again."""
    study, data = resolved.study, resolved.data
    method = study.methods[cell.method]
    trained: Run | None = None
    if cell.training is not None:
        try:
            trained = runs.train(cell.training, run_folder(cell.training, out), device=device, data=data)
        except DivergedError as error:
            for number in pending(resolved, cell, out):
                _record_failure(resolved, cell, number, out, error)
            return
    if trained is not None and method.drawn:
        trained = runs.redrawn(trained, method.drawn)
    end = trained
    where = processes.join(device) if trained is None else trained.family.device
    for number in pending(resolved, cell, out):
        task = resolved.tasks[number]
        metrics: list[Metric] = [build(metric) for metric in study.metrics]
        try:
            if method.weights == "best" and end is not None and cell.training is not None:
                trained = best_moment(
                    run_folder(cell.training, out),
                    end,
                    method.restorer,
                    task,
                    data,
                    study.metrics,
                    seed=cell.seed,
                    batch=study.batch,
                )
            restorer: Restorer = build(method.restorer, None if trained is None else trained.family)
            measured = measure(
                restorer, task, data, metrics, seed=cell.seed, batch=study.batch, device=where, classes=study.classes
            )
        except DivergedError as error:
            _record_failure(resolved, cell, number, out, error)
        else:
            found = result(method, task, cell.seed, measured, trained, restorer.calls())
            found = found.model_copy(update={"decided": decided(resolved, cell, number)})
            picture(measured.shown, out / "pictures" / f"{result_name(resolved, cell, number)}.png")
            results.save(found, out, result_name(resolved, cell, number))


def result(method: Method, task: Task, seed: int, measured: Measured, trained: Run | None, calls: int) -> Result:
    """What is written down of a measured cell."""
    return Result(
        method=method.name,
        task=task.name,
        seed=seed,
        status="ok",
        learned=trained is not None,
        random=trained is not None and trained.family.random,
        chosen=trained.ledger.images if trained is not None and method.weights == "best" else None,
        trained_on=[] if trained is None else [t.name for t in trained.tasks],
        parameters=0 if trained is None else parameter_count(trained.family.deployed()),
        parameters_training=0 if trained is None else parameter_count([trained.family]),
        width=None if trained is None else getattr(method.family, "width", None),
        ledger=None if trained is None else trained.ledger,
        parents={} if trained is None else {name: part.ledger for name, part in trained.parts.items()},
        milliseconds=measured.milliseconds,
        calls=calls,
        costs=measured.costs,
        scores={score.label: score for score in measured.scores},
        within=measured.within,
    )


def rehearse(resolved: Resolved, device: str) -> None:
    """Load every metric and try every classical restorer on one image, so that what is missing is said before training.

    Raises: CapabilityError, WeightsError: an extra package or a weight file is missing. ConfigError: two metrics of one name.
    """
    study, data = resolved.study, resolved.data
    if len(data.test) == 0:
        raise ConfigError(f"{data.name} has no test images, so there is nothing to report on; choose other data")
    labels = []
    for settings in study.metrics:
        metric: Metric = build(settings)
        metric.prepare(processes.join(device))
        if metric.label in labels:  # one figure would stand where the other was
            raise ConfigError(f"two metrics are both called {metric.label}; keep one in this study")
        labels.append(metric.label)
    for task in resolved.tasks:
        task.check(data.spec)
    for m, method in enumerate(study.methods):
        for t, task in enumerate(resolved.tasks):
            if method.family is None and (m, t) in resolved.answered:
                _, observation = observe(task, data.test, slice(0, 1), "cpu")
                build(method.restorer).restore(observation, rng=stream(0, "rehearsal"))


def _record_failure(resolved: Resolved, cell: Cell, task: int, out: Path, error: DivergedError) -> None:
    method = resolved.study.methods[cell.method]
    failure = Result(
        method=method.name,
        task=resolved.tasks[task].name,
        seed=cell.seed,
        status="diverged",
        cause=str(error),
        learned=True,
        random=True,
        trained_on=[] if cell.training is None else [build(task).name for task in cell.training.tasks],
        decided=decided(resolved, cell, task),
    )
    results.save(failure, out, result_name(resolved, cell, task))


__all__ = ["Resolved", "measure", "rehearse", "resolve", "result", "run", "training_progress", "work"]
