"""Paper 002's headline: how many images and operations until an error in holes is reached, grown or whole from scratch.

    python -m benchmarks.growing_up scenes64.npz                                             the beginning: an error of 32
    python -m benchmarks.growing_up scenes64.npz --name growing-up-long --target 20 --images 640000 --times 1 --seeds 1 \\
        --shares 0.1 0.1 0.8                                                                 thousands of steps

16 x 16 photographs of scenes, paper 000's boxes as holes. Each training goes on until the mean absolute error in the holes of
512 validation images, smoothed over five looks, is below the target in levels of 255; what is not there after `times` the
budget of the grown one is reported as "> x". Operations count every level and both networks. Writes
docs/results/NAME-target.csv with every look, and draws docs/images/NAME.png.
"""

from __future__ import annotations

import argparse
import csv
import statistics
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
BATCH, LOOKS = 128, 5
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


def main() -> None:
    """Print a table, write it, and draw the curves."""
    options = argparse.ArgumentParser()
    options.add_argument("path", type=Path)
    for name, kind, default in (("name", str, "growing-up"), ("target", float, 32.0), ("images", int, 192_000)):
        options.add_argument(f"--{name}", type=kind, default=default)
    for name, default in (("times", 10), ("seeds", 3)):
        options.add_argument(f"--{name}", type=int, default=default)
    options.add_argument("--shares", type=float, nargs="*", default=[])
    options.add_argument("--rows", nargs="*", default=list(ROWS))
    asked = options.parse_args()
    data = Npz(Npz.Config(path=asked.path, shrink=4)).load()
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained", sharey=True)
    rows, colours = [], dict(zip(ROWS, ("#8a3324", "#c8963e", "black"), strict=True))
    print("| to an error of " + f"{asked.target:g} | images | operations |\n|---|---|---|")
    for name in asked.rows:
        settings = ROWS[name]
        for seed in range(asked.seeds):
            grown = settings.get("grow", True)
            more = {"shares": asked.shares} if grown and asked.shares else {}
            limit = asked.images if grown else asked.times * asked.images
            reached, looks = until({**settings, **more}, seed, data, asked.target, limit)
            images, flops, error = looks[-1]
            rows += [[name, seed, reached, *look] for look in looks]
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
        axis.axhline(asked.target, color="0.6", lw=0.8)
        axis.set(xlabel=what, xscale="log")
    axes[0].set(ylabel="error in holes, levels of 255", ylim=(asked.target - 6, asked.target + 30))
    axes[1].legend(frameon=False)
    figure.savefig(DOCS / "images" / f"{asked.name}.png", dpi=120)
    with (DOCS / "results" / f"{asked.name}-target.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["run", "seed", "reached", "images", "flops", "error"], *rows])


if __name__ == "__main__":
    main()
