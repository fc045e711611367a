"""How well an unseen class is told from the others: digits with one class held out, each in turn (paper 001 names AnoGAN).

    python -m benchmarks.anomaly [ROW ...]

AUROC of test images of the class against those of the nine others, by likelihood, reconstruction and latent search, beside
the likelihood of one Gaussian of all pixels and a flow on features. `sfumato anomaly RUN images --odd others` does this
for one's own pictures.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sfumato.anomaly import WAYS, auroc
from sfumato.data.base import Split
from sfumato.data.digits import Digits
from sfumato.families.base import Family
from sfumato.kinds import find
from sfumato.tasks.generation import Generation
from sfumato.training.budget import Budget
from sfumato.training.run import make_family
from sfumato.training.trainer import Trainer

IMAGES = 60_000
ROWS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "VAE": ({"kind": "vae", "width": 16, "latent": 16}, ("likelihood", "reconstruction", "search")),
    "GAN": ({"kind": "gan", "width": 16}, ("search",)),
    "DifferNet": ({"kind": "differnet", "images": 12_000}, ("rating",)),
    "Gaussian of all pixels": ({"kind": "gaussian"}, ("likelihood",)),
}


def rates(family: Family, pixels: Tensor, way: str) -> Tensor:
    """Scores of images."""
    family.eval()
    parts = [WAYS[way][1](family, part, 64 * i) for i, part in enumerate(pixels.split(64))]
    return torch.cat([part.detach().cpu() for part in parts])


def main() -> None:
    """Print a row for each model and way."""
    data = Digits(Digits.Config()).load()
    found: dict[str, list[float]] = {}
    rows = {name: row for name, row in ROWS.items() if name in (sys.argv[1:] or ROWS)}
    for held in range(10):
        labels, test = data.train.labels, data.test.labels
        assert labels is not None and test is not None
        usual = Split(data.train.images[labels != held])
        for name, (settings, ways) in rows.items():
            config = find(Family, settings["kind"]).Config.model_validate(
                {k: v for k, v in settings.items() if k != "images"}
            )
            family = make_family(config, data.spec, 0)
            budget = Budget(images=settings.get("images", IMAGES), batch=64)
            Trainer(family, Generation(Generation.Config()), budget, seed=0).run(usual)
            for way in ways:
                own, odd = (
                    rates(family, data.test.images[test != held][:200], way),
                    rates(family, data.test.images[test == held], way),
                )
                found.setdefault(f"{name}, {way}", []).append(auroc(own, odd))
        print(f"without {held}: " + ", ".join(f"{name} {values[-1]:.3f}" for name, values in found.items()), flush=True)
    print("\n| AUROC, one class of digits held out | mean of ten | lowest | highest |\n|---|---|---|---|")
    for name, values in found.items():
        print(f"| {name} | {np.mean(values):.3f} | {min(values):.3f} | {max(values):.3f} |")


if __name__ == "__main__":
    main()
