"""Curves: figures against a number that methods are drawn by, where nothing else of them differs, as a scale of guidance."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sfumato.reports.figures import PALETTE, svg
from sfumato.studies.results import Result
from sfumato.studies.statistics import by_method, summarise
from sfumato.studies.study import Study
from sfumato.training.run import changed

FEWEST, PANELS = 3, 4  # points of a curve, and figures beside one another


@dataclass(frozen=True)
class Curve:
    """Methods that differ in one number alone."""

    setting: str
    """Its path in the family's settings."""
    points: tuple[tuple[float, str], ...]
    """Its value for each method, in order."""


def curves_of(study: Study) -> list[Curve]:
    """Every number along which three methods or more of one training differ, and in nothing else.

    Example:
        >>> way = [{"name": f"{w}", "family": "ddpm", "drawn": {"sampler": {"steps": w}}} for w in (5, 10)]
        >>> study = Study(title="t", data="digits", tasks=["generation"], methods=[{"name": "own", "family": "ddpm"}, *way])
        >>> [(curve.setting, [name for _, name in curve.points]) for curve in curves_of(study)]
        [('sampler.steps', ['5', '10', 'own'])]
    """
    groups: dict[tuple[str, str], dict[float, str]] = {}
    for method in study.methods:
        if method.family is None:
            continue
        rest = json.loads(method.to_json())
        used = {"": json.loads(changed(method.family, method.drawn).to_json()), "restorer": rest["restorer"]}
        for gone in ("name", "drawn", "restorer"):
            rest.pop(gone)
        for path, value in _numbers(used):
            same = json.dumps([rest, _without(used, path)], sort_keys=True)
            groups.setdefault((".".join(filter(None, path)), same), {}).setdefault(value, method.name)
    found = [
        Curve(path, tuple(sorted(points.items()))) for (path, _), points in groups.items() if len(points) >= FEWEST
    ]
    return sorted(found, key=lambda curve: -len(curve.points))


def _numbers(values: dict[str, Any], before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], float]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _numbers(value, (*before, name))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield (*before, name), float(value)


def _without(values: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    rest = dict(values)
    if len(path) == 1:
        rest.pop(path[0])
    else:
        rest[path[0]] = _without(rest[path[0]], path[1:])
    return rest


def drawn(curve: Curve, results: Sequence[Result], task: str, labels: Sequence[str]) -> str:
    """A panel for each of the first figures; empty where too few methods have one."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    panels = []
    for label in labels:
        figures = by_method(results, task, label)
        told = [(value, summarise(figures[name])) for value, name in curve.points if name in figures]
        if len(told) >= FEWEST:
            panels.append((label, told))
    if not panels:
        return ""
    panels = panels[:PANELS]
    figure = Figure(figsize=(2.9 * len(panels), 2.6), layout="constrained")
    FigureCanvasSVG(figure)
    for axes, (label, told) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        x, y = [value for value, _ in told], [summary.value for _, summary in told]
        ends = [
            (s.value - (s.value if s.low is None else s.low), (s.value if s.high is None else s.high) - s.value)
            for _, s in told
        ]
        axes.errorbar(x, y, yerr=list(zip(*ends, strict=True)), fmt="o-", ms=4, lw=1, capsize=2, color=PALETTE[0])
        axes.set_xlabel(curve.setting, fontsize=8)
        axes.set_title(label, fontsize=9)
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    return svg(figure)
