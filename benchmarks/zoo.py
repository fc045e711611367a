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
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import torch

import sfumato
from sfumato.data.base import Dataset
from sfumato.families.gaussian import Gaussian
from sfumato.kinds import build, parse
from sfumato.metrics.base import Metric
from sfumato.restorers.conditional import Conditional
from sfumato.restorers.gaussian_posterior import GaussianPosterior
from sfumato.studies.measure import measure
from sfumato.training import run as runs

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


def figures(restorer: object, tasks: list[object], data: Dataset) -> tuple[float, float]:
    """Mean over tasks of hole L1 and MIND."""
    metrics = [build(parse(Metric, one)) for one in ("l1", {"kind": "mind", "features": FEATURES})]
    found = [
        measure(restorer, task, data, metrics, seed=0, batch=64, device=torch.device("cpu")).scores for task in tasks
    ]
    return tuple(sum(scores[k].value for scores in found) / len(found) for k in (0, 1))  # type: ignore[return-value]


def rate(folder: str) -> None:
    """Print the error and the distance of each training on validation images, and which one the rule chooses."""
    found: dict[str, tuple[float, float, bool]] = {}
    data, tasks = None, []
    for path in sorted(Path(folder).glob("runs/*/ledger.json")):
        run = runs.load(path.parent)
        if data is None:
            whole = build(run.config.data).load()
            data, tasks = replace(whole, test=whole.validation), run.tasks
        if isinstance(run.family, Gaussian):
            config = GaussianPosterior.Config(answer="mean")
            found["gaussian"] = (*figures(GaussianPosterior(config, run.family), tasks, data), True)
        else:
            kind = run.config.family.kind
            name = f"{kind} {path.parent.name[-8:]}"
            found[name] = (*figures(Conditional(Conditional.Config(), run.family), tasks, data), kind == "regression")
        print(path.parent.name, [round(value, 2) for value in list(found.values())[-1][:2]], flush=True)
    limit = WITHIN * min(error for error, _, counts in found.values() if counts)
    fit = {name: mind for name, (error, mind, _) in found.items() if error <= limit}
    for name, (error, mind, _) in sorted(found.items(), key=lambda item: item[1][1]):
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
