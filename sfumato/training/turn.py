"""One turn of one player: its losses on a batch, their gradients, and a step of its optimiser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Generator, Tensor

from sfumato.families.base import Batch, Family, Objective, Player, Stage
from sfumato.families.optimizers import Optimizer
from sfumato.kinds import build
from sfumato.streams import lent
from sfumato.training import checkpoint, processes
from sfumato.training.ledger import flop_counter
from sfumato.training.losses import Losses


class Turn:
    """A player with its optimiser, ready to take turns."""

    def __init__(self, player: Player, family: Family, losses: Losses, half: bool, at_once: int | None = None):
        self.player, self.family, self.losses, self.half, self.at_once = player, family, losses, half, at_once
        self.settings: Optimizer = build(player.optimizer)
        groups = [{"params": list(group.weights), "rate": group.rate} for group in player.groups if group.weights]
        self.optimizer = self.settings.make(groups)
        self._mine = {id(weight) for weight in player.weights}

    def take(self, batch: Batch, turn: int, layers: Generator) -> None:
        """Compute the losses that are due, average gradients over processes, step, and tell the player."""
        player = self.player
        self.alone()
        self.optimizer.zero_grad(set_to_none=True)
        for objective in self.due(turn):
            for part, share in self._parts(batch):
                terms = self._terms(objective, part, layers)
                loss = torch.stack([term.float() for term in terms.values()]).sum() * objective.every
                (loss if share == 1.0 else loss * share).backward()
                for key, term in terms.items():
                    value = term.detach().float()
                    self.losses.note(f"{player.name}.{key}", value)
        processes.average_gradients(player.weights)
        if self.settings.config.clip is not None:
            torch.nn.utils.clip_grad_norm_(player.weights, self.settings.config.clip)
        self.settings.steer(self.optimizer, batch.progress)
        self.optimizer.step()
        player.after_step(batch)
        for key, value in player.gauges().items():
            self.losses.note(f"{player.name}.{key}", value.detach().float().clone())

    def due(self, turn: int) -> Sequence[Objective]:
        """The objectives whose turn it is."""
        return [objective for objective in self.player.objectives if turn % objective.every == 0]

    def alone(self) -> None:
        """Let gradients reach this player's weights and no others."""
        for weight in self.family.parameters():
            mine = id(weight) in self._mine
            if weight.requires_grad != mine:
                weight.requires_grad_(mine)

    def flops(self, objective: Objective, batch: Batch, layers: Generator) -> float:
        """Operations of one loss, forward and backward, counted in a rehearsal that leaves everything as it was."""
        buffers = {name: value.clone() for name, value in self.family.named_buffers()}
        rng = Generator(device=batch.rng.device)
        rng.set_state(batch.rng.get_state())
        self.alone()
        # The counter looks into every operation, which would make torch.compile give up on the networks for good.
        with torch.compiler.set_stance("force_eager"), flop_counter() as counter:
            for part, _ in self._parts(replace(batch, rng=rng)):
                terms = self._terms(objective, part, layers)
                torch.stack([term.float() for term in terms.values()]).sum().backward()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for name, value in self.family.named_buffers():
                value.copy_(buffers[name])
        return float(counter.get_total_flops()) * processes.world()

    def _terms(self, objective: Objective, batch: Batch, layers: Generator) -> dict[str, Tensor]:
        half = torch.autocast(batch.x.device.type, torch.bfloat16, enabled=self.half)
        with half, lent(layers):  # dropout knows no generator but the global one
            return dict(objective.loss(batch))

    def _parts(self, batch: Batch) -> list[tuple[Batch, float]]:
        n, most = len(batch.x), self.at_once
        if most is None or n <= most:
            return [(batch, 1.0)]
        starts = range(0, n, most)
        return [(batch.pick(slice(start, start + most)), min(most, n - start) / n) for start in starts]


def turns_of(
    stage: Stage,
    family: Family,
    losses: Losses,
    *,
    half: bool,
    at_once: int | None,
    earlier: Mapping[str, Turn],
    resumed: Mapping[str, Tensor] | None,
) -> dict[str, Turn]:
    """A stage's players with their optimisers, which go on from an earlier stage or from a checkpoint where they may."""
    turns = {}
    for player in family.players(stage):
        turn = turns[player.name] = Turn(player, family, losses, half, at_once)
        old = earlier[player.name].optimizer.state if player.name in earlier else {}
        for weight in player.weights:
            if weight in old:
                turn.optimizer.state[weight] = old[weight]
        if resumed is not None:
            checkpoint.restore_optimizer(player.name, turn.optimizer, resumed)
    return turns
