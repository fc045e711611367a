"""The report: one self-contained HTML page made from a study's results alone; it never loads a model."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfumato.errors import DataError
from sfumato.files import write_atomic
from sfumato.kinds import build
from sfumato.reports.classes import ClassTable, class_tables, classes_to_csv
from sfumato.reports.curves import curves_of, drawn
from sfumato.reports.figures import perception_against_distortion, quality_against_cost
from sfumato.reports.tables import Table, table, to_csv, to_latex
from sfumato.reports.template import render
from sfumato.reports.tries import Search, searches
from sfumato.reports.verdicts import cautions, coverage, fingerprint, headlines
from sfumato.studies.results import Result, gather, ordered, read_resolved
from sfumato.studies.study import Study


@dataclass(frozen=True)
class Strip:
    """One column of pictures."""

    title: str
    source: str
    """A data: address."""


@dataclass(frozen=True)
class Section:
    """Everything the page says of one task."""

    name: str
    title: str
    table: Table
    strips: list[Strip]
    plots: dict[str, str]
    plane: str
    """Perception against distortion, where a metric measures both; else empty."""
    verdicts: list[str]
    """What the figures say, a sentence a metric."""
    classes: list[ClassTable]
    """Figures within classes, where the study asks for them."""
    curves: dict[str, str]
    """Figures against a number that methods of one training differ by, by its name and theirs."""
    searches: list[Search]
    """What the best of k random settings would show, where the study tries some."""


def build_report(folder: Path | str) -> Path:
    """Write report.html, tables.tex and tables.csv into a study's folder, and return the page's path.

    Raises: DataError: there are no results. WeightsError and ConfigError never: no model is read.
    """
    folder = Path(folder)
    study = read_resolved(folder)
    results = ordered(gather(folder), study)  # the cells themselves: results.jsonl may be older than the last of them
    if not results:
        raise DataError(f"{folder} holds no finished cell yet; run `sfumato study` until it ends")
    methods = [method.name for method in study.methods]
    sections = [section(study, results, build(task).name, methods, folder) for task in study.tasks]
    tables = [part.table for part in sections]
    write_atomic(folder / "tables.csv", to_csv(tables))
    write_atomic(folder / "tables.tex", to_latex(tables, study.title))
    if any(part.classes for part in sections):
        write_atomic(folder / "classes.csv", classes_to_csv({part.name: part.classes for part in sections}))
    page = render(
        "page.html",
        study=study,
        sections=sections,
        ledgers=unique_trainings(results),
        cards=metric_cards(results),
        failures=[result for result in results if result.status != "ok"],
        alarms=[result for result in unique_trainings(results) if result.ledger is not None and result.ledger.alarm],
        study_text=study.to_json(),
        source=(folder / "study.toml").read_text() if (folder / "study.toml").is_file() else "",
        downloads={
            name: data_address((folder / name).read_bytes(), "text/plain") for name in ("tables.csv", "tables.tex")
        },
        parameters=parameter_note(study, results),
        coverage=coverage(results),
        cautions=cautions(results),
        fingerprint=fingerprint(study.to_json()),
    )
    write_atomic(folder / "report.html", page)
    return folder / "report.html"


def section(study: Study, results: Sequence[Result], task: str, methods: Sequence[str], folder: Path) -> Section:
    """One task's part of the page."""
    rows = table(results, task, study)
    telling = [
        c for c in rows.columns if len({row.entries[c.label].value for row in rows.rows if c.label in row.entries}) > 1
    ]
    plots = {column.label: quality_against_cost(results, task, column, methods) for column in telling}
    labels = [column.label for column in telling]
    curves = {
        f"{c.setting}: {', '.join(name for _, name in c.points)}": drawn(c, results, task, labels)
        for c in curves_of(study)
    }
    return Section(
        task,
        title_of(task),
        rows,
        strips(study, task, methods, folder),
        plots,
        perception_against_distortion(rows),
        headlines(rows),
        class_tables(results, task, methods),
        {title: curve for title, curve in curves.items() if curve},
        searches(study, results, task, labels),
    )


def title_of(task: str) -> str:
    """A task's name for people.

    Example:
        >>> title_of("super_resolution-x4"), title_of("inpainting-centre")
        ('Super-resolution, x4', 'Inpainting, centre')
    """
    return task.replace("-", ", ").replace("_", "-").capitalize()


def strips(study: Study, task: str, methods: Sequence[str], folder: Path) -> list[Strip]:
    """Columns of pictures: observed, restored by each method with the first seed that ended well, true."""
    answer = []
    slugs = {method.name: method.slug for method in study.methods}
    candidates = [("observed", [folder / "pictures" / f"observed--{task}.png"])]
    candidates += [
        (method, [folder / "pictures" / f"{slugs[method]}--{task}--{seed}.png" for seed in study.seeds])
        for method in methods
    ]
    candidates += [("true", [folder / "pictures" / "true.png"])]
    for title, paths in candidates:
        path = next((path for path in paths if path.is_file()), None)
        if path is not None:
            answer.append(Strip(title, data_address(path.read_bytes(), "image/png")))
    return answer


def unique_trainings(results: Sequence[Result]) -> list[Result]:
    """One result of each training, for the ledger."""
    seen: dict[tuple[str, int, tuple[str, ...]], Result] = {}
    for result in results:
        if result.ledger is not None and result.chosen is None:
            seen.setdefault((result.method, result.seed, tuple(result.trained_on)), result)
    return list(seen.values())


def metric_cards(results: Sequence[Result]) -> dict[str, dict[str, Any]]:
    """How each metric was computed, by its label, with the n and every warning seen."""
    cards: dict[str, dict[str, Any]] = {}
    for result in results:
        for label, score in result.scores.items():
            cards.setdefault(label, {**score.card, "unit": score.unit, "better": score.better, "n": score.n})
    return cards


def parameter_note(study: Study, results: Sequence[Result]) -> str:
    """The real parameter counts and how far apart they are; by task where a method's models differ."""
    counts: dict[str, dict[int, list[str]]] = {}
    for result in results:
        if result.learned and result.parameters:
            counts.setdefault(result.method, {}).setdefault(result.parameters, []).append(result.task)
    if not counts:
        return "no learned method"
    shown = [
        f"{method} {count:,}" + (f" ({', '.join(dict.fromkeys(tasks))})" if len(sizes) > 1 else "")
        for method, sizes in counts.items()
        for count, tasks in sizes.items()
    ]
    alike = {count for sizes in counts.values() for count in sizes}
    if len(alike) == 1 and len(counts) > 2:
        shown = [f"all {len(counts)} learned methods {alike.pop():,}"]
    everything = [count for sizes in counts.values() for count in sizes]
    asked = study.parity.parameters
    held = f"asked: {asked:,} within {study.parity.tolerance:.0%}" if asked else "not held equal"
    return f"{', '.join(shown)}; largest over smallest {max(everything) / min(everything):.3f}; {held}"


def data_address(content: bytes, kind: str) -> str:
    """A file inside the page."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
