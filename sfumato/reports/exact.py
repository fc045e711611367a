"""The page of `sfumato exact`: error against calls for every sampler, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sfumato.files import write_atomic
from sfumato.reports.figures import PALETTE, short, svg
from sfumato.reports.template import render

LABEL = "distance from the images, W2, grey levels a pixel"


def build_page(folder: Path, exact: Mapping[str, Any]) -> Path:
    """Write exact.html and return its path."""
    page = render("exact.html", exact=exact, plot=error_against_calls(exact["rows"]))
    write_atomic(folder / "exact.html", page)
    return folder / "exact.html"


def error_against_calls(rows: Sequence[Mapping[str, Any]], label: str = LABEL) -> str:
    """Both axes in powers; a line for each sampler, broken where draws are compared, a triangle below their error."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    figure = Figure(figsize=(8.5, 4.6), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    for place, name in enumerate(dict.fromkeys(row["sampler"] for row in rows)):
        mine = sorted((row for row in rows if row["sampler"] == name), key=lambda row: row["calls"])
        colour = PALETTE[place % len(PALETTE)]
        line = "--" if mine[0]["floor"] is not None else "-"
        calls, drawn = [row["calls"] for row in mine], [max(row["total"], row["error"] or 0.0) for row in mine]
        axes.plot(calls, drawn, line, color=colour, label=name)
        for marker, hidden in (("o", False), ("v", True)):
            those = [i for i, row in enumerate(mine) if (row["total"] < drawn[i]) == hidden]
            axes.plot([calls[i] for i in those], [drawn[i] for i in those], marker, ms=5 if hidden else 4, color=colour)
    axes.set(xscale="log", yscale="log", xlabel="calls of the denoiser for one image")
    axes.set_xticks(sorted({row["calls"] for row in rows}))
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.set_ylabel(label, fontsize=9)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
        axis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right center", frameon=False, fontsize=8)
    return svg(figure)
