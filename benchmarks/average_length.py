"""How long the average of the weights should be, chosen after training: distance on validation images against its length.

python -m benchmarks.average_length cifar10.npz   three trainings of a DDPM of 0.25 M parameters, resumable;
                                                  docs/results/average-length.csv, docs/images/average-length.svg
"""

import csv
import sys
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib.pyplot as plt
import torch

import sfumato
from sfumato.kinds import build, parse
from sfumato.metrics.base import Metric
from sfumato.restorers.conditional import Conditional
from sfumato.studies.measure import measure

DOCS = Path(__file__).parents[1] / "docs"
LENGTHS = (0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.13, 0.16, 0.2, 0.24)
SEEDS, IMAGES = (0, 1, 2), 60_000
NETWORK = {"family.width": 13.875, "family.embedding": 60}  # 250,467 parameters, as parity finds in the studies
METRIC = {"kind": "frechet", "features": {"kind": "lite0", "layer": "b4"}}


def main(path: str) -> None:
    """Train, measure each length, write down and draw."""
    data = {"kind": "npz", "path": path, "train": 9_000, "test": 1_000, "shrink": 2}
    rows: list[dict[str, Any]] = []
    for seed in SEEDS:
        settings = {**NETWORK, "budget.average": "post_hoc", "budget.flip": True}
        run = sfumato.train(
            "ddpm", data, images=IMAGES, seed=seed, settings=settings, out=f"runs/average-length/{seed}"
        )
        held = build(run.config.data).load()
        held = replace(held, test=held.validation)
        for length in LENGTHS:
            family = run.averaged(length).family
            metric: Metric = build(parse(Metric, METRIC))
            answers = Conditional(Conditional.Config(), family)
            task = run.run.tasks[0]
            found = measure(answers, task, held, [metric], seed=seed, batch=256, device=torch.device("cpu"))
            rows.append({"seed": seed, "length": length, "FD": round(found.scores[0].value, 2)})
            print(rows[-1], flush=True)
    with (DOCS / "results" / "average-length.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    figure, axes = plt.subplots(figsize=(5.5, 3.4), layout="constrained")
    for seed in SEEDS:
        axes.plot(LENGTHS, [row["FD"] for row in rows if row["seed"] == seed], "o-", ms=3, lw=0.8, color="0.7")
    axes.plot(
        LENGTHS, [mean(r["FD"] for r in rows if r["length"] == length) for length in LENGTHS], "o-", color="#b5523b"
    )
    axes.set(xlabel="length of the average, share of the training", ylabel="FD-lite0-b4, validation images")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(DOCS / "images" / "average-length.svg")


if __name__ == "__main__":
    main(sys.argv[1])
