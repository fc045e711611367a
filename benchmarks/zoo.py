"""The models that come with the package: their photographs, their choice on validation images, and how they are packed.

    python -m benchmarks.zoo photographs OPEN_PHOTOS     scikit-image's and the open ones, in parts, into ./photographs
    python -m benchmarks.zoo rate runs/zoo               every training of a study on validation crops; who qualifies
    python -m benchmarks.zoo pack RUN NAME               a finished run, in half precision, into sfumato/zoo/NAME

OPEN_PHOTOS is a folder of photographs with a table LICENCES.tsv (file, licence, author, origin); those under the GPL are left
out. The astronaut and the cameraman are in no part: they are what removal is shown on.
"""

from __future__ import annotations

import csv
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

import sfumato
from sfumato.data.base import Dataset
from sfumato.families.gaussian import Gaussian
from sfumato.families.regression import Regression
from sfumato.kinds import build, parse
from sfumato.metrics.base import Metric
from sfumato.restorers.base import Restorer
from sfumato.restorers.conditional import Conditional
from sfumato.restorers.gaussian_posterior import GaussianPosterior
from sfumato.studies.measure import measure
from sfumato.tasks.generation import Generation
from sfumato.training import run as runs
from sfumato.training.budget import Budget
from sfumato.training.run import make_family, run_spec
from sfumato.training.trainer import Trainer

HERE = Path(__file__).parents[1]
OWN = {  # scikit-image's, with what its documentation says of them
    "brick.png": ("CC0-1.0", "Rob Tuytel", "train"),
    "grass.png": ("CC0-1.0", "Rob Tuytel", "train"),
    "gravel.png": ("CC0-1.0", "Rob Tuytel", "train"),
    "coffee.png": ("CC0-1.0", "Rachel Michetti", "train"),
    "motorcycle_left.png": ("CC0-1.0", "Daniel Scharstein and others", "train"),
    "rocket.jpg": ("CC0-1.0", "SpaceX", "train"),
    "chelsea.png": ("CC0-1.0", "Stéfan van der Walt", "test"),
}
HELD = {
    "validation": {"aitzgorri.jpg", "kleiber.jpg", "life.jpg", "wine.jpg"},
    "test": {"picosdeeuropa.jpg", "friends.jpg", "seeding.jpg"},
}
FEATURES = {"kind": "lite0", "layer": "b4"}
FEW = 100  # images that the Gaussian answers
WITHIN = 1.1  # of the best error among Gaussian and regressions
KEPT = ("config.json", "spec.json", "ledger.json", "card.md", "model.safetensors")


def photographs(open_photos: str) -> None:
    """Lay the photographs out, with one table of their licences."""
    out, source = Path("photographs"), Path(open_photos)
    spec = find_spec("skimage")
    assert spec is not None and spec.origin is not None
    rows = [["file", "licence", "author", "from"]]
    with (source / "LICENCES.tsv").open(newline="") as file:
        given = list(csv.reader(file, delimiter="\t"))[1:]
    work = [(source / name, row, next((part for part in HELD if name in HELD[part]), "train")) for name, *row in given]
    work += [
        (Path(spec.origin).parent / "data" / name, [licence, author, "scikit-image"], part)
        for name, (licence, author, part) in OWN.items()
    ]
    for path, row, part in work:
        if not row[0].startswith("GPL"):
            (out / part).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, out / part / path.name)
            rows.append([path.name, *row])
    (out / "LICENCES.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    print(f"{len(rows) - 1} photographs in {out}")


def figures(restorer: Restorer, tasks: list[Any], data: Dataset, metrics: Sequence[Any]) -> list[float]:
    """Means over tasks of each metric."""
    made = [build(parse(Metric, one)) for one in metrics]
    found = [measure(restorer, task, data, made, seed=0, batch=50, device=torch.device("cpu")).scores for task in tasks]
    return [sum(scores[k].value for scores in found) / len(found) for k in range(len(metrics))]


def rate(folder: str) -> None:
    """Print the error and the distance of each training on validation images, and which one the rule chooses.

    The exact posterior of a Gaussian takes seconds an image at 64 x 64, so its error is of the first FEW images alone, beside
    that of the regressions on the same ones.
    """
    found: dict[str, list[float]] = {}
    few: dict[str, float] = {}
    paths = sorted(path.parent for path in Path(folder).glob("runs/*/ledger.json"))
    first = runs.load(paths[0])
    whole = build(first.config.data).load()
    data, tasks = replace(whole, test=whole.validation), first.tasks
    some = replace(data, test=data.test.first(FEW))
    for path in paths:
        run = runs.load(path)
        restorer = Conditional(Conditional.Config(), run.family)
        found[path.name] = figures(restorer, tasks, data, ["l1", {"kind": "mind", "features": FEATURES}])
        print(path.name, [round(value, 2) for value in found[path.name]], flush=True)
        if isinstance(run.family, Regression):
            few[path.name] = figures(restorer, tasks, some, ["l1"])[0]
    family = make_family(Gaussian.Config(), run_spec(whole, [Generation(Generation.Config())]), 0)
    Trainer(family, Generation(Generation.Config()), Budget(images=len(whole.train)), seed=0).run(whole.train)
    mean = GaussianPosterior(GaussianPosterior.Config(answer="mean"), family)
    few["gaussian"] = figures(mean, tasks, some, ["l1"])[0]
    print(f"on {FEW} images: " + ", ".join(f"{name} {error:.2f}" for name, error in few.items()))
    best = min(few, key=lambda name: few[name])
    # On all images the Gaussian's error is what the best regression's is, times their ratio on a few.
    near = min((name for name in few if name in found), key=lambda name: few[name])
    limit = WITHIN * found[near][0] * few[best] / few[near]
    fit = {name: mind for name, (error, mind) in found.items() if error <= limit}
    for name, (error, mind) in sorted(found.items(), key=lambda item: item[1][1]):
        print(f"| {name} | {error:.2f} | {mind:.2f} | {'yes' if name in fit else ''} |")
    print(f"an error up to {limit:.2f} qualifies; chosen: {min(fit, key=lambda name: fit[name])}")


def pack(folder: str, name: str) -> None:
    """Copy what a model needs, in half precision."""
    model = sfumato.load_run(folder)
    out = HERE / "sfumato" / "zoo" / name
    shutil.rmtree(out, ignore_errors=True)
    model.save(out, half=True)
    for path in out.iterdir():
        if path.name not in KEPT:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    print(f"{sum(path.stat().st_size for path in out.iterdir()):,} bytes in {out.relative_to(HERE)}")


if __name__ == "__main__":
    {"photographs": photographs, "rate": rate, "pack": pack}[sys.argv[1]](*sys.argv[2:])
