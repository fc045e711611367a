"""A decoder that doubles its size at each stage, in twenty lines: a family of somebody's own, as a plugin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from sfumato.config import Strict
from sfumato.families.base import Batch, Family, Objective, Player, Stage, Terms, weights
from sfumato.families.optimizers import AdamW, Optimizer
from sfumato.images import Images, Size
from sfumato.kinds import choice
from sfumato.networks.condition import Condition
from sfumato.streams import Rngs, normals


class Growing(Family):
    """Blocks that add to what they are given, one more at full size."""

    class Config(Strict):
        kind: Literal["growing-toy"] = "growing-toy"
        optimizer: Annotated[Any, choice(Optimizer, "adamw")] = AdamW.Config(lr=0.01)
        """How it moves."""

    def build(self) -> None:
        self.blocks = nn.ModuleList([nn.Conv2d(4, 4, 1)])
        self.exit = nn.Conv2d(4, self.spec.channels, 1)

    def stages(self) -> Sequence[Stage]:
        rows, columns = self.spec.size
        return [
            Stage("small", 0.5, size=(max(rows // 2, 1), max(columns // 2, 1))),
            Stage("full", 0.5, keep_optimizers=True),
        ]

    def grow(self, stage: Stage) -> None:
        if stage.name == "full":
            self.blocks.append(nn.Conv2d(4, 4, 1))

    def players(self, stage: Stage) -> Sequence[Player]:
        return [Player("net", [weights(self)], [Objective(self.loss)], self.config.optimizer)]

    def make(self, z: Tensor) -> Images:
        for block in self.blocks:
            z = torch.relu(block(z)) + z
        return self.exit(z)

    def loss(self, batch: Batch) -> Terms:
        z = torch.randn(len(batch.x), 4, *batch.x.shape[2:], generator=batch.rng)
        return {"error": (self.make(z) - batch.x).square().mean()}

    def draw(self, n: int, condition: Condition, size: Size, rng: Rngs) -> Images:
        return self.make(normals(rng, n, 4, *size))
