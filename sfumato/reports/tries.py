"""Best of k: what the best of k random settings of each method would show, and whether it matters which method it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sfumato.reports.figures import PALETTE, svg
from sfumato.studies.results import Result
from sfumato.studies.study import Study
from sfumato.studies.tries import Best, best_of, matters

LEVEL = 0.05


@dataclass(frozen=True)
class Search:
    """One figure of a study with random settings."""

    label: str
    ks: list[int]
    rows: list[tuple[str, list[str]]]
    """A method and its expected best of each k, with where nine of ten searches end."""
    plot: str
    verdict: str


def losses_of(study: Study, results: Sequence[Result], task: str, label: str) -> dict[str, list[float]]:
    """For each method its settings' mean losses over seeds; infinite where a training diverged."""
    found: dict[str, list[float]] = {}
    for method in study.methods:
        mine = [result for result in results if result.method == method.name and result.task == task]
        if not method.of or not mine:
            continue
        ended = [result.scores[label] for result in mine if result.status == "ok" and label in result.scores]
        whole = len(ended) == len(mine)
        found.setdefault(method.of, []).append(sum(s.loss() for s in ended) / len(ended) if whole else math.inf)
    return found


def searches(study: Study, results: Sequence[Result], task: str, labels: Sequence[str]) -> list[Search]:
    """One for each figure; none where no method has random settings."""
    answer = []
    for label in labels:
        losses = losses_of(study, results, task, label)
        if not losses:
            continue
        sign = -1 if any(r.scores[label].better == "higher" for r in results if label in r.scores) else 1
        most = max(map(len, losses.values()))
        ks = [k for k in range(1, most + 1) if k & (k - 1) == 0 or k == most]
        curves = {name: [best_of(values, k) for k in range(1, len(values) + 1)] for name, values in losses.items()}
        rows = [
            (name, [told(curve[k - 1], sign) if k <= len(curve) else "" for k in ks]) for name, curve in curves.items()
        ]
        answer.append(Search(label, ks, rows, plotted(label, curves, sign), verdict(losses)))
    return answer


def told(best: Best, sign: int) -> str:
    """The expected best, and its band.

    Example:
        >>> told(Best(2, 51.26, 48.0, 60.123), 1)
        '51.3 (48 to 60.1)'
    """
    ends = sorted((sign * best.low, sign * best.high))
    return f"{sign * best.expected:.3g} ({ends[0]:.3g} to {ends[1]:.3g})"


def verdict(losses: Mapping[str, Sequence[float]]) -> str:
    """Whether it matters which method it is, over all settings."""
    if len(losses) < 2:
        return ""
    p, lost = matters(list(losses.values())), sum(math.isinf(v) for values in losses.values() for v in values)
    diverged = f" {lost} of the settings diverged and count as the last." if lost else ""
    said = "it matters which method it is" if p < LEVEL else "it cannot be told that it matters which method it is"
    return f"Over random settings {said} (p = {p:.2g}, Kruskal and Wallis, shuffled).{diverged}"


def plotted(label: str, curves: Mapping[str, Sequence[Best]], sign: int) -> str:
    """Expected best against k, a curve and a band for each method."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 3.2), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    for place, (name, curve) in enumerate(curves.items()):
        fine = [best for best in curve if math.isfinite(best.expected)]
        k, colour = [best.k for best in fine], PALETTE[place % len(PALETTE)]
        axes.plot(k, [sign * best.expected for best in fine], "o-", ms=3, lw=1, color=colour, label=name)
        bounded = [best for best in fine if math.isfinite(best.high)]
        axes.fill_between(
            [b.k for b in bounded],
            [sign * b.low for b in bounded],
            [sign * b.high for b in bounded],
            color=colour,
            alpha=0.1,
        )
    axes.set_xlabel("random settings tried", fontsize=8)
    axes.set_ylabel(f"best {label}", fontsize=8)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=7, frameon=False)
    return svg(figure)
