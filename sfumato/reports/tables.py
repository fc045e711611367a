"""Tables: the figures of a study as rows, and the same rows as CSV and LaTeX. Numbers come from results alone."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sfumato.metrics.base import Score
from sfumato.studies.results import Result
from sfumato.studies.statistics import Difference, Figures, Summary, beyond, by_method, compare, ranked, summarise
from sfumato.studies.study import Study

LATEX_ARROWS = {"lower": r"$\downarrow$", "higher": r"$\uparrow$", "zero": r"$\rightarrow 0$"}


@dataclass(frozen=True)
class Entry:
    """One figure of a table: a method's summary and whether it is near the best."""

    summary: Summary
    figures: Figures
    leading: bool
    """True for the best value, and where the interval of the difference to it holds 0; nowhere if all are equal."""

    @property
    def value(self) -> str:
        """The figure with as many decimals as its size asks for."""
        return number(self.summary.value)

    @property
    def half(self) -> str:
        """Half the 95 % interval, or an empty text."""
        if self.summary.low is None or self.summary.high is None:
            return ""
        half = self.summary.high - self.summary.value
        if half == 0:
            return ""
        shown = number(half, self.summary.value)
        return shown if float(shown) > 0 else f"{half:.1g}"


@dataclass(frozen=True)
class Row:
    """One method's figures on a task."""

    method: str
    learned: bool
    entries: dict[str, Entry]
    failures: list[str]
    """Causes of the seeds that diverged."""
    aside: str = ""
    """The figure that takes the method out of the ranking; empty where none does."""
    costs: dict[str, float] = field(default_factory=dict)
    """What its answers took, by name and unit; means over seeds."""


@dataclass(frozen=True)
class Table:
    """One task: its rows, its columns and which way each column is better."""

    task: str
    columns: list[Score]
    """One example score a column, for its label, unit and direction."""
    rows: list[Row]
    differences: dict[str, list[Difference]]
    """All pairs of methods, by column."""


def number(value: float, like: float | None = None) -> str:
    """A figure with about four digits; `like` borrows the decimals of another figure.

    Example:
        >>> number(0.86543), number(27.31), number(412.7), number(0.21, like=27.31)
        ('0.865', '27.3', '413', '0.2')
    """
    size = abs(value if like is None else like)
    decimals = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:.{decimals}f}"


def table(results: Sequence[Result], task: str, study: Study | None = None) -> Table:
    """The table of one task, methods in the study's order or that of the results, columns in the order of the results."""
    methods = [m.name for m in study.methods] if study else list(dict.fromkeys(result.method for result in results))
    here = [result for result in results if result.task == task]
    columns: dict[str, Score] = {}
    for result in here:
        for label, score in result.scores.items():
            columns.setdefault(label, score)
    figures = {label: by_method(here, task, label) for label in columns}
    differences = {label: compare(here, task, label, study) for label in columns}
    leading = {label: leaders(figures[label], differences[label]) for label in columns}
    rows = []
    for method in methods:
        mine = [result for result in here if result.method == method]
        if not mine:
            continue
        entries = {
            label: Entry(summarise(figures[label][method]), figures[label][method], method in leading[label])
            for label in columns
            if method in figures[label]
        }
        failures = [f"seed {result.seed}: {result.cause}" for result in mine if result.status != "ok"]
        well = [result for result in mine if result.status == "ok"]
        costs = {
            name: sum(result.costs[name] for result in well) / len(well) for name in (well[0].costs if well else {})
        }
        rows.append(Row(method, mine[0].learned, entries, failures, beyond(well), costs))
    return Table(task, list(columns.values()), rows, differences)


def tables_of(results: Sequence[Result], study: Study | None = None) -> list[Table]:
    """A table for each task that has results."""
    return [table(results, task, study) for task in dict.fromkeys(result.task for result in results)]


def leaders(figures: dict[str, Figures], differences: Sequence[Difference]) -> set[str]:
    """The best method and those whose difference to it has an interval that holds 0; nobody where all are equal."""
    order = [name for name in ranked(figures) if not figures[name].aside]
    if len({figures[name].value for name in order}) < 2 or not differences:
        return set()
    near = {order[0]}
    for difference in differences:
        pair = {difference.first, difference.second}
        if order[0] in pair and pair <= set(order) and difference.low <= 0 <= difference.high:
            near |= pair
    return near


