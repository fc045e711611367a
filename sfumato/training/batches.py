"""Batches: the images of a turn, observed by the tasks, with the streams that its noise comes from.

Everything is keyed by how many images were drawn before, so a turn does not depend on what ran in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Generator

from sfumato.families.base import Batch, Family, Stage
from sfumato.streams import stream
from sfumato.tasks.base import Observed, Task
from sfumato.tasks.together import Together
from sfumato.training import processes
from sfumato.training.loader import Drawn, Loader


class Batches:
    """What the turns of a training see."""

    def __init__(self, loader: Loader, tasks: Sequence[Task], family: Family, seed: int, *, mixed: bool = True):
        self.loader, self.tasks, self.family, self.seed, self.mixed = loader, tasks, family, seed, mixed

    def at(self, position: int, stage: Stage, progress: float, within: float) -> Batch:
        """The next images, observed; shares of the budget and of the stage are handed on."""
        drawn = self.loader.at(position, stage)
        observation = self._observed(drawn, position)
        condition = self.family.condition(observation, drawn.label)
        rng = self.stream("loss", position)
        return Batch(drawn.x, observation, condition, rng, progress, within, drawn.index)

    def _observed(self, drawn: Drawn, position: int) -> Observed:
        """By the one task, by one drawn for the batch, or by all in an order drawn for the batch, an equal part each."""
        draws, rng = stream(self.seed, "task", position), self.stream("mask", position)
        if len(self.tasks) == 1 or not self.mixed:
            which = int(torch.randint(len(self.tasks), (1,), generator=draws))
            return self.tasks[which].observe(drawn.x, rng, drawn.inputs)
        order = [self.tasks[which] for which in torch.randperm(len(self.tasks), generator=draws).tolist()]
        pieces = drawn.x.tensor_split(len(order))
        inputs = [None] * len(order) if drawn.inputs is None else drawn.inputs.tensor_split(len(order))
        work = zip(order, pieces, inputs, strict=True)
        return Together([task.observe(x, rng, given) for task, x, given in work if len(x)])

    def again(self, batch: Batch, position: int, player: str, turn: int) -> Batch:
        """The same images for another turn, with noise of its own."""
        return replace(batch, rng=self.stream("loss", position, player, turn))

    def stream(self, name: str, position: int, *key: int | str) -> Generator:
        """This process's stream for one use at one position, on the device of the images."""
        return stream(self.seed, name, position, processes.rank(), *key, device=self.loader.device)
