"""Paper 001's table of stars, measured: 16 short trainings of each family, and stars by a rule.

    sfumato study studies/why-diffusion.toml --out runs/why-diffusion
    python -m benchmarks.why_diffusion runs/why-diffusion          goes on where it was stopped; then the table and the picture

The trainings have 20,000 images, the study's data and widths, and seeds that it has not; families take turns, so that what
else the machine does is the same for all. One is lost if a loss or a pixel is not finite, if the variance of its pixels,
over 1,000 draws, is under a tenth of that of the test images, or if its Frechet distance is over twice the family's median.

A family has four stars, less one for each of the others that is ahead of it:
quality     better in Frechet distance in the study, beyond chance (its own test, all pairs, Holm)
resources   less than two thirds of its costs (geometric mean of seconds of training, memory, milliseconds a sample)
stability   fewer short trainings lost (Fisher's exact test), or less spread of the logarithm of their distances (Levene's
            test about medians); p < 0.05 after Holm over all pairs and both
"""

from __future__ import annotations

import csv
import json
import math
import multiprocessing
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.stats import fisher_exact, levene
from torch import Tensor

from sfumato.data.base import Dataset, Split
from sfumato.errors import DivergedError
from sfumato.features.lite0 import Lite0
from sfumato.files import write_atomic
from sfumato.images import grid, read_picture, to_uint8, write_picture
from sfumato.kinds import build
from sfumato.maths.gaussians import frechet_distance
from sfumato.maths.student import holm
from sfumato.metrics.base import wilson
from sfumato.streams import stream
from sfumato.studies import results
from sfumato.studies.resolved import solved
from sfumato.studies.statistics import BETTER, WORSE, by_method, compare, summarise
from sfumato.studies.study import Method, Study
from sfumato.tasks.generation import Generation
from sfumato.training.ledger import peak_bytes
from sfumato.training.run import make_family
from sfumato.training.trainer import Trainer

TRAININGS, IMAGES, DRAWS, LEAST, FAR = 16, 20_000, 1_000, 0.1, 2.0
FIRST = 1_000  # the first seed
FD = "FD-lite0-b4"
PAPER = {"GAN": (2, 4, 1), "VAE": (1, 4, 4), "Flow": (1, 1, 2), "DDPM": (4, 1, 4)}
COLUMNS = ("quality", "resources", "stability")
DOCS = Path(__file__).parents[1] / "docs"


def short(method: Method, study: Study, data: Dataset, seed: int) -> dict[str, Any]:
    """What became of one short training."""
    family = make_family(method.family, data.spec, seed)
    budget = study.budget.model_copy(update={"images": IMAGES})
    trainer = Trainer(family, Generation(Generation.Config()), budget, seed=seed)
    made = list[Tensor]()
    try:
        trainer.run(data.train)
        start = time.perf_counter()
        for first in range(0, DRAWS, 250):
            rngs = [stream(seed, "sample", i) for i in range(first, first + 250)]
            made.append(to_uint8(family.sample(250, rng=rngs)))
    except DivergedError as error:
        return {"diverged": str(error), "fd": None}
    milliseconds = 1000 * (time.perf_counter() - start) / DRAWS
    pixels = torch.cat(made)
    share = spread(pixels) / spread(data.test.images)
    return {
        "share": share,
        "fd": distance(pixels, data.test),
        "seconds": trainer.ledger.seconds,
        "milliseconds": milliseconds,
    }


def spread(pixels: Tensor) -> float:
    """Mean variance of a pixel."""
    return float(pixels.double().var(0).mean())


def distance(pixels: Tensor, test: Split) -> float:
    """Frechet distance on the study's features."""
    made, true = vectors(pixels), vectors(test.images[:DRAWS])
    return frechet_distance(made.mean(0), made.T.cov(), true.mean(0), true.T.cov())


