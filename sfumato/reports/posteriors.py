"""The page of `sfumato exact --task`: how far each zero-shot restorer is from the posterior, against calls."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sfumato.files import write_atomic
from sfumato.reports.exact import error_against_calls
from sfumato.reports.template import render


def build_page(folder: Path, told: Mapping[str, Any]) -> Path:
    """Write posteriors.html and return its path."""
    plots = []
    for task, noise in dict.fromkeys((row["task"], row["noise"]) for row in told["rows"]):
        mine = [row for row in told["rows"] if (row["task"], row["noise"]) == (task, noise)]
        lines = [{**row, "sampler": row["restorer"], "total": row["distance"], "floor": row["error"]} for row in mine]
        title = f"{task}, {'exact' if noise == 0 else f'noise {noise:g}'}"
        plots.append((title, error_against_calls(lines, "distance from the posterior, W2, grey levels a pixel")))
    write_atomic(folder / "posteriors.html", render("posteriors.html", told=told, plots=plots))
    return folder / "posteriors.html"
