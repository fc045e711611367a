"""Verdicts in words: what a table says, what that covers, and what it could not have seen."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from sfumato.errors import counted
from sfumato.reports.tables import Table, number
from sfumato.studies.results import Result
from sfumato.studies.statistics import (
    AHEAD,
    BEHIND,
    BETTER,
    OPEN,
    UNTESTED,
    WITHHELD,
    WORSE,
    Difference,
    beyond,
    ranked,
)

FEW_IMAGES, FEW_SEEDS = 100, 3
SAID = {
    BETTER: "is better than {}",
    AHEAD: "as trained is ahead of {}",
    OPEN: "is not distinguishable from {}",
    WITHHELD: "has no verdict against {}, for a seed diverged",
}
TURNED = {WORSE: BETTER, BEHIND: AHEAD}


def headlines(table: Table) -> list[str]:
    """One sentence a metric: who has the best figure, what the verdicts on it are, and the gap that could not be seen."""
    sentences = []
    for column in table.columns:
        figures = {row.method: row.entries[column.label] for row in table.rows if column.label in row.entries}
        order = ranked({method: entry.figures for method, entry in figures.items() if not entry.figures.aside})
        differences = [d for d in table.differences[column.label] if d.verdict != UNTESTED]
        if len({entry.summary.value for entry in figures.values()}) < 2 or not differences:
            continue
        best, said = order[0], dict[str, list[str]]()
        for difference in differences:
            if best in (difference.first, difference.second):
                other = difference.second if difference.first == best else difference.first
                said.setdefault(TURNED.get(difference.verdict, difference.verdict), []).append(other)
        words = [SAID[verdict].format(", ".join(said[verdict])) for verdict in SAID if verdict in said]
        sentence = f"{column.label}: {best} ({figures[best].value}) " + "; ".join(words or ["has the best figure"])
        sentences.append(f"{sentence}. {unseen(best, differences, column.unit)}".strip())
    return sentences


def unseen(best: str, differences: Sequence[Difference], unit: str) -> str:
    """The largest gap to the best method that this study had no chance to call real, where a contrast was left open."""
    left = [d.visible for d in differences if best in (d.first, d.second) and d.verdict == OPEN]
    return f"Gaps below {number(max(left))} {unit} could not be seen there." if left else ""


def coverage(results: Sequence[Result]) -> list[str]:
    """What the verdicts of a study speak of."""
    seeds = seeds_of([result for result in results if result.random])
    lines = []
    if any(count > 1 for count in seeds.values()):
        lines.append(
            "Better and worse speak of methods: of other trainings with other seeds, measured on other images of this kind."
        )
    if any(count == 1 for count in seeds.values()):
        lines.append("Ahead as trained speaks of these trained models alone: another seed may reverse it.")
    lines.append("Each training is measured at its end, and no figure of the test images chose anything.")
    for method in dict.fromkeys(result.method for result in results):
        if label := beyond([result for result in results if result.method == method and result.status == "ok"]):
            lines.append(f"{method} is beyond the limit of {label}: its figures are shown and not ranked.")
    chosen: dict[str, list[str]] = {}
    for result in results:
        if result.chosen is not None:
            chosen.setdefault(result.method, []).append(f"{result.chosen:,}")
    for method, at in chosen.items():
        lines.append(
            f"{method}: weights that validation images chose, after {', '.join(at)} images; it gets no verdict."
        )
    return lines


def cautions(results: Sequence[Result]) -> list[str]:
    """What makes the verdicts of a study weak."""
    seeds, lines = seeds_of([result for result in results if result.random]), []
    few = {method: count for method, count in seeds.items() if count < FEW_SEEDS}
    if few:
        named = ", ".join(f"{method} {counted(count, 'seed')}" for method, count in few.items())
        lines.append(f"Few seeds ({named}): with fewer than {FEW_SEEDS} only gaps many times their spread can be seen.")
    n = min((score.n for result in results for score in result.scores.values() if score.n), default=FEW_IMAGES)
    if n < FEW_IMAGES:
        lines.append(f"Few test images ({n}): figures of other images may differ by more than the intervals say.")
    return lines


def seeds_of(results: Sequence[Result]) -> dict[str, int]:
    """How many trainings of each method ended well."""
    found: dict[str, set[int]] = {}
    for result in results:
        found.setdefault(result.method, set())
        if result.status == "ok":
            found[result.method].add(result.seed)
    return {method: len(each) for method, each in found.items()}


def fingerprint(text: str) -> str:
    """The first twelve digits of a text's SHA-256, to tell whether two reports are of one study file."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
