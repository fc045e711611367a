"""Quality on CIFAR-10 at 100,000 training images: our defaults, paper 000's forms, and what needs no training, in one run.

    python -m benchmarks.restoration --data cifar10.npz --out runs/bench-restoration

Inpainting under the paper's mask law (one box, sides H/8 to H/2), hole only. The defaults have 0.43 M parameters, the published
WGAN its own 4.2 M; the published U-Net is cut to 0.47 M, since its 7.3 M at 500 sampling steps take hours on a CPU.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sfumato import display
from sfumato.kinds import build
from sfumato.reports.report import build_report
from sfumato.studies import results, runner
from sfumato.studies.study import Study, read_study

FILES = Path(__file__).parent.parent / "studies"


def question(data: Path | None, images: int, test: int) -> Study:
    """The methods of both study files on inpainting alone, at the same budget."""
    ours = read_study(FILES / "restoration.toml")
    theirs = read_study(FILES / "restoration-as-published.toml")
    widths = {"WGAN": 13, "DDPM": 13, "WGAN (published)": 64, "DDPM (published)": 16}
    names = {"DDPM (published)": "DDPM (published, width 16)"}
    methods = [*ours.methods[:2], *theirs.methods[:2], *ours.methods[2:]]
    methods = [
        method.model_copy(
            update={
                "name": names.get(method.name, method.name),
                "family": method.family.model_copy(update={"width": widths[method.name]}),
            }
        )
        if method.family is not None
        else method
        for method in methods
    ]
    where = {"kind": "npz", "path": str(data)} if data else {"kind": "cifar10", "train": 10_000}
    values = ours.model_dump() | {
        "title": f"Restoration at {images:,} images",
        "data": where | {"test": test},
        "tasks": [ours.tasks[0]],
        "seeds": [0],
        "budget": {"images": images, "batch": 64, "flip": True},
        "parity": {},
        "methods": methods,
    }
    return Study.model_validate(values)


def main() -> None:
    """Train, measure, print the table and L1 and PSNR as ratios to mean fill and to Telea."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, help="an .npz with images and test_images; CIFAR-10 is fetched if left out"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/bench-restoration"))
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--test", type=int, default=256)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    study = question(options.data, options.images, options.test)
    with display.study_bars(study.budget.images, lambda: runner.training_progress(study, options.out)):
        runner.run(study, options.out, jobs=options.jobs, data=build(study.data).load())
    found = results.gather(options.out)
    display.show(found)
    value = {result.method: {k: score.value for k, score in result.scores.items()} for result in found}
    for method in value:
        ratios = ", ".join(
            f"{label} {value[method][label] / value[peer][label]:.2f} of {peer}'s"
            for peer in ("Mean fill", "Telea")
            for label in ("L1", "PSNR")
        )
        print(f"{method:18} {ratios}")
    print(build_report(options.out))


if __name__ == "__main__":
    main()
