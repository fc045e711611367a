"""Plan: a dry run. A few rounds are trained and thrown away, to say what the whole will take."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from statistics import median

from sfumato.data.base import Dataset
from sfumato.errors import DivergedError
from sfumato.families.base import Stage, parameter_count
from sfumato.kinds import build
from sfumato.streams import stream
from sfumato.training import processes
from sfumato.training.batches import Batches
from sfumato.training.ledger import Ledger, peak_bytes
from sfumato.training.run import RunConfig, prepare
from sfumato.training.trainer import Trainer
from sfumato.training.turn import Turn

ROUNDS = 5  # of each stage; the first ones warm up
PATIENCE = 10.0  # seconds a stage may take
SAMPLE = 1024  # images that a family without players is fitted to


@dataclass(frozen=True)
class Plan:
    """What a training would take."""

    family: str
    parameters: int
    """Deployed: what sampling needs."""
    parameters_training: int
    """With critics and whatever else stays at home."""
    images: int
    """The budget."""
    seconds: float
    """Expected wall-clock time on this machine, as busy as it is now."""
    flops: float
    """Expected floating-point operations."""
    peak_bytes: int
    """Memory seen so far: of the device's allocator on a GPU, of the process on a CPU."""
    device: str
    precision: str

    def __str__(self) -> str:
        length = f"{self.seconds:.0f} s" if self.seconds < 120 else f"{self.seconds / 60:.0f} min"
        length = length if self.seconds < 7200 else f"{self.seconds / 3600:.1f} h"
        return (
            f"{self.family}: {self.parameters:,} parameters to sample, {self.parameters_training:,} in training; "
            f"about {length} for {self.images:,} images ({self.images / max(self.seconds, 1e-9):,.0f} a second in "
            f"{self.precision} on {self.device}), {self.peak_bytes / 2**30:.2f} GiB of memory, {self.flops:.2g} operations"
        )


def promise(config: RunConfig, data: Dataset) -> str:
    """What a training will use, and what its model will be able to do, in a sentence or two."""
    rows, columns = data.size
    tasks = [build(task) for task in config.tasks]
    able = []
    for task in tasks:
        operator = task.operator(stream(0, "mask"), 1, data.size)
        if not task.conditional:
            able.append("draw new images (sfumato sample)")
        elif operator.hides:
            able.append(f"fill holes ({task.name}; sfumato restore --mask)")
        elif operator.shrinks:
            able.append(f"enlarge ({task.name}; sfumato restore --scale)")
        else:
            able.append(f"undo {task.name} (sfumato restore)")
    passes = config.budget.images / len(data.train)
    return (
        f"{len(data.train):,} training images of {rows} x {columns} x {data.spec.channels} from {data.name} "
        f"({len(data.validation):,} validate, {len(data.test):,} test); {config.budget.images:,} images are {passes:.3g} "
        f"passes. The model will {', '.join(able)}."
    )


class Rehearsal(Trainer):
    """A training that notes how long its rounds take, and ends a stage early when it knows enough."""

    def __init__(self, *arguments: object, **named: object):
        super().__init__(*arguments, **named)  # type: ignore[arg-type]
        self.taken: dict[str, list[float]] = {}
        self.charged: dict[str, int] = {}
        self.flops: dict[str, float] = {}

    def _round(self, stage: Stage, turns: Mapping[str, Turn], batches: Batches, within: float) -> None:
        before, skipped, start = self.ledger.images, self.state.skipped, time.monotonic()
        super()._round(stage, turns, batches, within)
        own = self.taken.setdefault(stage.name, [])
        own.append(time.monotonic() - start - (self.state.skipped - skipped))
        self.charged[stage.name] = self.ledger.images - before
        self.flops[stage.name] = sum(
            turn.player.turns * self.state.progress.flops[f"{stage.name}.{name}.{i}"] / objective.every
            for name, turn in turns.items()
            for i, objective in enumerate(turn.player.objectives)
        )
        if len(own) >= ROUNDS or sum(own) > PATIENCE:
            self.state.progress.ended = True


def plan(config: RunConfig, *, device: str = "auto", data: Dataset | None = None) -> Plan:
    """What a training would take, from a few rounds of each stage; nothing is written.

    Raises: whatever the training itself would at its start.
    """
    ready = prepare(config, data)
    data, family = ready.data, ready.family
    some = data.train.first(min(SAMPLE, len(data.train)))
    trainer = Rehearsal(family, ready.tasks, config.budget, seed=config.seed, device=processes.join(device))
    stages = {stage.name: stage for stage in family.stages()}
    players = any(family.players(stage) for stage in stages.values())
    with suppress(DivergedError):  # a rehearsal is no verdict
        trainer.run(data.train if players else some)
    ledger: Ledger = trainer.ledger
    seconds, flops, images = 0.0, 0.0, 0
    for name, taken in trainer.taken.items():
        rounds = stages[name].turns or stages[name].share * config.budget.images / max(trainer.charged[name], 1)
        seconds += math.ceil(rounds) * median(taken[1:] or taken)
        flops += rounds * trainer.flops[name]
        images += math.ceil(rounds) * trainer.charged[name] if stages[name].turns else 0
    images = images or config.budget.images
    if not trainer.taken:  # fitted in one pass
        share = len(data.train) / len(some)
        seconds, flops = ledger.seconds * share, ledger.flops * share
    return Plan(
        family=str(config.family.kind),
        parameters=parameter_count(family.deployed()),
        parameters_training=parameter_count([family]),
        images=images if trainer.taken else len(data.train),
        seconds=seconds,
        flops=flops,
        peak_bytes=max(ledger.peak_bytes, peak_bytes(trainer.device)),
        device=ledger.device,
        precision=ledger.precision,
    )