def vectors(pixels: Tensor) -> Tensor:
    """The study's features of images."""
    features = Lite0(Lite0.Config(layer="b4"))
    return torch.cat([features(part) for part in pixels.split(250)]).double()


def memory(settings: str, name: str, pipe: Any) -> None:
    """Peak bytes of ten rounds of training beyond what the process had before; in a process of its own."""
    study = Study.model_validate_json(settings)
    data = build(study.data).load()
    method = next(one for one in study.methods if one.name == name)
    family = make_family(method.family, data.spec, 0)
    before = peak_bytes(torch.device("cpu"))
    budget = study.budget.model_copy(update={"images": 10 * study.budget.batch})
    trainer = Trainer(family, Generation(Generation.Config()), budget, seed=0)
    trainer.run(data.train)
    pipe.send(max(peak_bytes(torch.device("cpu")) - before, 0))


def measured(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The short trainings of each family, those that are not there yet made now; and what each takes of memory."""
    study = Study.model_validate_json((folder / "study.json").read_text())
    data = build(study.data).load()
    study = solved(study, data)
    methods = [method for method in study.methods if method.name in PAPER]
    context = multiprocessing.get_context("spawn")
    for i in range(TRAININGS):
        for method in methods:
            place = folder / "short" / f"{method.name}-{i}.json"
            if not place.is_file():
                write_atomic(place, json.dumps(short(method, study, data, FIRST + i)))
                print(place.stem, place.read_text(), flush=True)
    for method in methods:
        place = folder / "short" / f"{method.name}-bytes.json"
        if not place.is_file():
            mine, other = context.Pipe(duplex=False)
            process = context.Process(target=memory, args=(study.model_dump_json(), method.name, other))
            process.start()
            write_atomic(place, json.dumps(mine.recv()))
            process.join()
    found = {
        method.name: [json.loads((folder / "short" / f"{method.name}-{i}.json").read_text()) for i in range(TRAININGS)]
        for method in methods
    }
    for name, rows in found.items():
        rows.append({"bytes": json.loads((folder / "short" / f"{name}-bytes.json").read_text())})
    return found


def lost(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a training diverged, drew one image again and again, or is far worse than the family's others."""
    if row["fd"] is None:
        return True
    return bool(
        row["share"] < LEAST or row["fd"] > FAR * median(other["fd"] for other in rows if other["fd"] is not None)
    )


def stars(ahead: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Four, less one for each that is ahead."""
    return {name: 4 - len(others) for name, others in ahead.items()}


def steadier(rows: Mapping[str, Sequence[dict[str, Any]]]) -> dict[str, list[str]]:
    """For each family those that are ahead of it in stability."""
    names, p, found = list(combinations(rows, 2)), list[float](), list[tuple[str, str]]()
    for a, b in names:
        gone = [sum(lost(row, rows[name]) for row in rows[name]) for name in (a, b)]
        p.append(fisher_exact([[n, len(rows[name]) - n] for n, name in zip(gone, (a, b), strict=True)])[1])
        found.append((a, b) if gone[0] < gone[1] else (b, a))
        logs = [[math.log(row["fd"]) for row in rows[name] if row["fd"] is not None] for name in (a, b)]
        p.append(levene(*logs, center="median")[1] if min(map(len, logs)) > 2 else 1.0)
        found.append((a, b) if np.std(logs[0]) < np.std(logs[1]) else (b, a))
    real = [pair for pair, q in zip(found, holm(np.array(p)), strict=True) if q < 0.05]
    return {name: sorted({first for first, second in real if second == name}) for name in rows}


def main(folder: Path) -> None:
    """Measure what is missing; write the table and the picture."""
    found = measured(folder)
    short_rows = {name: rows[:-1] for name, rows in found.items()}
    answers = [r for r in results.read_lines(folder / "results.jsonl") if r.method in found]
    better: dict[str, list[str]] = {name: [] for name in found}
    for difference in compare(answers, "generation", FD):
        if difference.verdict in (BETTER, WORSE):
            first, second = difference.first, difference.second
            winner, loser = (first, second) if difference.verdict == BETTER else (second, first)
            better[loser].append(winner)
    costs = {}
    for name, rows in found.items():
        seconds, milliseconds = (
            median(row[key] for row in rows[:-1] if key in row) for key in ("seconds", "milliseconds")
        )
        costs[name] = (seconds, rows[-1]["bytes"] / 2**20, milliseconds)
    mean = {name: math.prod(three) ** (1 / 3) for name, three in costs.items()}
    cheaper = {name: [other for other in mean if mean[other] < 2 / 3 * mean[name]] for name in mean}
    given = [stars(ahead) for ahead in (better, cheaper, steadier(short_rows))]
    figures = by_method(answers, "generation", FD)
    table = []
    for name, rows in short_rows.items():
        whole = summarise(figures[name])
        gone = sum(lost(row, rows) for row in rows)
        low, high = wilson(gone / len(rows), len(rows))
        fds = [row["fd"] for row in rows if row["fd"] is not None]
        table.append(
            {
                "family": name,
                "fd": f"{whole.value:.1f}",
                "fd low": f"{whole.low:.1f}",
                "fd high": f"{whole.high:.1f}",
                "sd of 5 seeds": f"{whole.seed_spread:.1f}",
                "seconds of 20,000 images": f"{costs[name][0]:.1f}",
                "MiB of training": f"{costs[name][1]:.0f}",
                "ms a sample": f"{costs[name][2]:.2f}",
                "lost of 16": gone,
                "lost low": f"{low:.3f}",
                "lost high": f"{high:.3f}",
                "share of the variance": f"{np.mean([row['share'] for row in rows if row['fd'] is not None]):.2f}",
                "fd at 20,000 images": f"{np.mean(fds):.1f}",
                "sd of 16": f"{np.std(fds, ddof=1):.1f}",
                **{column: given[i][name] for i, column in enumerate(COLUMNS)},
                **{f"paper's {column}": PAPER[name][i] for i, column in enumerate(COLUMNS)},
            }
        )
    with (DOCS / "results" / "why-diffusion-stars.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    for row in table:
        print(row)
    draw(table)
    study = Study.model_validate_json((folder / "study.json").read_text())
    sheet(folder, study, DOCS / "images" / "why-diffusion.png")


def draw(table: Sequence[dict[str, Any]]) -> None:
    """Our stars full, the paper's below them hollow."""
    figure, axes = plt.subplots(figsize=(8, 2.8), layout="constrained")
    for y, row in enumerate(table):
        for x, column in enumerate(COLUMNS):
            for hollow, count in enumerate((row[column], row[f"paper's {column}"])):
                axes.scatter(
                    [5 * x + i for i in range(count)],
                    [y + 0.36 * hollow] * count,
                    marker="*",
                    s=150 if not hollow else 60,
                    color="#2f6690" if not hollow else "none",
                    edgecolor="#2f6690" if not hollow else "#8d8d8d",
                )
    axes.set_yticks(range(len(table)), [row["family"] for row in table])
    axes.set_xticks([5 * x + 1.5 for x in range(3)], [f"{c}: measured, below the paper's" for c in COLUMNS], fontsize=8)
    axes.xaxis.tick_top()
    axes.set_ylim(len(table) - 0.3, -0.4)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.savefig(DOCS / "images" / "why-diffusion-stars.svg")


def sheet(folder: Path, study: Study, out: Path) -> None:
    """The first draws of each method, a row each, and true images above, from the pictures of the report."""
    rows = []
    for name in ["true", *(f"{method.slug}--generation--{study.seeds[0]}" for method in study.methods)]:
        column = read_picture(folder / "pictures" / f"{name}.png")
        side = column.shape[2]
        rows.append(torch.stack([column[:, top : top + side] for top in range(0, column.shape[1], side + 2)]))
    write_picture(grid(torch.cat(rows), columns=len(rows[0])), out)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
