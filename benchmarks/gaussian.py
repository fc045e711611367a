"""The family `gaussian` on images of your own: seconds and memory of its fit, of drawing and of restoring, and its figures.

    python -m benchmarks.gaussian set.npz [training images] [test images]

Beside it biharmonic, on the same masks. Memory is the largest of the process so far.
"""

from __future__ import annotations

import sys
import time

import torch

from sfumato.data.npz import Npz
from sfumato.families.gaussian import Gaussian
from sfumato.kinds import build
from sfumato.metrics.l1 import L1
from sfumato.metrics.psnr import PSNR
from sfumato.restorers.biharmonic import Biharmonic
from sfumato.restorers.gaussian_posterior import GaussianPosterior
from sfumato.streams import stream
from sfumato.studies.measure import measure
from sfumato.tasks.deblurring import Deblurring
from sfumato.tasks.inpainting import Inpainting
from sfumato.training.budget import Budget
from sfumato.training.ledger import peak_bytes
from sfumato.training.run import make_family, run_spec
from sfumato.training.trainer import Trainer


def main() -> None:
    """Print times, memory and figures."""
    path, train, test = sys.argv[1], *(int(n) for n in [*sys.argv[2:], 9000, 200][:2])
    data = build(Npz.Config(path=path, train=min(train, 10**9), test=test)).load()
    task = Inpainting(Inpainting.Config(mask="box"))
    family = make_family(Gaussian.Config(), run_spec(data, []), 0)
    trainer = Trainer(family, task, Budget(average="none"), seed=0)

    def tell(what: str, start: float) -> None:
        print(
            f"{what}: {time.perf_counter() - start:.1f} s, {peak_bytes(torch.device('cpu')) / 2**30:.2f} GiB",
            flush=True,
        )

    start = time.perf_counter()
    trainer.run(data.train)
    tell(f"fit of {len(data.train):,} images, {data.spec.dimensions:,} dimensions", start)
    start = time.perf_counter()
    family.sample(16, rng=stream(0, "sample"))
    tell("16 draws", start)
    restorers = {
        "mean": GaussianPosterior(GaussianPosterior.Config(answer="mean"), family),
        "draw": GaussianPosterior(GaussianPosterior.Config(), family),
        "biharmonic": Biharmonic(Biharmonic.Config()),
    }
    for name, restorer in restorers.items():
        start = time.perf_counter()
        made = measure(
            restorer, task, data, [L1(L1.Config()), PSNR(PSNR.Config())], seed=0, batch=100, device=torch.device("cpu")
        )
        tell(f"{name}: " + ", ".join(f"{score.label} {score.value:.1f}" for score in made.scores), start)
    start = time.perf_counter()
    motion = Deblurring(Deblurring.Config(blur="motion"))
    measure(restorers["mean"], motion, data, [L1(L1.Config())], seed=0, batch=100, device=torch.device("cpu"))
    tell(f"mean of {test} images, a motion blur each", start)


if __name__ == "__main__":
    main()
