"""Fine-tuning on the way: distance to test images at the moments that studies/fine-tune.toml kept, and draws there.

    python -m benchmarks.fine_tune runs/fine-tune PARENT [--name fine-tune] [--show]

PARENT is the run that it begins with, measured as it is at 0 images. docs/results/NAME-way.csv, docs/images/NAME-way.svg; with
--show also NAME-way.png: draws from one noise, a row a moment, fine-tuned on the left and from scratch on the right.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch

from sfumato.data.base import Dataset
from sfumato.images import encode, grid
from sfumato.kinds import build, parse
from sfumato.metrics.base import Metric
from sfumato.restorers.conditional import Conditional
from sfumato.studies.measure import measure
from sfumato.tasks.generation import Generation
from sfumato.training import moments
from sfumato.training import run as runs
from sfumato.training.run import Run

DOCS = Path(__file__).parents[1] / "docs"
FEATURES = {"kind": "lite0", "layer": "b4"}
METRICS = [{"kind": kind, "features": FEATURES} for kind in ("frechet", "mind", "memorisation")]
DRAWS = 8
Rows = list[dict[str, Any]]


def main() -> None:
    """Measure every moment of the trainings of seed 0, write and draw."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("parent", type=Path)
    parser.add_argument("--name", default="fine-tune")
    parser.add_argument("--show", action="store_true")
    asked = parser.parse_args()
    rows: Rows = []
    shown: dict[str, list[torch.Tensor]] = {}
    for path in sorted(asked.folder.glob("runs/ddpm--generation--0--*")):
        last = runs.load(path)
        held = build(last.config.data).load()
        begun = "fine-tuned" if last.config.parts else "from scratch"
        stages: list[tuple[int, Run]] = [(0, runs.load(asked.parent))] if last.config.parts else []
        stages += [(images, runs.load(path, moment=images)) for images in moments.kept(path)]
        for images, run in [*stages, (last.ledger.images, last)]:
            figures, pictures = measured(run, held)
            rows.append({"begun": begun, "images": images, **figures})
            print(rows[-1], flush=True)
            if images:
                shown.setdefault(begun, []).append(pictures)
    written(rows, f"{asked.name}-way")
    if asked.show:
        pairs = zip(shown["fine-tuned"], shown["from scratch"], strict=True)
        sheet = grid(torch.cat([torch.cat(pair) for pair in pairs]), columns=2 * DRAWS, scale=2)
        (DOCS / "images" / f"{asked.name}-way.png").write_bytes(encode(sheet))


def measured(run: Run, held: Dataset) -> tuple[dict[str, float], torch.Tensor]:
    """Its figures on the test images, and a few draws."""
    made = [build(parse(Metric, metric)) for metric in METRICS]
    restorer, task = Conditional(Conditional.Config(), run.family), Generation(Generation.Config())
    told = measure(restorer, task, held, made, seed=0, batch=256, device=run.family.device)
    return {score.label: score.value for score in told.scores}, told.shown[:DRAWS]


def written(rows: Rows, name: str) -> None:
    """The table and the curves."""
    with (DOCS / "results" / f"{name}.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    figure, axes = plt.subplots(figsize=(5, 3.2), layout="constrained")
    label = next(key for key in rows[0] if key.startswith("FD"))
    for begun in dict.fromkeys(row["begun"] for row in rows):
        points = [(row["images"], row[label]) for row in rows if row["begun"] == begun]
        axes.plot(*zip(*points, strict=True), "o-", ms=4, label=begun)
    axes.set(yscale="log", xlabel="images seen", ylabel=label)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(DOCS / "images" / f"{name}.svg")


if __name__ == "__main__":
    main()
