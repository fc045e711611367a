"""Paper 002's headline: how many images and operations until an error in holes is reached, grown or whole from scratch.

    python -m benchmarks.growing_up scenes64.npz [SEEDS]

16 x 16 photographs of scenes, paper 000's boxes as holes. Each training goes on until the mean absolute error in the holes of
512 validation images, smoothed over five looks, is below TARGET levels of 255; what is not there after ten times the
budget of the grown one is reported as "> x". Operations count every level and both networks. Writes
docs/results/growing-up-target.csv and
draws docs/images/growing-up.png.
"""

from __future__ import annotations

import csv
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from sfumato.data.base import Dataset
from sfumato.data.npz import Npz
from sfumato.families.base import weighted_mean
from sfumato.families.growing_gan import GrowingGAN
from sfumato.images import to_float
from sfumato.streams import stream
from sfumato.tasks.inpainting import Inpainting
from sfumato.training.budget import Budget
from sfumato.training.ledger import Ledger
from sfumato.training.run import make_family, run_spec
from sfumato.training.trainer import Trainer

DOCS = Path(__file__).parents[1] / "docs"
TARGET, IMAGES, BATCH, LOOKS = 32.0, 192_000, 128, 5
ROWS: dict[str, dict[str, Any]] = {
    "grown, frozen": {},
    "grown, not frozen": {"freeze": []},
    "whole, from scratch": {"grow": False},
}


class Reached(Exception):
    """The target."""


def until(
    settings: dict[str, Any], seed: int, data: Dataset, target: float, images: int
) -> tuple[bool, list[tuple[int, float, float]]]:
    """Whether the target was reached, and images, operations and error of each look at full size."""
    task = Inpainting(Inpainting.Config())
    family = make_family(GrowingGAN.Config.model_validate(settings), run_spec(data, [task]), seed)
    assert isinstance(family, GrowingGAN)
    x = to_float(data.validation.images[:512])
    observation = task.observe(x, [stream(0, "growing up", i) for i in range(len(x))])
    path: list[tuple[int, float, float]] = []

    def watch(ledger: Ledger, means: Mapping[str, float]) -> None:
        if not means or int(family.generator.level) < family.levels - 1:
            return
        made = family.sample(len(x), observation=observation, rng=stream(0, "growing up"))
        error = 127.5 * float(weighted_mean((made - x).abs(), 1 - observation.known))
        path.append((ledger.images, ledger.flops, error))
        if len(path) >= LOOKS and statistics.mean(one[2] for one in path[-LOOKS:]) < target:
            raise Reached

    try:
        Trainer(family, task, Budget(images=images, batch=BATCH, flip=True), seed=seed, watch=watch).run(data.train)
    except Reached:
        return True, path
    return False, path


def main(path: str, seeds: int = 3) -> None:
    """Print a table, write it, and draw the curves."""
    data = Npz(Npz.Config(path=Path(path), shrink=4)).load()
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained", sharey=True)
    rows, colours = [], dict(zip(ROWS, ("#8a3324", "#c8963e", "black"), strict=True))
    print("| to an error of " + f"{TARGET:g} | images | operations |\n|---|---|---|")
    for name, settings in ROWS.items():
        for seed in range(seeds):
            limit = IMAGES if settings.get("grow", True) else 10 * IMAGES
            reached, looks = until(settings, seed, data, TARGET, limit)
            images, flops, error = looks[-1]
            rows.append([name, seed, reached, images, flops, error])
            sign = "" if reached else "> "
            print(
                f"| {name}, seed {seed} | {sign}{images:,} | {sign}{flops:.3g} ({error:.1f} at the end) |", flush=True
            )
            for axis, place in zip(axes, (0, 1), strict=True):
                axis.plot(
                    [one[place] for one in looks],
                    [one[2] for one in looks],
                    lw=0.8,
                    color=colours[name],
                    label=name if seed == 0 else None,
                )
    for axis, what in zip(axes, ("images", "operations"), strict=True):
        axis.axhline(TARGET, color="0.6", lw=0.8)
        axis.set(xlabel=what, xscale="log")
    axes[0].set(ylabel="error in holes, levels of 255", ylim=(TARGET - 6, TARGET + 30))
    axes[1].legend(frameon=False)
    figure.savefig(DOCS / "images" / "growing-up.png", dpi=120)
    with (DOCS / "results" / "growing-up-target.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["run", "seed", "reached", "images", "flops", "error"], *rows])


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
