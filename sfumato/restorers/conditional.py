"""Conditional: a family that was trained on the task answers it directly."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from sfumato.config import Strict
from sfumato.families.base import Family
from sfumato.images import Images
from sfumato.restorers.base import Restorer
from sfumato.streams import Rngs
from sfumato.tasks.base import Observation

ROUNDS = 20  # of project and clamp; block means agree to about 1e-3 of the range after them, masks after one


def agree(x: Images, observation: Observation) -> Images:
    """Bring x into the range [-1, 1] and into agreement with the measurement, by projecting on each in turn.

    Clamping can break what the projection x + A+ (y - A x) made right, except for masks; both sets are convex, so the
    alternation converges to their intersection (Bauschke and Borwein, 1996, On projection algorithms).
    """
    for _ in range(ROUNDS):
        projected = observation.project(x)
        x = projected.clamp(-1.0, 1.0)
        if torch.equal(x, projected):
            break
    return x


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
