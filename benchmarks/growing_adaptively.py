"""Adaptive growing, the future work of paper 002: grow once the error at this size no longer falls.

    python -m benchmarks.growing_adaptively scenes64.npz cifar10.npz

For each data set: when it grew; the error in holes at full size against the fixed schedule of equal shares that has spent as
many operations; and the error at half size before the last growth and at the end, with smaller blocks frozen and not.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.nn.functional as F

from sfumato.data.base import Dataset
from sfumato.data.digits import Digits
from sfumato.data.npz import Npz
from sfumato.families.base import weighted_mean
from sfumato.families.growing_gan import GrowingGAN
from sfumato.images import to_float
from sfumato.streams import stream
from sfumato.tasks.inpainting import Inpainting
from sfumato.training.budget import Budget
from sfumato.training.ledger import Ledger
from sfumato.training.run import make_family, run_spec
from sfumato.training.trainer import Trainer

IMAGES, BATCH, PATIENCE = 160_000, 64, 5
TASK = Inpainting(Inpainting.Config())


class Enough(Exception):
    """As many operations as were allowed."""


def error(family: GrowingGAN, data: Dataset, level: int) -> float:
    """The mean absolute error in holes of validation images at a level's size, in levels of 255."""
    behind = 2 ** (family.levels - 1 - level)
    x = (
        F.avg_pool2d(to_float(data.validation.images[:512]), behind)
        if behind > 1
        else to_float(data.validation.images[:512])
    )
    stood = int(family.generator.level), float(family.generator.fade)
    observation = TASK.observe(x, [stream(0, "adaptive", i) for i in range(len(x))])
    family.generator.stand(level, 1.0)
    made = family.sample(len(x), observation=observation, size=(x.shape[2], x.shape[3]), rng=stream(0, "adaptive"))
    family.generator.stand(*stood)
    return 127.5 * float(weighted_mean((made - x).abs(), 1 - observation.known))


def trained(data: Dataset, settings: dict[str, Any], most: float) -> tuple[GrowingGAN, Ledger, float]:
    """A family, what it cost, and its error at half size when the last growth was near."""
    family = make_family(GrowingGAN.Config.model_validate(settings), run_spec(data, [TASK]), 0)
    assert isinstance(family, GrowingGAN)
    before = 0.0

    def watch(ledger: Ledger, means: Mapping[str, float]) -> None:
        nonlocal before
        if means and int(family.generator.level) == family.levels - 2:
            before = error(family, data, family.levels - 2)
        if ledger.flops > most:
            raise Enough

    trainer = Trainer(family, TASK, Budget(images=IMAGES, batch=BATCH), seed=0, watch=watch)
    try:
        trainer.run(data.train)
    except Enough:
        trainer.state.deploy()  # its averaged weights
    return family, trainer.ledger, before


def main(paths: list[str]) -> None:
    """Print the table."""
    sets = {"digits": Digits(Digits.Config()).load()}
    for path in paths:
        data = Npz(Npz.Config(path=Path(path))).load()
        sets[Path(path).stem] = Npz(Npz.Config(path=Path(path), shrink=data.spec.size[0] // 16)).load()
    print("| data, schedule | grows at | images | operations | error | at half size, before | after |")
    print("|---|---|---|---|---|---|---|")
    for name, data in sets.items():
        most = float("inf")
        for schedule, settings in (
            ("adaptive, frozen", {"patience": PATIENCE}),
            ("fixed, frozen", {}),
            ("adaptive, not frozen", {"patience": PATIENCE, "freeze": []}),
        ):
            family, ledger, before = trained(data, settings, most)
            most = ledger.flops if schedule == "adaptive, frozen" else most
            last = family.levels - 1
            times = ", ".join(f"{images:,}" for images in [*ledger.stages.values()][1:])
            print(
                f"| {name}, {schedule} | {times} | {ledger.images:,} | {ledger.flops:.3g} | {error(family, data, last):.1f} "
                f"| {before:.1f} | {error(family, data, last - 1):.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