def cell(text: str) -> str:
    """A text for a spreadsheet, which would compute what begins like a formula.

    Example:
        >>> cell("=1+1"), cell("WGAN")
        ("'=1+1", 'WGAN')
    """
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def to_csv(tables: Sequence[Table]) -> str:
    """All tables, one figure a line: task, method, metric, value, low, high, n, seeds, seed_sd, leading."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["task", "method", "metric", "value", "low", "high", "n", "seeds", "seed_sd", "leading"])
    for part in tables:
        for row in part.rows:
            for label, entry in row.entries.items():
                s = entry.summary
                writer.writerow(
                    [
                        part.task,
                        cell(row.method),
                        cell(label),
                        s.value,
                        s.low,
                        s.high,
                        s.n,
                        s.seeds,
                        s.seed_spread,
                        entry.leading,
                    ]
                )
    return out.getvalue()


def to_json(tables: Sequence[Table]) -> str:
    """All tables with their units, intervals, seeds and verdicts, for other programs."""
    told = [
        {
            "task": part.task,
            "metrics": {c.label: {"unit": c.unit, "better": c.better} for c in part.columns},
            "figures": [
                {"method": row.method, "metric": label, **asdict(entry.summary), "leading": entry.leading}
                for row in part.rows
                for label, entry in row.entries.items()
            ],
            "differences": [
                {"metric": label, **asdict(one)} for label, each in part.differences.items() for one in each
            ],
            "failures": {row.method: row.failures for row in part.rows if row.failures},
        }
        for part in tables
    ]
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


def to_latex(tables: Sequence[Table], title: str) -> str:
    """All tables as LaTeX `tabular` environments (package booktabs); bold where nothing is really better."""
    parts = [f"% {' '.join(title.split())}\n% needs \\usepackage{{booktabs}}"]
    for part in tables:
        arrows = [f"{escape(column.label)} {LATEX_ARROWS[column.better]}" for column in part.columns]
        lines = [
            f"\\begin{{tabular}}{{l{'r' * len(part.columns)}}}",
            "\\toprule",
            " & ".join([escape(part.task), *arrows]) + r" \\",
            "\\midrule",
        ]
        for row in part.rows:
            figures = [latex_entry(row.entries.get(column.label)) for column in part.columns]
            lines.append(" & ".join([escape(row.method), *figures]) + r" \\")
        lines += ["\\bottomrule", "\\end{tabular}"]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def latex_entry(entry: Entry | None) -> str:
    """One figure with its interval, bold where it leads; a dash where there is none."""
    if entry is None:
        return "--"
    value = f"\\mathbf{{{entry.value}}}" if entry.leading else entry.value
    return f"${value} \\pm {entry.half}$" if entry.half else f"${value}$"


def escape(text: str) -> str:
    """LaTeX's special characters made plain."""
    special = {
        "\\": r"\textbackslash{}",
        "^": r"\^{}",
        "~": r"\~{}",
        "&": r"\&",
        "%": r"\%",
        "_": r"\_",
        "#": r"\#",
        "$": r"\$",
        "{": r"\{",
        "}": r"\}",
        "|": r"\textbar{}",
    }
    return "".join(special.get(character, character) for character in text)


def flat(card: dict[str, Any], before: str = "") -> list[tuple[str, str]]:
    """A card's entries as lines; tables in it are taken apart, warnings and points have their own place.

    Example:
        >>> flat({"n": 3, "made": {"split": "test"}})
        [('n', '3'), ('made: split', 'test')]
    """
    lines: list[tuple[str, str]] = []
    for key, value in card.items():
        if key in ("warnings", "points") or value is None:
            continue
        name = f"{before}{key.replace('_', ' ')}"
        if isinstance(value, dict):
            lines += flat(value, f"{name}: ")
        else:
            lines.append((name, f"{value:.6g}" if isinstance(value, float) else str(value)))
    return lines
