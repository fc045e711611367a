"""Guidance: which scale is best on validation images, and what the classes become along it.

    sfumato study studies/guidance.toml --out runs/guidance
    python -m benchmarks.guidance runs/guidance      docs/results/guidance-validation.csv, docs/images/guidance.png

The picture: a column a class from one noise, rows from no guidance to much, without a classifier above and with one below.
"""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from sfumato.images import encode, grid, to_uint8
from sfumato.kinds import build, parse
from sfumato.metrics.base import Metric
from sfumato.networks.condition import Condition
from sfumato.restorers.conditional import Conditional
from sfumato.streams import stream
from sfumato.studies.measure import measure
from sfumato.training import run as runs

DOCS = Path(__file__).parents[1] / "docs"
SCALES = {"free": (0.0, 0.5, 1.0, 1.25, 1.5, 2.0, 3.0), "classifier": (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)}
SHOWN = {"free": (0.0, 1.0, 2.0, 5.0), "classifier": (0.0, 1.0, 4.0, 8.0)}
FEATURES = {"kind": "lite0", "layer": "b4"}
METRICS = [{"kind": "frechet", "features": FEATURES}, {"kind": "mind", "features": FEATURES}]


def main(folder: str) -> None:
    """Measure every scale of every training on validation images, write, and draw the strips of seed 0."""
    rows: list[dict[str, Any]] = []
    strips: dict[str, list[torch.Tensor]] = {}
    for path in sorted(Path(folder).glob("runs/ddpm--generation--*")):
        first = runs.load(path)
        whole = build(first.config.data).load()
        held, guides = replace(whole, test=whole.validation), str(first.config.family.guides)
        for scale in SCALES[guides]:
            run = runs.load(path, changes=[f"guidance={scale}"])
            made = [build(parse(Metric, metric)) for metric in METRICS]
            restorer = Conditional(Conditional.Config(), run.family)
            told = measure(restorer, run.tasks[0], held, made, seed=0, batch=250, device=torch.device("cpu"))
            row = {"guides": guides, "seed": run.config.seed, "scale": scale}
            rows.append(row | {score.label: round(score.value, 2) for score in told.scores})
            print(rows[-1], flush=True)
        if first.config.seed == 0:
            strips[guides] = [drawn(path, scale) for scale in SHOWN[guides]]
    with (DOCS / "results" / "guidance-validation.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    for guides, scales in SCALES.items():
        figures = {
            scale: [
                mean(row[label] for row in rows if (row["guides"], row["scale"]) == (guides, scale))
                for label in list(rows[0])[3:]
            ]
            for scale in scales
        }
        print(guides, {scale: [round(value, 1) for value in values] for scale, values in figures.items()})
        print("best by distance:", min(figures, key=lambda scale: figures[scale][0]))
    sheet = torch.cat([torch.cat(strips[guides]) for guides in SCALES])
    (DOCS / "images" / "guidance.png").write_bytes(encode(grid(sheet, columns=10, scale=4)))


def drawn(path: Path, scale: float) -> torch.Tensor:
    """One image of each class, from the same noise at every scale."""
    family: Any = runs.load(path, changes=[f"guidance={scale}"]).family
    label = torch.arange(10)
    rngs = [stream(0, "strip", i) for i in range(10)]
    with torch.no_grad():
        return to_uint8(family.draw(10, Condition(label=label), family.spec.size, rngs))


if __name__ == "__main__":
    main(sys.argv[1])
