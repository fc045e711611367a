"""Batches: the images of a turn, observed by the task whose turn it is, with the streams that its noise comes from.

Everything is keyed by how many images were drawn before, so a turn does not depend on what ran in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Generator

from sfumato.families.base import Batch, Family, Stage
from sfumato.streams import stream
from sfumato.tasks.base import Task
from sfumato.training import processes
from sfumato.training.loader import Loader


class Batches:
    """What the turns of a training see."""

    def __init__(self, loader: Loader, tasks: Sequence[Task], family: Family, seed: int):
        self.loader, self.tasks, self.family, self.seed = loader, tasks, family, seed

    def at(self, position: int, stage: Stage, progress: float, within: float) -> Batch:
        """The next images, observed; shares of the budget and of the stage are handed on."""
        drawn = self.loader.at(position, stage)
        which = 0
        if len(self.tasks) > 1:
            which = int(torch.randint(len(self.tasks), (1,), generator=stream(self.seed, "task", position)))
        observation = self.tasks[which].observe(drawn.x, self.stream("mask", position), drawn.inputs)
        condition = self.family.condition(observation, drawn.label)
        rng = self.stream("loss", position)
        return Batch(drawn.x, observation, condition, rng, progress, within, drawn.index)

    def again(self, batch: Batch, position: int, player: str, turn: int) -> Batch:
        """The same images for another turn, with noise of its own."""
        return replace(batch, rng=self.stream("loss", position, player, turn))

    def stream(self, name: str, position: int, *key: int | str) -> Generator:
        """This process's stream for one use at one position, on the device of the images."""
        return stream(self.seed, name, position, processes.rank(), *key, device=self.loader.device)
