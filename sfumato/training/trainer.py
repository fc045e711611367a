"""The one training loop: every family, every task, every budget. Only `turn.py` beside it steps an optimiser.

Each turn is keyed by how many images came before it, so its data, masks and noise do not depend on what ran in between:
stop it anywhere, resume, and the same bits come out (on a CPU).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import torch
from pydantic import Field
from torch import Generator

from sfumato.config import Strict
from sfumato.data.base import Split
from sfumato.errors import ConfigError, Interrupted
from sfumato.families.base import Batch, Family, Stage
from sfumato.kinds import build, choice
from sfumato.streams import lent, stream
from sfumato.tasks.base import Task
from sfumato.training import checkpoint, losses, processes, state
from sfumato.training.averages import Average, HalfLife, deployed_state
from sfumato.training.interrupt import Interrupt
from sfumato.training.ledger import Ledger, device_name, flop_counter, peak_bytes, reset_peak
from sfumato.training.loader import Loader
from sfumato.training.losses import Losses
from sfumato.training.precision import Precision, resolved
from sfumato.training.state import Progress
from sfumato.training.turn import Turn


class Budget(Strict):
    """How much a training may spend, and how each step is made."""

    images: int = Field(default=100_000, ge=1)
    """Real images consumed over all players' turns; a WGAN with five critic turns sees six batches a generator step."""
    batch: int = Field(default=64, ge=1)
    """Images a turn, over all processes."""
    at_once: int | None = Field(default=None, ge=1)
    """Images in one pass; where memory is short, a batch is worked through in parts of so many. Null: all at once."""
    flip: bool = False
    """Mirror each training image with probability 1/2."""
    average: Annotated[Any, choice(Average, "half_life")] = HalfLife.Config()
    """The average of the weights that is deployed: half_life (a share of the images seen), constant or none."""
    precision: Precision = "float32"
    """Arithmetic of the networks: float32, bfloat16, or auto (bfloat16 where the hardware has it)."""
    compile: bool | str = False
    """Use torch.compile, or name its backend: minutes to start, worth it on a GPU."""
    save_every: float = Field(default=60.0, gt=0.0)
    """Seconds between checkpoints."""


Watch = Callable[[Ledger, Mapping[str, float]], None]
"""Called every few turns with what was spent and the mean of each loss term since the last call."""


