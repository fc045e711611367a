"""-log p(x) on binarised images along trainings of `vae`, by 500 importance samples, and its curve.

    sfumato train vae --data mnist.npz --images 4_000_000 --set budget.moments=9 --set family.network=mlp \\
        --set family.width=400 --set family.latent=20 --set family.likelihood.kind=bernoulli \\
        --set family.likelihood.binarise=true --out runs/nats-mlp
    python -m benchmarks.nats mnist.npz 10000 runs/nats-mlp [RUN ...]    # on so many test images

Draws docs/images/nats.png.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt

from sfumato.data.base import Split
from sfumato.data.npz import Npz
from sfumato.metrics.nats import Nats
from sfumato.training import moments
from sfumato.training.run import load

DRAWN = Path(__file__).parents[1] / "docs" / "images" / "nats.png"
SAMPLES = 500


def curve(folder: Path, test: Split) -> tuple[list[int], list[float]]:
    """Images seen and nats at each moment of a run, on the test part."""
    seen, found = [], []
    for moment in [*moments.kept(folder), None]:
        run = load(folder, moment=moment)
        run.family.config = run.family.config.model_copy(update={"importance": SAMPLES})
        (score,) = Nats(Nats.Config()).measure_model(run.family, test, seed=0, batch=500)
        seen.append(run.ledger.images)
        found.append(score.value)
        print(
            f"{folder.name:>12}  {seen[-1]:>10,} images  {score.value:.2f} nats ({score.low:.2f} to {score.high:.2f})"
        )
    return seen, found


def main(data: str, count: str, *folders: str) -> None:
    """Print and draw."""
    test = Npz(Npz.Config(path=Path(data))).load().test.first(int(count))
    fig, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    for folder in map(Path, folders):
        axes.semilogx(*curve(folder, test), marker="o", markersize=3, label=folder.name)
    axes.axhline(95, color="0.6", linewidth=0.8)
    axes.set(
        xlabel="images seen",
        ylabel="-log p(x), nats",
        title=f"{len(test):,} binarised digits, {SAMPLES} importance samples",
    )
    axes.legend(frameon=False)
    fig.savefig(DRAWN, dpi=120)


if __name__ == "__main__":
    main(*sys.argv[1:])
