"""The evaluation page: figures, their cards, how they fall with n, and the pictures behind them. It loads no model."""

from __future__ import annotations

from pathlib import Path

from sfumato import config as settings
from sfumato.evaluation.gallery import Gallery
from sfumato.evaluation.request import read_evaluation
from sfumato.files import write_atomic
from sfumato.reports.figures import distance_against_n
from sfumato.reports.template import render


def build_page(folder: Path | str) -> Path:
    """Write evaluation.html beside evaluation.json, and return its path.

    Raises: DataError: the folder holds no evaluation.
    """
    folder = Path(folder)
    evaluation = read_evaluation(folder)
    path = folder / "gallery.json"
    gallery = settings.load(Gallery, settings.read(path), str(path)) if path.is_file() else Gallery(panels=[])
    warnings = dict.fromkeys(line for score in evaluation.scores for line in score.card.get("warnings", []))
    page = render(
        "evaluation.html",
        evaluation=evaluation,
        panels=gallery.panels,
        plots={s.label: distance_against_n(s) for s in evaluation.scores if "points" in s.card.get("infinity", {})},
        warnings=list(warnings),
    )
    write_atomic(folder / "evaluation.html", page)
    return folder / "evaluation.html"
