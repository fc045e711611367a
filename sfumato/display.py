"""What the command line shows: progress bars and tables. Nothing is computed here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table
from rich.text import Text

from sfumato.errors import printable
from sfumato.evaluation.explain import Explanation
from sfumato.evaluation.request import Evaluation
from sfumato.reports import tables
from sfumato.studies.results import Result
from sfumato.studies.study import Study
from sfumato.training.ledger import Ledger

# Names are text: what stands in brackets is no markup, and a control character is a question mark.
console = Console(markup=False, emoji=False, highlight=False)
errors = Console(markup=False, emoji=False, highlight=False, stderr=True)


def say(line: object, *, warning: bool = False, log: bool = False) -> None:
    """Print one line as it is; a warning, and what is only a log, on stderr."""
    if log:
        errors.print(printable(line), soft_wrap=True)
    elif warning:
        errors.print(f"warning: {printable(line)}", style="yellow", soft_wrap=True)
    else:
        console.print(printable(line), soft_wrap=True)


def _bars(transient: bool = False) -> Progress:
    return Progress(
        TextColumn(
            "{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", max_width=34)
        ),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn(
            "{task.fields[note]}",
            style="dim",
            markup=False,
            table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
        ),
        console=errors,
        expand=True,
        transient=transient,
    )


@contextmanager
def training_bar(name: str, images: int) -> Iterator[Callable[[Ledger, Mapping[str, float]], None]]:
    """A bar of images consumed, with the losses beside it; yields what a Trainer calls as `watch`."""
    with _bars() as bars:
        bar, told, warned = bars.add_task(name, total=images, note=""), 0, False

        def watch(ledger: Ledger, terms: Mapping[str, float]) -> None:
            nonlocal told, warned, images
            images = max(ledger.planned, 1) if ledger.planned else images
            if ledger.alarm and not warned:
                warned = True
                say(f"{name}: {ledger.alarm}", warning=True)
            note = "  ".join(f"{key} {value:.3g}" for key, value in terms.items())
            bars.update(bar, total=images, completed=min(ledger.images, images), note=note)
            tenth = 10 * ledger.images // images
            if not errors.is_terminal and tenth > told:  # a log file has no bars, but wants to know
                told = tenth
                left = ledger.seconds * max(images / ledger.images - 1, 0)
                done = f"{min(ledger.images, images):,} of {images:,} images"
                say(f"{name}: {done}, {ledger.seconds:.0f} s, {left:.0f} s left  {note}", log=True)

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


def show(results: Sequence[Result], study: Study | None = None) -> None:
    """The tables of a study or an evaluation, bold where the best figure is or may be.

    Intervals are left out where the window is too narrow for them; the report and tables.csv always have them.
    """
    for part in tables.tables_of(results, study):
        for shown in _fitting(part):
            console.print(shown)


def _fitting(part: tables.Table) -> list[Table]:
    """A table as wide as the window: with intervals, else without, else cut into several below one another."""
    for intervals in (True, False):
        shown = _rich(part, intervals)
        if console.measure(shown, options=_roomy()).maximum <= console.width or len(part.columns) < 2:
            return [shown]
    half = len(part.columns) // 2
    cuts = [replace(part, columns=columns) for columns in (part.columns[:half], part.columns[half:])]
    return [table for cut in cuts for table in _fitting(cut)]


@contextmanager
def extraction_bars() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each set of images whose features are taken; yields what an evaluation calls as `watch`."""
    with _bars() as bars:
        known: dict[str, TaskID] = {}

        def watch(name: str, done: int, total: int) -> None:
            if name not in known:
                known[name] = bars.add_task(name, total=total, note="")
            bars.update(known[name], completed=done, total=total)

        yield watch


@contextmanager
def working(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar that pulses until there are parts to count, and goes when all is done; yields what a restoration calls."""
    if not errors.is_terminal:
        yield lambda done, of: None
        return
    with _bars(transient=True) as bars:
        task = bars.add_task(what, total=None, note="")
        yield lambda done, of: bars.update(task, completed=done, total=of)


def show_scores(evaluation: Evaluation) -> None:
    """The figures of an evaluation with their intervals, and every warning once."""
    shown = plain(f"{evaluation.made['name']} against {evaluation.real['name']}")
    shown.add_column("metric", no_wrap=True)
    for title in ("figure", "95 % interval", "n"):
        shown.add_column(title, justify="right", no_wrap=True)
    for score in evaluation.scores:
        digits = tables.number
        low, high = score.low, score.high
        interval = "" if low is None or high is None else f"{digits(low, score.value)} to {digits(high, score.value)}"
        shown.add_row(f"{score.label} {score.arrow}", digits(score.value), interval, f"{score.n:,}" if score.n else "")
    console.print(shown)
    for warning in dict.fromkeys(line for score in evaluation.scores for line in score.card.get("warnings", [])):
        say(warning, warning=True)


def show_explanations(explanations: Sequence[Explanation]) -> None:
    """Each pair of figures, the entries that tell them apart, and what each is worth."""
    for part in explanations:
        first, second = tables.number(part.first.value), tables.number(part.second.value)
        title = f"{part.first.label} {first} against {part.second.label} {second}: {part.gap:+.4g}"
        shown = plain(title)
        shown.add_column("differs", no_wrap=True)
        for name in ("first", "second"):
            shown.add_column(name, overflow="fold")
        shown.add_column("points", justify="right", no_wrap=True)
        for factor in part.factors:
            points = "?" if factor.points is None else f"{factor.points:+.4g}"
            shown.add_row(factor.name, factor.first, factor.second, points)
        if part.factors and part.remainder and all(factor.points is not None for factor in part.factors):
            shown.add_row("unexplained", "", "", f"{part.remainder:+.4g}")
        console.print(shown if part.factors else Text(printable(title), style="bold"), soft_wrap=not part.factors)
        for note in part.notes:
            console.print(f"  {note}", soft_wrap=True, style="dim")


def plain(title: str) -> Table:
    """A table in the house's look."""
    return Table(
        title=Text(printable(title)),
        title_justify="left",
        title_style="bold",
        header_style="dim",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )


def _roomy() -> ConsoleOptions:
    """Room enough to learn how wide a table would like to be."""
    return console.options.update(width=400)


def _rich(part: tables.Table, intervals: bool) -> Table:
    shown = plain(part.task)
    shown.add_column("method", no_wrap=True)
    for column in part.columns:
        shown.add_column(f"{column.label} {column.arrow}", justify="right", no_wrap=True)
    for row in part.rows:
        cells = []
        for column in part.columns:
            entry = row.entries.get(column.label)
            text = Text("–" if entry is None else entry.value)
            if entry is not None and entry.half and intervals:
                text.append(f" ± {entry.half}", "dim")
            if entry is not None and entry.leading:
                text.stylize("bold")
            cells.append(text)
        name = Text(printable(row.method))
        if row.failures:
            name.append(f" ({len(row.failures)} diverged)", "red")
        if row.aside:
            name.append(f" ({row.aside.lower()}: not ranked)", "yellow")
        shown.add_row(name, *cells)
    return shown
