"""Conditional: a family that was trained on the task answers it directly."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Generator

from sfumato.config import Strict
from sfumato.families.base import Family
from sfumato.images import Images
from sfumato.restorers.base import Restorer
from sfumato.tasks.base import Observation

ROUNDS = 20  # of project and clamp; block means agree to about 1e-3 of the range after them, masks after one


def agree(x: Images, observation: Observation) -> Images:
    """Bring x into the range [-1, 1] and into agreement with the measurement, by projecting on each in turn.

    Clamping can break what the projection x + A+ (y - A x) made right, except for masks; both sets are convex, so the
    alternation converges to their intersection (Bauschke and Borwein, 1996, On projection algorithms).
    """
    for _ in range(ROUNDS):
        projected = observation.operator.project(x, observation.y)
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

    def restore(self, observation: Observation, *, rng: Generator) -> Images:
        """One draw for each image."""
        assert self.family is not None
        x = self.family.sample(len(observation), observation=observation, size=observation.known.shape[-1], rng=rng)
        return agree(x, observation) if self.config.project else x
