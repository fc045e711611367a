"""The exact posterior of a family that has one: fitted once, it answers every linear task."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from sfumato.config import Strict
from sfumato.families.base import Family
from sfumato.families.gaussian import Posterior
from sfumato.images import Images
from sfumato.restorers.base import Restorer
from sfumato.restorers.conditional import agree
from sfumato.streams import Rngs
from sfumato.tasks.base import Observation, Operator


class GaussianPosterior(Restorer):
    """x ~ p(x | y) or E[x | y], exactly, then clamped to [-1, 1] in agreement with y."""

    needs: ClassVar[type | None] = Posterior
    trains_on_tasks: ClassVar[bool] = False

    class Config(Strict):
        kind: Literal["gaussian_posterior"] = "gaussian_posterior"
        answer: Literal["draw", "mean"] = "draw"
        """One draw, which looks like an image, or the mean, which has the smallest squared error."""

    @classmethod
    def answers(cls, operator: Operator) -> bool:
        """Anything linear."""
        return operator.linear

    def restore(self, observation: Observation, *, rng: Rngs) -> Images:
        """No class is told."""
        return self.answer(observation, None, rng=rng)

    def answer(self, observation: Observation, label: Tensor | None, *, rng: Rngs) -> Images:
        """The posterior of the told class where the family has classes."""
        assert isinstance(self.family, Family) and isinstance(self.family, Posterior)
        told = label if self.family.labelled else None
        drawn = rng if self.config.answer != "mean" else None
        return agree(self.family.posterior(observation, drawn, told), observation)
