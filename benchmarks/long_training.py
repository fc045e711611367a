"""How good a small DDPM gets: distances at 32 x 32 against images seen, on two cores.

python -m benchmarks.long_training cifar10.npz   one training, resumable; docs/results/long-training.csv,
                                                 docs/images/long-training.svg and the last draws, long-training.png

1,000 draws by the default walk (DDIM, 25 calls) against the 1,000 test images at sixteen moments; the share that is copied is
of draws nearer to a training image, or its mirror, than a third of the distance to the next one (Gu et al., 2310.02664).
"""

import csv
import io
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch

from benchmarks.why_diffusion import vectors
from sfumato.data.base import Dataset, Split
from sfumato.data.npz import Npz
from sfumato.families.base import Family, parameter_count
from sfumato.files import write_atomic
from sfumato.images import grid, to_float, to_uint8, write_picture
from sfumato.kinds import build, parse
from sfumato.maths.gaussians import frechet_distance
from sfumato.metrics.mind import mind
from sfumato.streams import stream
from sfumato.tasks.generation import Generation
from sfumato.training import moments
from sfumato.training.budget import Budget
from sfumato.training.run import RunConfig, load, train
from sfumato.training.sampling import sample_pixels

IMAGES, MOMENTS, DRAWS, WIDTH = 640_000, 15, 1_000, 16
FOLDER, DOCS = Path("runs/long-training"), Path(__file__).parents[1] / "docs"


def main(path: str) -> None:
    """Train, measure each moment, write down and draw."""
    config = RunConfig(
        data=Npz.Config(path=Path(path), train=9_000, test=DRAWS),
        tasks=[Generation.Config()],
        family=parse(Family, {"kind": "ddpm", "width": WIDTH}),
        budget=Budget(images=IMAGES, batch=64, flip=True, moments=MOMENTS),
    )
    run, data = train(config, FOLDER), build(config.data).load()
    rows = [row(load(FOLDER, moment=moment).family, data, moment or IMAGES) for moment in (*moments.kept(FOLDER), None)]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(DOCS / "results" / "long-training.csv", out.getvalue())
    print(f"{parameter_count(run.family.deployed()):,} parameters, {run.ledger.seconds / 60:.0f} min")
    write_picture(grid(sample_pixels(run, 64, seed=0), columns=16, scale=2), DOCS / "images" / "long-training.png")
    curves(rows)


def row(family: Family, data: Dataset, images: int) -> dict[str, Any]:
    """The distances of one moment, and the share of copies."""
    made = to_uint8(torch.cat([family.sample(250, rng=stream(0, "draws", i)) for i in range(DRAWS // 250)]))
    drawn, true = vectors(made), vectors(data.test.images)
    distance = frechet_distance(drawn.mean(0), drawn.T.cov(), true.mean(0), true.T.cov())
    row = {"images": images, "FD-lite0-b4": round(distance, 2), "MIND-lite0-b4": round(mind(drawn, true), 2)}
    row["copied"] = copied(to_float(made), data.train)
    print(row, flush=True)
    return row


def copied(made: torch.Tensor, train: Split) -> float:
    """Share of draws whose nearest training image is nearer than a third of the second nearest."""
    made, known = made.flatten(1), to_float(train.images)
    either = torch.minimum(torch.cdist(made, known.flatten(1)), torch.cdist(made, known.flip(-1).flatten(1)))
    first, second = either.topk(2, largest=False).values.T
    return round(float((first < second / 3).float().mean()), 4)


def curves(rows: list[dict[str, Any]]) -> None:
    """Both distances against images."""
    figure, panels = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    for axes, name in zip(panels, [key for key in rows[0] if "-" in key], strict=True):
        axes.plot([r["images"] for r in rows], [r[name] for r in rows], "o-", ms=3.5, color="#8a3324")
        axes.set(xscale="log", yscale="log", xlabel="images seen", ylabel=name)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(DOCS / "images" / "long-training.svg")


if __name__ == "__main__":
    main(sys.argv[1])
