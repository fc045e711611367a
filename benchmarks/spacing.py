"""Where the steps of a short walk should lie, chosen on validation images: the trained DDPMs of a study, walked three ways.

sfumato study studies/quickstart.toml --out runs/quickstart
python -m benchmarks.spacing runs/quickstart
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from sfumato.kinds import build, discover, parse
from sfumato.metrics.base import Metric
from sfumato.restorers.conditional import Conditional
from sfumato.samplers import Sampler, Spacing
from sfumato.studies.measure import measure
from sfumato.training.run import load

METRICS = ("l1", {"kind": "frechet", "features": {"kind": "lite0", "layer": "b4"}})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path)
    parser.add_argument("--steps", type=int, nargs="+", default=[10, 25])
    options = parser.parse_args()
    for folder in sorted((options.study / "runs").glob("ddpm--*")):
        run = load(folder)
        data = build(run.config.data).load()
        data = replace(data, test=data.validation)  # test images are looked at once, at the end
        for steps in options.steps:
            for spacing in discover(Spacing):
                run.family.sampler = build(parse(Sampler, {"kind": "ddim", "steps": steps, "spacing": spacing}))
                for task in run.tasks:
                    metrics = [build(parse(Metric, metric)) for metric in METRICS]
                    restorer = Conditional(Conditional.Config(), run.family)
                    device = torch.device("cpu")
                    found = measure(restorer, task, data, metrics, seed=0, batch=256, device=device)
                    figures = "  ".join(f"{score.label} {score.value:.2f}" for score in found.scores)
                    print(f"{folder.name}  {steps:3} steps  {spacing:10} {task.name:20} {figures}", flush=True)


if __name__ == "__main__":
    main()
