"""Conditional: a family that was trained on the task answers it directly."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Generator

from sfumato.config import Strict
from sfumato.families.base import Family
from sfumato.images import Images
from sfumato.restorers.base import Restorer
from sfumato.tasks.base import Observation


class Conditional(Restorer):
    """sample(condition), then x + A+ (y - A x): what was measured is kept."""

    needs: ClassVar[type | None] = Family

    class Config(Strict):
        kind: Literal["conditional"] = "conditional"
        project: bool = True
        """Put the measurement back into the answer; off, the network's own known pixels are kept."""

    def restore(self, observation: Observation, *, rng: Generator) -> Images:
        """One draw for each image."""
        assert self.family is not None
        x = self.family.sample(len(observation), observation=observation, size=observation.known.shape[-1], rng=rng)
        if self.config.project:
            x = observation.operator.project(x, observation.y)
        return x.clamp(-1.0, 1.0)
