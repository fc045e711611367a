"""A time in [0, 1] fed into sinusoids that are meant for 0 to 1,000: what it costs a small DDPM.

The code of arXiv 2511.21215 does so, and its DDPM has an FID of 403 where its flow has 24.

    python -m benchmarks.unscaled_time cifar10.npz      16 x 16, 250,000 parameters, 60,000 images, resumable;
                                                        docs/results/unscaled-time.csv
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

import sfumato
from sfumato.kinds import build, parse
from sfumato.metrics.base import Metric
from sfumato.networks import layers
from sfumato.restorers.conditional import Conditional
from sfumato.studies.measure import measure

OUT = Path(__file__).parents[1] / "docs" / "results" / "unscaled-time.csv"
SEEDS, IMAGES, SHRINKS = (0, 1, 2), 60_000, 1e-3
NETWORK = {"family.width": 13.875, "family.embedding": 60, "budget.flip": True, "budget.batch": 64}
KINDS: dict[str, dict[str, Any]] = {
    "x0, cosine": {},
    "eps, linear": {"family.prediction": "eps", "family.schedule": "linear"},
    "flow matching": {},
}
METRICS = [{"kind": kind, "features": {"kind": "lite0", "layer": "b4"}} for kind in ("frechet", "mind")]


def unscaled(time: Any, dim: int, *more: Any) -> Any:
    """The sinusoids of a time a thousand times smaller than they are meant for."""
    return SCALED(time * SHRINKS, dim, *more)


SCALED = layers.sinusoidal


def main(path: str) -> None:
    """Train and measure each pair."""
    data = {"kind": "npz", "path": path, "train": 9_000, "test": 1_000, "shrink": 2}
    rows: list[dict[str, Any]] = []
    for name, settings in KINDS.items():
        family = "flow_matching" if name == "flow matching" else "ddpm"
        for how, sinusoid in (("scaled", SCALED), ("unscaled", unscaled)):
            for seed in SEEDS:
                with patch.object(layers, "sinusoidal", sinusoid):
                    out = f"runs/unscaled-time/{name}, {how}, {seed}"
                    run = sfumato.train(family, data, images=IMAGES, seed=seed, settings=NETWORK | settings, out=out)
                    held = build(run.config.data).load()
                    made = [build(parse(Metric, metric)) for metric in METRICS]
                    restorer = Conditional(Conditional.Config(), run.family)
                    told = measure(
                        restorer, run.run.tasks[0], held, made, seed=seed, batch=250, device=torch.device("cpu")
                    )
                scores = {score.label: round(score.value, 1) for score in told.scores}
                rows.append({"model": name, "time": how, "seed": seed} | scores)
                print(rows[-1], flush=True)
    with OUT.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    main(sys.argv[1])