class Trainer:
    """Train one family on one task, or on several in turn.

    `folder` is where checkpoints go and where an interrupted training is found again; without one nothing is written.
    """

    log_rounds = 20  # rounds between looks at the losses; a look waits for the device

    def __init__(
        self,
        family: Family,
        tasks: Task | Sequence[Task],
        budget: Budget,
        *,
        seed: int,
        device: str | torch.device = "cpu",
        folder: Path | None = None,
        watch: Watch | None = None,
    ):
        self.device = torch.device(device)
        self.family = family.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.tasks = [tasks] if isinstance(tasks, Task) else list(tasks)
        self.budget, self.seed, self.folder, self.watch = budget, seed, folder, watch
        self.precision = resolved(budget.precision, self.device)
        self.ledger = Ledger(device=device_name(self.device), processes=processes.world(), precision=self.precision)
        self.average: Average = build(budget.average, family)
        self.progress = Progress()
        self.losses = Losses()
        self._clock = self._saved = time.monotonic()

    def run(self, data: Split) -> Family:
        """Train until the budget is spent; the family then holds the averaged weights.

        Raises: DivergedError: a loss is not finite. Interrupted: Ctrl-C, after a checkpoint. DataError: no disk space.
        """
        reset_peak(self.device)
        budget = self.budget
        loader = Loader(data, budget.batch, seed=self.seed, flip=budget.flip, device=self.device, charge=self._charge)
        stages = self.family.stages()
        resumed = self._resume(stages)
        self._clock = time.monotonic() - self.ledger.seconds
        self._saved = time.monotonic()
        self.family.train()
        turns: dict[str, Turn] = {}
        planned = 0.0
        with Interrupt() as interrupt:
            for number, stage in enumerate(stages):
                begin, planned = planned, planned + stage.share * budget.images
                if number < self.progress.stage:
                    continue
                if number > self.progress.stage or resumed is None:
                    self._enter(number, stage)
                self._fit(number, stage, loader, interrupt)
                turns = self._turns(stage, turns if stage.keep_optimizers else {})
                if resumed is not None:
                    for name, turn in turns.items():
                        checkpoint.restore_optimizer(name, turn.optimizer, resumed)
                    resumed = None
                if turns:
                    limits = begin - self.progress.saved, planned - self.progress.saved
                    self._rounds(stage, turns, loader, limits, interrupt)
                if stage.use_average:
                    self.average.copy_to(self.family)
        loader.close()
        self._tick()
        self.average.copy_to(self.family)
        processes.average_buffers(self.family)
        return self.family.eval()

    def _rounds(
        self,
        stage: Stage,
        turns: Mapping[str, Turn],
        loader: Loader,
        limits: tuple[float, float],
        interrupt: Interrupt,
    ) -> None:
        """Rounds of turns until the stage's share of the budget is spent, or it ends itself."""
        rounds, (begin, end) = 0, limits
        while self.ledger.images < end and not self.progress.ended:
            before = self.ledger.images
            self._round(stage, turns, loader, (before - begin) / max(end - begin, 1))
            if self.ledger.images == before:
                raise ConfigError(f"stage {stage.name!r}: no player's turns count, so the budget would never be spent")
            self.average.update(self.ledger.images, self.ledger.images - before)
            rounds += 1
            self._tick()
            over = self.ledger.images >= end
            if rounds % self.log_rounds == 0 or over:
                means = self._look()
                self.progress.ended = stage.stop_when is not None and stage.stop_when(means)
            stop = self._agreed(interrupt.wanted, rounds)
            late = not over and self._agreed(time.monotonic() - self._saved > self.budget.save_every, rounds)
            if late or stop:
                self._save(turns)
            if stop:
                self._interrupted()
        if self.progress.ended:
            self.progress.saved += max(int(end) - self.ledger.images, 0)

    def _round(self, stage: Stage, turns: Mapping[str, Turn], loader: Loader, within: float) -> None:
        """Each player's turns, one after the other, on new batches or on the round's own."""
        batch: Batch | None = None
        for turn in turns.values():
            player = turn.player
            for again in range(player.turns):
                fresh = player.fresh or batch is None
                position = self.progress.position
                if fresh:
                    batch = self._batch(loader, stage, within)
                    self.progress.position += self.budget.batch
                else:
                    assert batch is not None
                    rng = self._stream("loss", position, player.name, again)
                    batch = replace(batch, rng=rng)
                layers = self._stream("layers", position, *(() if fresh else (player.name, again)))
                count = self.ledger.turns.get(player.name, 0)
                numbers = range(len(player.objectives))
                flops = sum(self._flops(stage, turn, number, batch, layers, count) for number in numbers)
                turn.take(batch, count, layers)
                self.ledger = self.ledger.model_copy(
                    update={
                        "images": self.ledger.images + (self.budget.batch if fresh and player.in_budget else 0),
                        "turns": {**self.ledger.turns, player.name: count + 1},
                        "flops": self.ledger.flops + flops,
                    }
                )

    def _batch(self, loader: Loader, stage: Stage, within: float) -> Batch:
        """The next images, observed by the task whose turn it is."""
        at = self.progress.position
        drawn = loader.at(at, stage)
        which = 0
        if len(self.tasks) > 1:
            which = int(torch.randint(len(self.tasks), (1,), generator=stream(self.seed, "task", at)))
        observation = self.tasks[which].observe(drawn.x, self._stream("mask", at), drawn.inputs)
        condition = self.family.condition(observation, drawn.label)
        share = self.ledger.images / self.budget.images
        return Batch(drawn.x, observation, condition, self._stream("loss", at), share, within, drawn.index)

    def _turns(self, stage: Stage, earlier: Mapping[str, Turn]) -> dict[str, Turn]:
        """The stage's players with their optimisers, which go on where they may."""
        turns = {}
        for player in self.family.players(stage):
            turn = Turn(player, self.family, self.losses, self.precision == "bfloat16", self.budget.at_once)
            if player.name in earlier:
                old = earlier[player.name].optimizer.state
                for weight in player.weights:
                    if weight in old:
                        turn.optimizer.state[weight] = old[weight]
            turns[player.name] = turn
        return turns

    def _enter(self, number: int, stage: Stage) -> None:
        """Begin a stage: the networks take the structure that it asks for."""
        self.progress.stage, self.progress.ended = number, False
        grown(self.family, stage, self.seed, self.device)
        self.average.follow(self.family)
        self._compile()

    def _compile(self) -> None:
        if self.budget.compile:
            backend = self.budget.compile if isinstance(self.budget.compile, str) else "inductor"
            # Not the critic: torch.compile has no second derivative for its penalty.
            for module in self.family.deployed():
                for part in module.children() if module is self.family else [module]:
                    part.compile(backend=backend)

    def _fit(self, number: int, stage: Stage, loader: Loader, interrupt: Interrupt) -> None:
        """What the family computes once in this stage; an interrupted one begins again."""
        if number in self.progress.fitted:
            return
        begun = self.ledger
        with flop_counter() as counter:
            for _ in self.family.fit(stage, loader):
                self._tick()
                if self.watch is not None and processes.rank() == 0:
                    self.watch(self.ledger, {})
                if self._agreed(interrupt.wanted, 0):
                    self.ledger = begun
                    self._interrupted()
        self.progress.fitted.append(number)
        if self.ledger.images > begun.images:
            self.ledger = self.ledger.model_copy(update={"flops": self.ledger.flops + counter.get_total_flops()})
            self._tick()
            self.progress.position = max(self.progress.position, self.ledger.images)
            self.average.follow(self.family)
            self.average.load(deployed_state(self.family))
            self._save({})

    def _charge(self, images: int) -> None:
        self.ledger = self.ledger.model_copy(update={"images": self.ledger.images + images})

    def _flops(self, stage: Stage, turn: Turn, number: int, batch: Batch, layers: Generator, count: int) -> float:
        """Operations of an objective in this turn; counted the first time, outside the clock."""
        objective = turn.player.objectives[number]
        if count % objective.every:
            return 0.0
        name = f"{stage.name}.{turn.player.name}.{number}"
        if name not in self.progress.flops:
            start = time.monotonic()
            self.progress.flops[name] = turn.flops(objective, batch, layers)
            self._clock += time.monotonic() - start
        return self.progress.flops[name]

    def _stream(self, name: str, *key: int | str) -> Generator:
        at, *more = key
        return stream(self.seed, name, at, processes.rank(), *more, device=self.device)

    def _tick(self) -> None:
        self.ledger = self.ledger.model_copy(update={"seconds": time.monotonic() - self._clock})

    def _agreed(self, flag: bool, rounds: int) -> bool:
        """A decision that all processes take in the same round; several ask each other only when they look."""
        if processes.world() == 1:
            return flag
        return rounds % self.log_rounds == 0 and processes.any_process(flag)

    def _look(self) -> dict[str, float]:
        """Read the losses, stop if one is not finite, and tell whoever watches."""
        peak = max(self.ledger.peak_bytes, peak_bytes(self.device))
        self.ledger = self.ledger.model_copy(update={"peak_bytes": peak})
        means = self.losses.means(self.ledger.images)
        if processes.rank() == 0:
            if self.watch is not None:
                self.watch(self.ledger, means)
            if self.folder is not None:
                losses.append(self.folder, self.ledger.images, self.ledger.seconds, means)
        return means

    def _save(self, turns: Mapping[str, Turn]) -> None:
        self._look()
        processes.average_buffers(self.family)
        if processes.rank() == 0 and self.folder is not None:
            state.save(self.folder, self.family, self.average, turns, self.ledger, self.progress)
        processes.barrier()
        self._saved = time.monotonic()

    def _resume(self, stages: Sequence[Stage]) -> Mapping[str, torch.Tensor] | None:
        found = state.load(self.folder) if self.folder is not None else None
        if found is None or self.folder is None:
            return None
        tensors, ledger, self.progress = found
        self.ledger = ledger.model_copy(update={"processes": processes.world()})
        for stage in stages[: self.progress.stage + 1]:
            grown(self.family, stage, self.seed, self.device)
        self.average.follow(self.family)
        state.restore(tensors, self.family, self.average, self.folder)
        self._compile()
        if processes.rank() == 0:
            losses.cut(self.folder, self.ledger.images)
        return tensors

    def _interrupted(self) -> NoReturn:
        kept = (
            f"it goes on from there when the same command is given again (in {self.folder})"
            if self.folder
            else "nothing was kept"
        )
        raise Interrupted(f"stopped after {self.ledger.images:,} of {self.budget.images:,} images; {kept}")


def grown(family: Family, stage: Stage, seed: int, device: torch.device | str = "cpu") -> Family:
    """A family with the structure of a stage; new weights depend on the seed and the stage's name alone."""
    with lent(stream(seed, "grow", stage.name)):
        family.grow(stage)
    return family.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
