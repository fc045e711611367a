"""State: where a training stands, and everything that it needs to go on from there: saved, found again, looked at."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sfumato.config import Strict
from sfumato.errors import WeightsError
from sfumato.families.base import Family, Stage, parameter_count
from sfumato.kinds import build
from sfumato.streams import lent, stream
from sfumato.training import checkpoint, losses, moments, processes
from sfumato.training.averages import Average
from sfumato.training.budget import Budget
from sfumato.training.ledger import Ledger, device_name, peak_bytes
from sfumato.training.losses import Losses
from sfumato.training.precision import resolved
from sfumato.training.turn import Turn

Watch = Callable[[Ledger, Mapping[str, float]], None]
"""Called every few turns with what was spent and the mean of each loss term since the last call."""


@dataclass
class Progress:
    """Where a training stands, beside its ledger."""

    stage: int = 0
    position: int = 0
    """Images drawn so far; more than were charged where a player's turns are not in the budget."""
    saved: int = 0
    """Images that stages which ended early left over."""
    ended: bool = False
    """Whether this stage ended early."""
    rounds: int = 0
    """Rounds of this stage, by which losses are looked at."""
    losses: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Sums and counts of loss terms since the last look."""
    fitted: list[int] = field(default_factory=list)
    """Stages whose `fit` is done."""
    flops: dict[str, float] = field(default_factory=dict)
    """Operations of each objective, counted once."""
    adopted: list[str] = field(default_factory=list)
    """Weights that were taken from the run that this one started from."""


class Facts(Strict):
    """What a checkpoint says beside its tensors."""

    ledger: Ledger
    """What was spent."""
    progress: Progress
    """Where the training stood."""
    players: list[str] = []
    """Whose optimisers it has the state of."""


class State:
    """A family on its way: its averages, its ledger, its losses, and the folder that keeps them."""

    def __init__(
        self,
        family: Family,
        budget: Budget,
        seed: int,
        device: torch.device,
        folder: Path | None,
        watch: Watch | None,
        start: Mapping[str, Tensor] | None,
        earlier: Ledger | None = None,
    ):
        self.family = family.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.budget, self.seed, self.device, self.folder, self.watch = budget, seed, device, folder, watch
        self.start = start
        precision = resolved(budget.precision, device, parameter_count([family]))
        self.ledger = Ledger(device=device_name(device), processes=processes.world(), precision=precision)
        self.average: Average = build(budget.average, family)
        self.progress = Progress()
        if earlier is not None:  # a finished training that gets a larger budget
            spent = ("images", "turns", "flops", "seconds", "peak_bytes")
            self.ledger = self.ledger.model_copy(update={name: getattr(earlier, name) for name in spent})
            self.progress.position = earlier.images
        self.losses = Losses()
        self.skipped = 0.0
        """Seconds that were left out of the ledger."""
        self._clock = self._saved = time.monotonic()

    def begin(self) -> None:
        """Start the clock, which goes on from what the ledger says."""
        self._clock = time.monotonic() - self.ledger.seconds
        self._saved = time.monotonic()

    def enter(self, number: int, stage: Stage) -> None:
        """Begin a stage: the networks take the structure that it asks for, and what another run knew of it."""
        self.progress.stage, self.progress.ended, self.progress.rounds = number, False, 0
        begun = {**self.ledger.stages, stage.name: self.ledger.images}
        self.ledger = self.ledger.model_copy(update={"stages": begun})
        grown(self.family, stage, self.seed, self.device)
        self.average.follow(self.family)
        if self.start is not None:
            left = {name: value for name, value in self.start.items() if name not in self.progress.adopted}
            kept = self.family.adopt(left)
            self.family.grow(stage)  # where it stood at its end was adopted too
            self.progress.adopted += kept
            self.average.start(kept)
        self._compile()

    def charge(self, images: int = 0, flops: float = 0.0, turn: str | None = None) -> None:
        """Write into the ledger what was spent."""
        ledger = self.ledger
        turns = ledger.turns if turn is None else {**ledger.turns, turn: ledger.turns.get(turn, 0) + 1}
        self.ledger = ledger.model_copy(
            update={"images": ledger.images + images, "flops": ledger.flops + flops, "turns": turns}
        )

    def tick(self) -> None:
        """Write the time into the ledger."""
        self.ledger = self.ledger.model_copy(update={"seconds": time.monotonic() - self._clock})

    def off_the_clock(self, seconds: float) -> None:
        """Leave out time that is no part of the training."""
        self._clock += seconds
        self.skipped += seconds

    def look(self) -> dict[str, float]:
        """Read the losses, stop if one is not finite, and tell whoever watches."""
        peak = max(self.ledger.peak_bytes, peak_bytes(self.device))
        self.ledger = self.ledger.model_copy(update={"peak_bytes": peak})
        means = self.losses.means(self.ledger.images)
        if means and self.ledger.images >= self.ledger.planned / 10:
            said = self.family.alarm(means)
            since = (
                self.ledger.alarm if said and self.ledger.alarm else f"from {self.ledger.images:,} images on: {said}"
            )
            self.ledger = self.ledger.model_copy(update={"alarm": since if said else ""})
        if processes.rank() == 0:
            if self.watch is not None:
                self.watch(self.ledger, means)
            if self.folder is not None:
                losses.append(self.folder, self.ledger.images, self.ledger.seconds, means)
        return means

    def take_in(self, before: int) -> None:
        """Average the weights after the round that began with so many images, and keep the moment if it is one."""
        now, budget = self.ledger.images, self.budget
        self.average.update(now, now - before)
        if moments.passed(self.ledger.planned, before, now, budget.moments):
            processes.average_buffers(self.family)
            if processes.rank() == 0 and self.folder is not None:
                moments.keep(self.folder, now, self.average.deployed())

    @property
    def late(self) -> bool:
        """Whether it is time for a checkpoint."""
        return time.monotonic() - self._saved > self.budget.save_every

    def save(self, turns: Mapping[str, Turn]) -> None:
        """Write a checkpoint.

        Raises: DataError: it cannot be written; the older one stays.
        """
        self.losses.means(self.ledger.images, forget=False)  # nothing is saved that is not finite
        self.progress.losses = self.losses.held()
        processes.average_buffers(self.family)
        if processes.rank() == 0 and self.folder is not None:
            tensors = {f"family.{name}": value for name, value in self.family.state_dict().items()}
            tensors |= {f"average.{name}": value for name, value in self.average.tensors().items()}
            for name, turn in turns.items():
                tensors |= checkpoint.optimizer_tensors(name, turn.optimizer)
            facts = {"ledger": self.ledger.model_dump(), "progress": asdict(self.progress), "players": list(turns)}
            checkpoint.save_checkpoint(self.folder, self.progress.position, tensors, facts)
        processes.barrier()
        self._saved = time.monotonic()

    def resume(self, stages: Sequence[Stage]) -> Mapping[str, Tensor] | None:
        """Take up the newest checkpoint, and give its tensors for the optimisers; None where there is none.

        Raises: WeightsError: it is damaged, of another version, or of another training.
        """
        found = checkpoint.load_checkpoint(self.folder) if self.folder is not None else None
        if found is None or self.folder is None:
            return None
        tensors, facts = found
        try:
            known = Facts.model_validate_json(json.dumps(facts), strict=True)
        except ValueError as error:
            raise WeightsError(
                f"the checkpoint in {self.folder} cannot be used ({str(error).splitlines()[0]}); remove it to start again"
            ) from None
        self.progress = known.progress
        self.ledger = known.ledger.model_copy(update={"processes": processes.world()})
        for stage in stages[: self.progress.stage + 1]:
            grown(self.family, stage, self.seed, self.device)
        self.average.follow(self.family)
        what = f"the checkpoint in {self.folder}"
        weights, averages = under("family.", tensors), under("average.", tensors)
        checkpoint.require_fit(weights, self.family.state_dict(), what)
        self.family.load_state_dict(weights)
        try:
            self.average.load(averages)
        except (RuntimeError, KeyError):
            raise WeightsError(f"{what} has an average of another training; remove it to start again") from None
        checkpoint.require_fit(averages, self.average.tensors(), f"{what}, its average")
        for name in known.players:
            if not any(full.startswith(f"optimizer.{name}.") for full in tensors):
                raise WeightsError(f"{what} lacks the state of the optimiser of {name}; remove it to start again")
        self._compile()
        self.losses.hold(self.progress.losses, self.device)
        if processes.rank() == 0:
            losses.cut(self.folder, self.ledger.images)
        return tensors

    def deploy(self) -> Family:
        """The family with its averaged weights, ready to draw."""
        self.tick()
        self.average.copy_to(self.family)
        processes.average_buffers(self.family)
        return self.family.eval()

    def _compile(self) -> None:
        if self.budget.compile:
            backend = self.budget.compile if isinstance(self.budget.compile, str) else "inductor"
            # Not the critic: torch.compile has no second derivative for its penalty.
            for module in self.family.deployed():
                for part in module.children() if module is self.family else [module]:
                    part.compile(backend=backend)


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The tensors whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def grown(family: Family, stage: Stage, seed: int, device: torch.device | str = "cpu") -> Family:
    """A family with the structure of a stage; new weights depend on the seed and the stage's name alone."""
    with lent(stream(seed, "grow", stage.name)):
        family.grow(stage)
    return family.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
