"""What the command line shows: progress bars and tables. Nothing is computed here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from sfumato.reports import tables
from sfumato.studies.results import Result
from sfumato.training.ledger import Ledger

console = Console()
errors = Console(stderr=True)


def _bars() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
        console=errors,
    )


@contextmanager
def training_bar(name: str, images: int) -> Iterator[Callable[[Ledger, Mapping[str, float]], None]]:
    """A bar of images consumed, with the losses beside it; yields what a Trainer calls as `watch`."""
    with _bars() as bars:
        bar = bars.add_task(name, total=images, note="")

        def watch(ledger: Ledger, terms: Mapping[str, float]) -> None:
            note = "  ".join(f"{key} {value:.3g}" for key, value in terms.items())
            bars.update(bar, completed=min(ledger.images, images), note=note)

        yield watch


@contextmanager
def study_bars(images: int, progress: Callable[[], Mapping[str, int]]) -> Iterator[None]:
    """A bar for each training of a study, read twice a second from what the trainings write."""
    finished = threading.Event()
    with _bars() as bars:
        known = {name: bars.add_task(name, total=images, completed=done, note="") for name, done in progress().items()}

        def follow() -> None:
            while not finished.wait(0.5):
                for name, done in progress().items():
                    bars.update(known[name], completed=done, note="measured next" if done >= images else "")

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
            for name, done in progress().items():
                bars.update(known[name], completed=done, note="")
        finally:
            finished.set()
            thread.join()


def show(results: Sequence[Result]) -> None:
    """The tables of a study or an evaluation, bold where no other method is really better.

    Intervals are left out where the window is too narrow for them; the report and tables.csv always have them.
    """
    methods = list(dict.fromkeys(result.method for result in results))
    for task in dict.fromkeys(result.task for result in results):
        part = tables.table(results, task, methods)
        shown = _rich(part, intervals=True)
        if console.measure(shown, options=_roomy()).maximum > console.width:
            shown = _rich(part, intervals=False)
        console.print(shown)


def _roomy() -> ConsoleOptions:
    """Room enough to learn how wide a table would like to be."""
    return console.options.update(width=400)


def _rich(part: tables.Table, intervals: bool) -> Table:
    shown = Table(
        title=part.task,
        title_justify="left",
        title_style="bold",
        header_style="dim",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    shown.add_column("method", no_wrap=True)
    for column in part.columns:
        shown.add_column(f"{column.label} {'↓' if column.better == 'lower' else '↑'}", justify="right", no_wrap=True)
    for row in part.rows:
        cells = []
        for column in part.columns:
            entry = row.entries.get(column.label)
            half = f" [dim]± {entry.half}[/dim]" if entry is not None and entry.half and intervals else ""
            text = "–" if entry is None else entry.value + half
            cells.append(f"[bold]{text}[/bold]" if entry is not None and entry.leading else text)
        failed = f" [red]({len(row.failures)} diverged)[/red]" if row.failures else ""
        shown.add_row(row.method + failed, *cells)
    return shown
