"""Paper 003's three families by 10,000 samples, where a walk is short; the study has 2,000 of all.

    sfumato study studies/tale.toml --out runs/tale
    python -m benchmarks.tale runs/tale

Frechet distance and MIND on the study's features against all 10,000 test images, each the mean of the study's trainings with
their standard deviation; writes docs/results/tale-10000.csv, and docs/images/tale.png from the pictures of the report.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from statistics import mean, stdev

from benchmarks.why_diffusion import sheet, vectors
from sfumato.data.base import Dataset
from sfumato.kinds import build
from sfumato.maths.gaussians import frechet_distance
from sfumato.metrics.mind import mind
from sfumato.studies.cells import cells, run_folder
from sfumato.studies.resolved import resolve
from sfumato.studies.study import Study
from sfumato.training.run import load
from sfumato.training.sampling import sample_pixels

DRAWS, LONGEST = 10_000, 100
DOCS = Path(__file__).parents[1] / "docs"


def main(folder: Path) -> None:
    """A row for each method."""
    study = resolve(Study.model_validate_json((folder / "study.json").read_text()))
    sheet(folder, study.study, DOCS / "images" / "tale.png")
    whole: Dataset = build(study.study.data.model_copy(update={"test": DRAWS})).load()
    true = vectors(whole.test.images)
    found: dict[str, list[tuple[float, float]]] = {}
    for cell in cells(study.study):
        if cell.training is None:
            continue
        run = load(run_folder(cell.training, folder))
        if run.family.calls() > LONGEST:
            continue
        made = vectors(sample_pixels(run, DRAWS, seed=cell.seed))
        distance = frechet_distance(made.mean(0), made.T.cov(), true.mean(0), true.T.cov())
        name = study.study.methods[cell.method].name
        found.setdefault(name, []).append((distance, mind(made, true)))
        print(name, cell.seed, found[name][-1], flush=True)
    with (DOCS / "results" / "tale-10000.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["method", "trainings", "FD-lite0-b4", "sd", "MIND-lite0-b4", "sd"])
        for name, rows in found.items():
            columns = [[row[i] for row in rows] for i in (0, 1)]
            figures = [f"{f(c):.2f}" for c in columns for f in (mean, lambda c: stdev(c) if len(c) > 1 else 0.0)]
            writer.writerow([name, len(rows), *figures])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
