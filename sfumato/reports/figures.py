"""Figures: quality against cost, drawn with matplotlib and returned as SVG text."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from sfumato.metrics.base import Score
from sfumato.reports.tables import Table
from sfumato.studies.results import Result
from sfumato.studies.statistics import by_method, dominated, summarise

PALETTE = ["#b5523b", "#2f6690", "#5b8c5a", "#8d6a9f", "#c58b2b", "#4d4d4d", "#7a9e9f", "#a26769", "#6b705c", "#3d5a80"]


@dataclass(frozen=True)
class Cost:
    """An axis of cost: its name and how to read it off a result."""

    label: str
    key: str


COSTS = [
    Cost("training, seconds", "seconds"),
    Cost("restoring, milliseconds an image", "milliseconds"),
    Cost("deployed parameters", "parameters"),
]


def cost_of(result: Result, key: str) -> float:
    """A result's cost; 0 where it has none, as a classical method's training."""
    if key == "seconds":
        return result.ledger.seconds if result.ledger else 0.0
    return float(result.milliseconds if key == "milliseconds" else result.parameters)


def quality_against_cost(results: Sequence[Result], task: str, column: Score, methods: Sequence[str]) -> str:
    """Three small plots of one metric against the three costs; free methods stand at the left edge."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter

    figure = Figure(figsize=(10.5, 3.0), layout="constrained")
    FigureCanvasSVG(figure)
    for panel, (axes, cost) in enumerate(zip(figure.subplots(1, 3, sharey=True), COSTS, strict=True)):
        for place, method in enumerate(methods):
            figures = by_method(results, task, column.label).get(method)
            if figures is None:
                continue
            mine = [r for r in results if r.task == task and r.method == method and r.status == "ok"]
            x = sum(cost_of(result, cost.key) for result in mine) / len(mine)
            summary = summarise(figures)
            error = None
            if summary.low is not None and summary.high is not None:  # an interval may be cut off where a figure ends
                error = [[summary.value - summary.low], [summary.high - summary.value]]
            colour = PALETTE[place % len(PALETTE)]
            axes.errorbar(
                x,
                summary.value,
                yerr=error,
                fmt="o" if mine[0].learned else "s",
                ms=6,
                color=colour,
                capsize=2,
                label=plain(method),
            )
        axes.set_xscale("symlog", linthresh={"seconds": 1.0, "milliseconds": 0.01, "parameters": 10_000.0}[cost.key])
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(cost.label)
        if panel == 0:
            better = "nearer to 0" if column.better == "zero" else column.better
            axes.set_ylabel(f"{column.label}, {better} is better\n({column.unit})", fontsize=8)
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)
    return svg(figure)


def perception_against_distortion(rows: Table) -> str:
    """Each method as a point, both axes the lower the better; hollow where another is at least as good in both."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    axis = {column.card["plane"]: column for column in rows.columns if "plane" in column.card}
    if len(axis) < 2:
        return ""
    drawn = [row for row in rows.rows if all(column.label in row.entries for column in axis.values())]
    x_label, y_label = axis["distortion"].label, axis["perception"].label
    points = [(row.entries[x_label].summary.value, row.entries[y_label].summary.value) for row in drawn]
    figure = Figure(figsize=(6.0, 3.6), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    for place, (row, (x, y), beaten) in enumerate(zip(drawn, points, dominated(points), strict=True)):
        colour = PALETTE[place % len(PALETTE)]
        axes.plot(x, y, "o" if row.learned else "s", ms=7, color=colour, mfc="none" if beaten else colour)
        axes.annotate(plain(row.method), (x, y), textcoords="offset points", xytext=(7, 4), fontsize=8)
    axes.set_xlabel(x_label, fontsize=8)
    axes.set_ylabel(y_label, fontsize=8)
    axes.margins(0.15)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    return svg(figure)


def distance_against_n(score: Score) -> str:
    """A Frechet distance of parts of the made images against 1 / n, its line to infinity, and the noise floor."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    line, floor = score.card["infinity"], score.card.get("noise_floor")
    x = [1 / point["n"] for point in line["points"]]
    figure = Figure(figsize=(7.0, 3.0), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    axes.plot(x, [point["distance"] for point in line["points"]], "o", ms=5, color=PALETTE[0], label="parts")
    ends = [0.0, max(x)]
    axes.plot(ends, [line["value"] + line["slope"] * end for end in ends], color=PALETTE[0], lw=1)
    axes.errorbar(
        0, line["value"], yerr=1.96 * line["error"], fmt="D", ms=5, color=PALETTE[1], capsize=3, label="infinity"
    )
    if floor is not None:
        axes.axhline(
            floor["value"], ls=":", lw=1, color=PALETTE[5], label=f"halves of the real images, n = {floor['n']:,}"
        )
    shown = [point["n"] for point in line["points"]][:: max(len(x) // 4, 1)]
    axes.set_xticks([0.0, *(1 / n for n in shown)], ["infinity", *(f"{round(n):,}" for n in shown)])
    axes.set_xlabel("made images (spaced by 1 / n)", fontsize=8)
    axes.set_ylabel(score.label, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.legend(frameon=False, fontsize=8)
    return svg(figure)


def short(value: float) -> str:
    """A tick's number.

    Example:
        >>> short(0.0), short(0.01), short(250.0), short(10_000), short(3e6)
        ('0', '0.01', '250', '10k', '3M')
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def plain(name: str) -> str:
    """A name that a legend shows as it is: one that begins with _ would be left out."""
    return f"\u200b{name}" if name.startswith("_") else name


def svg(figure: object) -> str:
    """A figure as an <svg> element, without the XML header and without a date, so that the same data give the same page."""
    import matplotlib
    from matplotlib.text import Text

    for text in figure.findobj(Text):  # type: ignore[attr-defined]
        text.set_parse_math(False)  # names may hold dollars; ticks have formatters of their own
    out = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "sfumato"}):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})  # type: ignore[attr-defined]
    text = out.getvalue().decode()
    return text[text.index("<svg") :]
