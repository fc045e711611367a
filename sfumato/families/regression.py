"""Regression: one answer to each observation, the one with the smallest expected error.

The distortion end of the plane, and the twin that every sampler is held against: a method that beats its twin in PSNR and in
a distribution distance is a reason to look for a leak.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Tensor, nn

from sfumato.config import Strict
from sfumato.families.adversaries import Adversaries, Modern
from sfumato.families.base import Batch, Family, Objective, Player, Stage, Terms, weighted_mean, weights
from sfumato.families.optimizers import AdamW, Optimizer
from sfumato.images import Images, Size
from sfumato.kinds import build, choice
from sfumato.networks.condition import Condition
from sfumato.streams import Rngs


class Regression(Family):
    """E |x - G(0, y)| or E |x - G(0, y)|^2 over the pixels the task names: G gives the median or the mean of what may be.

    Without anything observed that is one picture, the median or the mean of all.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = Regression(Regression.Config(width=8), DataSpec(channels=1, size=8))
        >>> tuple(model.sample(2, rng=stream(0, "sample")).shape)
        (2, 1, 8, 8)
    """

    class Config(Strict):
        kind: Literal["regression"] = "regression"
        width: float = Field(default=32, gt=0)
        """Channels of the widest map; parity solves for it."""
        embedding: int | None = Field(default=None, ge=4)
        """Length of the vector, made of the latent one, that tells every block; parity's fine knob. Left out: that one."""
        network: Annotated[Any, choice(Adversaries, "residual")] = Modern.Config()
        """The generator of an adversarial pair: residual (modern) or published (paper 000); its critic is not built."""
        latent: int = Field(default=64, ge=1)
        """Length of the vector that stands where others have noise."""
        loss: Literal["absolute", "squared"] = "absolute"
        """absolute asks for the median, squared for the mean."""
        labels: bool = False
        """Tell the network the class of each image; the data must have labels."""
        optimizer: Annotated[Any, choice(Optimizer, "adamw")] = AdamW.Config(lr=1e-3)
        """How the weights move."""

    def build(self) -> None:
        """The generator, and one vector for it that is learnt."""
        config = self.config
        classes = self.spec.classes if self.labelled else 0
        slot: Adversaries = build(config.network)
        self.generator: nn.Module = slot.generator(self.spec, config.width, config.latent, classes, config.embedding)
        self.start = nn.Embedding(1, config.latent)

    def players(self, stage: Stage) -> Sequence[Player]:
        """One player, one loss."""
        group = weights(self.generator, self.start)
        return [Player("generator", [group], [Objective(self.loss)], self.config.optimizer)]

    def loss(self, batch: Batch) -> Terms:
        """The error where the task's loss looks."""
        error = self.answer(len(batch.x), batch.condition) - batch.x
        error = error.abs() if self.config.loss == "absolute" else error.square()
        return {"reconstruction": weighted_mean(error, batch.observation.weight)}

    def answer(self, n: int, condition: Condition) -> Images:
        """G(start, condition)."""
        made: Tensor = self.generator(self.start.weight.expand(n, -1), condition)
        return made

    def draw(self, n: int, condition: Condition, size: Size, rng: Rngs) -> Images:
        """The one answer; nothing is drawn."""
        return self.answer(n, condition)
