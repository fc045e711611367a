"""By which sampler, and where the steps of a short walk should lie, chosen on validation images: trained DDPMs of a study.

sfumato study studies/quickstart.toml --out runs/quickstart
python -m benchmarks.spacing runs/quickstart --samplers ddim unipc
python -m benchmarks.spacing runs/why-diffusion --samplers ddim unipc dpm_solver_pp
"""

import argparse
from dataclasses import replace
from itertools import product
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
    parser.add_argument("--samplers", nargs="+", default=["ddim"])
    options = parser.parse_args()
    for folder in sorted((options.study / "runs").glob("ddpm--*")):
        run = load(folder)
        data = build(run.config.data).load()
        data = replace(data, test=data.validation)  # test images are looked at once, at the end
        for name, steps, spacing in product(options.samplers, options.steps, discover(Spacing)):
            run.family.sampler = build(parse(Sampler, {"kind": name, "steps": steps, "spacing": spacing}))
            for task in run.tasks:
                metrics = [build(parse(Metric, metric)) for metric in METRICS]
                restorer = Conditional(Conditional.Config(), run.family)
                found = measure(restorer, task, data, metrics, seed=0, batch=256, device=torch.device("cpu"))
                figures = "  ".join(f"{score.label} {score.value:.2f}" for score in found.scores)
                print(f"{folder.name}  {name:13} {steps:3} steps  {spacing:10} {task.name:20} {figures}", flush=True)


if __name__ == "__main__":
    main()
