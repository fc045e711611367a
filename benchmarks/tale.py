"""Paper 003's three families by 10,000 samples, where a walk is short; the study has 2,000 of all.

    sfumato study studies/tale.toml --out runs/tale
    python -m benchmarks.tale runs/tale

Frechet distance and MIND on the features of the study against all 10,000 test images: a row for each training, written as it is
found (so that a run goes on), to docs/results/tale-10000.csv; means and standard deviations are printed. Draws
docs/images/tale.png from the pictures of the report too.
"""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.why_diffusion import sheet, vectors
from sfumato.data.base import Dataset
from sfumato.files import write_atomic
from sfumato.kinds import build
from sfumato.maths.gaussians import frechet_distance
from sfumato.metrics.mind import mind
from sfumato.studies.cells import cells, run_folder
from sfumato.studies.resolved import resolve
from sfumato.studies.study import Study
from sfumato.training.run import load
from sfumato.training.sampling import sample_pixels

DRAWS, LONGEST = 10_000, 100
HEADER = ["method", "seed", "FD-lite0-b4", "MIND-lite0-b4"]
DOCS = Path(__file__).parents[1] / "docs"


def main(folder: Path) -> None:
    """A row for each training; those of an earlier run stay."""
    study = resolve(Study.model_validate_json((folder / "study.json").read_text()))
    sheet(folder, study.study, DOCS / "images" / "tale.png")
    whole: Dataset = build(study.study.data.model_copy(update={"test": DRAWS})).load()
    true = vectors(whole.test.images)
    path = DOCS / "results" / "tale-10000.csv"
    rows = list(csv.DictReader(path.open(newline=""))) if path.exists() else []
    done = {(row["method"], int(row["seed"])) for row in rows}
    for cell in cells(study.study):
        name = study.study.methods[cell.method].name
        if cell.training is None or (name, cell.seed) in done:
            continue
        run = load(run_folder(cell.training, folder))
        if run.family.calls() > LONGEST:
            continue
        made = vectors(sample_pixels(run, DRAWS, seed=cell.seed))
        distance = frechet_distance(made.mean(0), made.T.cov(), true.mean(0), true.T.cov())
        rows.append(dict(zip(HEADER, [name, cell.seed, round(distance, 2), round(mind(made, true), 2)], strict=True)))
        print(rows[-1], flush=True)
        write_atomic(path, table(rows))
    for name in dict.fromkeys(row["method"] for row in rows):
        figures = [[float(row[column]) for row in rows if row["method"] == name] for column in HEADER[2:]]
        print(name, *(f"{mean(f):.1f} ± {stdev(f) if len(f) > 1 else 0:.1f}" for f in figures))


def table(rows: list[dict[str, Any]]) -> str:
    """All rows so far."""
    out = io.StringIO()
    writer = csv.DictWriter(out, HEADER, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
