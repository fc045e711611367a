"""Figures within classes: for each metric a table of methods by classes, the whole beside them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from sfumato.reports.tables import cell, number
from sfumato.studies.results import Result


@dataclass(frozen=True)
class ClassTable:
    """One metric on one task: what each method has within each class, means over its seeds."""

    label: str
    arrow: str
    classes: list[str]
    rows: list[tuple[str, float, dict[str, float]]]
    """Method, the figure of the whole, the figures within classes."""

    def texts(self) -> list[tuple[str, list[str]]]:
        """Method, and its figures as texts: the whole, then class by class; a dash where there is none."""
        return [
            (method, [number(whole), *(number(within[c], whole) if c in within else "–" for c in self.classes)])
            for method, whole, within in self.rows
        ]


def class_tables(results: Sequence[Result], task: str, methods: Sequence[str]) -> list[ClassTable]:
    """The metrics of a task that have figures within classes, in the order of the results."""
    here = [result for result in results if result.task == task and result.status == "ok"]
    tables = []
    for label in dict.fromkeys(label for result in here for label in result.within):
        mine = [result for result in here if label in result.within]
        classes = sorted({name for result in mine for name in result.within[label]}, key=_by_number)
        rows = []
        for method in methods:
            own = [result for result in mine if result.method == method]
            if not own:
                continue
            within = {
                name: fmean(r.within[label][name] for r in own if name in r.within[label])
                for name in classes
                if any(name in r.within[label] for r in own)
            }
            rows.append((method, fmean(r.scores[label].value for r in own), within))
        tables.append(ClassTable(label, mine[0].scores[label].arrow, classes, rows))
    return tables


def classes_to_csv(tables: dict[str, Sequence[ClassTable]]) -> str:
    """All tables, one figure a line: task, method, metric, class, value."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["task", "method", "metric", "class", "value"])
    for task, parts in tables.items():
        for part in parts:
            for method, _, within in part.rows:
                for name, value in within.items():
                    writer.writerow([task, cell(method), cell(part.label), cell(name), value])
    return out.getvalue()


def _by_number(name: str) -> tuple[int, int, str]:
    """Classes that are numbers in their order, then the others in the order of their names."""
    return (0, int(name), "") if name.isdecimal() else (1, 0, name)
