"""Conditional: a family that was trained on the task answers it directly."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from sfumato.config import Strict
from sfumato.families.base import Family
from sfumato.images import Images
from sfumato.restorers.base import Restorer, agree
from sfumato.streams import Rngs
from sfumato.tasks.base import Observation


class Conditional(Restorer):
    """sample(condition), then x + A+ (y - A x): what was measured is kept."""

    needs: ClassVar[type | None] = Family

    class Config(Strict):
        kind: Literal["conditional"] = "conditional"
        project: bool = True
        """Put the measurement back into the answer; off, the network's own known pixels are kept."""

    def restore(self, observation: Observation, *, rng: Rngs) -> Images:
        """One draw for each image."""
        return self.answer(observation, None, rng=rng)

    def answer(self, observation: Observation, label: Tensor | None, *, rng: Rngs) -> Images:
        """One draw for each image, of its class where that is told."""
        assert self.family is not None
        size = observation.operator.size
        x = self.family.sample(len(observation), observation=observation, label=label, size=size, rng=rng)
        return agree(x, observation) if self.config.project else x
