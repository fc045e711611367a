"""Chain: a small picture enlarged step by step, each by a model of its own (SR3)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch

from sfumato.config import Strict
from sfumato.families.abilities import Enlarges
from sfumato.images import Images
from sfumato.restorers.base import Restorer, agree
from sfumato.streams import Rngs
from sfumato.tasks.base import Observation, Operator


class Chain(Restorer):
    """x = upper(... upper(y)): the enlarging parts of a cascade on a picture that was measured, then agreement with it.

    Reference: Saharia et al. (2023), Image super-resolution via iterative refinement, section 3.
    """

    needs: ClassVar[type | None] = Enlarges
    trains_on_tasks: ClassVar[bool] = False

    class Config(Strict):
        kind: Literal["chain"] = "chain"

    @classmethod
    def answers(cls, operator: Operator) -> bool:
        """What shrinks."""
        return operator.shrinks

    @torch.no_grad()
    def restore(self, observation: Observation, *, rng: Rngs) -> Images:
        """One draw for each image.

        Raises: CapabilityError: nothing was made smaller.
        """
        self.check(observation)
        family: Any = self.family
        return agree(family.enlarge(observation.y, rng), observation)

    def calls(self) -> int:
        """Those of all enlarging parts, which a picture of the smallest size goes through."""
        family, calls = self.family, 0
        while isinstance(family, Enlarges):
            calls, family = calls + int(family.upper.calls()), family.base
        return calls
