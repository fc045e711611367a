"""The one training loop: every family, every task, every budget. Only `turn.py` beside it steps an optimiser.

Each turn is keyed by how many images came before it, so its data, masks and noise do not depend on what ran in between:
stop it anywhere, resume, and the same bits come out (on a CPU).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from sfumato.data.base import Split
from sfumato.errors import ConfigError, Interrupted
from sfumato.families.base import Batch, Family, Stage
from sfumato.maths.precision import products
from sfumato.tasks.base import Task
from sfumato.training import processes
from sfumato.training.batches import Batches
from sfumato.training.budget import Budget
from sfumato.training.interrupt import Interrupt
from sfumato.training.ledger import Ledger, flop_counter, reset_peak
from sfumato.training.loader import Loader
from sfumato.training.state import State, Watch
from sfumato.training.turn import Turn, turns_of


class Trainer:
    """Train one family on one task, or on several together.

    `folder` is where checkpoints go and where an interrupted training is found again; without one nothing is written.
    `start` are weights of another run that this one goes on from; `earlier` is what was spent before, if that run was this
    one with a smaller budget.
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
        start: Mapping[str, Tensor] | None = None,
        earlier: Ledger | None = None,
    ):
        self.tasks = [tasks] if isinstance(tasks, Task) else list(tasks)
        self.family, self.budget, self.device, self.folder = family, budget, torch.device(device), folder
        self.state = State(family, budget, seed, self.device, folder, watch, start, earlier)

    @property
    def ledger(self) -> Ledger:
        """What was spent so far."""
        return self.state.ledger

    def run(self, data: Split) -> Family:
        """Train until the budget is spent; the family then holds the averaged weights.

        Raises: DivergedError: a loss is not finite. Interrupted: Ctrl-C, after a checkpoint. DataError: no disk space.
        """
        reset_peak(self.device)
        state, budget, stages = self.state, self.budget, self.family.stages()
        loader = Loader(data, budget.batch, seed=state.seed, flip=budget.flip, device=self.device, charge=state.charge)
        batches = Batches(loader, self.tasks, self.family, state.seed, mixed=budget.mix_tasks)
        resumed = state.resume(stages)
        state.begin()
        self.family.train()
        turns: dict[str, Turn] = {}
        planned = 0.0
        # float32 is float32 on a GPU too, and TF32 goes with bfloat16, for what autocast leaves in float32.
        with Interrupt() as interrupt, products(tf32=state.ledger.precision == "bfloat16"):
            for number, stage in enumerate(stages):
                begin, planned = planned, planned + (0 if stage.turns else stage.share * budget.images)
                if number < state.progress.stage:
                    continue
                if number > state.progress.stage or resumed is None:
                    state.enter(number, stage)
                self._fit(number, stage, loader, interrupt)
                turns = turns_of(
                    stage,
                    self.family,
                    state.losses,
                    half=state.ledger.precision == "bfloat16",
                    at_once=budget.at_once,
                    earlier=turns if stage.keep_optimizers else {},
                    resumed=resumed,
                )
                resumed = None
                if turns:
                    self._plan(number, stages, batches.loader.share(stage), turns)
                    limits = begin - state.progress.saved, planned - state.progress.saved
                    self._rounds(stage, turns, batches, limits, interrupt)
                if stage.use_average:
                    state.average.copy_to(self.family)
        loader.close()
        return state.deploy()

    def _plan(self, number: int, stages: Sequence[Stage], share: int, turns: Mapping[str, Turn]) -> None:
        """Write down how many images all stages take, where turns are counted by this one's rounds."""
        state, players = self.state, [turn.player for turn in turns.values() if turn.player.in_budget]
        counted = [stage for stage in stages[number:] if stage.turns is not None]
        a_round = share * processes.world() * sum(player.turns if player.fresh else 1 for player in players)
        left = a_round * (sum(stage.turns or 0 for stage in counted) - state.progress.rounds)
        planned = state.ledger.images + left if counted else self.budget.images
        state.ledger = state.ledger.model_copy(update={"planned": planned})

    def _rounds(
        self,
        stage: Stage,
        turns: Mapping[str, Turn],
        batches: Batches,
        limits: tuple[float, float],
        interrupt: Interrupt,
    ) -> None:
        """Rounds of turns until the stage's share of the budget is spent, or it ends itself."""
        state, (begin, end) = self.state, limits

        def over() -> bool:
            if stage.turns is not None:
                return state.progress.rounds >= stage.turns
            return state.ledger.images >= end

        while not over() and not state.progress.ended:
            before = state.ledger.images
            within = state.progress.rounds / stage.turns if stage.turns else (before - begin) / max(end - begin, 1)
            self._round(stage, turns, batches, within)
            if state.ledger.images == before:
                raise ConfigError(f"stage {stage.name!r}: no player's turns count, so the budget would never be spent")
            state.take_in(before)
            state.progress.rounds += 1
            rounds = state.progress.rounds
            state.tick()
            if rounds % self.log_rounds == 0 or over():
                means = state.look()
                done = stage.stop_when is not None and stage.stop_when(means)
                state.progress.ended = processes.any_process(done)
            stop = self._agreed(interrupt.wanted, rounds)
            late = not over() and self._agreed(state.late, rounds)
            if late or stop:
                state.save(turns)
            if stop:
                self._interrupted()
        if state.progress.ended and stage.turns is None:
            state.progress.saved += max(int(end) - state.ledger.images, 0)

    def _round(self, stage: Stage, turns: Mapping[str, Turn], batches: Batches, within: float) -> None:
        """Each player's turns, one after the other, on new batches or on the round's own."""
        state, batch = self.state, None
        share = batches.loader.share(stage) * processes.world()
        progress = state.ledger.images / max(state.ledger.planned, 1)
        for turn in turns.values():
            player = turn.player
            for again in range(player.turns):
                position, fresh = state.progress.position, player.fresh or batch is None
                if fresh or batch is None:
                    batch = batches.at(position, stage, progress, within)
                    state.progress.position += share
                else:
                    batch = batches.again(batch, position, player.name, again)
                layers = batches.stream("layers", position, *(() if fresh else (player.name, again)))
                count = state.ledger.turns.get(player.name, 0)
                flops = self._flops(stage, turn, batch, layers, count)
                turn.take(batch, count, layers)
                state.charge(share if fresh and player.in_budget else 0, flops, player.name)

    def _flops(self, stage: Stage, turn: Turn, batch: Batch, layers: torch.Generator, count: int) -> float:
        """Operations of the objectives that are due; each is counted the first time, outside the clock."""
        known = self.state.progress.flops
        total = 0.0
        for number, objective in enumerate(turn.player.objectives):
            if count % objective.every:
                continue
            name = f"{stage.name}.{turn.player.name}.{number}"
            if name not in known:
                start = time.monotonic()
                known[name] = turn.flops(objective, batch, layers)
                self.state.off_the_clock(time.monotonic() - start)
            total += known[name]
        return total

    def _fit(self, number: int, stage: Stage, loader: Loader, interrupt: Interrupt) -> None:
        """What the family computes once in this stage; an interrupted one begins again."""
        state = self.state
        if number in state.progress.fitted:
            return
        begun, computed = state.ledger, False
        with flop_counter() as counter:
            for share in self.family.fit(stage, loader):
                computed = True
                state.tick()
                if state.watch is not None and processes.rank() == 0:
                    state.watch(state.ledger, {stage.name: share} if share else {})
                if self._agreed(interrupt.wanted, 0):
                    state.ledger = begun
                    self._interrupted()
        state.progress.fitted.append(number)
        if computed:
            state.charge(flops=counter.get_total_flops())
            state.tick()
            state.progress.position = max(state.progress.position, state.ledger.images)
            state.average.follow(self.family)
            state.average.start()
            state.save({})

    def _agreed(self, flag: bool, rounds: int) -> bool:
        """A decision that all processes take in the same round; several ask each other only when they look."""
        if processes.world() == 1:
            return flag
        return rounds % self.log_rounds == 0 and processes.any_process(flag)

    def _interrupted(self) -> NoReturn:
        kept = (
            f"it goes on from there when the same command is given again (in {self.folder})"
            if self.folder
            else "nothing was kept"
        )
        done = (
            f"after {self.ledger.images:,} of {self.ledger.planned:,} images"
            if self.ledger.planned
            else "in its first pass"
        )
        raise Interrupted(f"stopped {done}; {kept}")
