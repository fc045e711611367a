"""Time two or more pieces of work in turn, A B A B ..., so that a machine whose speed drifts is fair to each."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

from torch import Tensor

from sfumato.data.base import Split
from sfumato.families.base import Family
from sfumato.tasks.generation import Generation
from sfumato.training.budget import Budget
from sfumato.training.trainer import Trainer


def alternate(sides: Mapping[str, Callable[[], None]], rounds: int, warmup: int = 1) -> dict[str, float]:
    """Median seconds of each side over `rounds` turns, after `warmup` turns that do not count."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(warmup + rounds):
        for name, work in sides.items():
            start = time.perf_counter()
            work()
            if turn >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def training(family: Family, images: Tensor, budget: Budget) -> tuple[Callable[[], None], Trainer]:
    """Our trainer once more each time, its operations counted in a first run, which is the second answer."""
    task = Generation(Generation.Config())
    first = Trainer(family, task, budget, seed=0)
    first.run(Split(images))

    def work() -> None:
        trainer = Trainer(family, task, budget, seed=0)
        trainer.state.progress.flops = dict(first.state.progress.flops)  # counted once a training
        trainer.run(Split(images))

    return work, first
