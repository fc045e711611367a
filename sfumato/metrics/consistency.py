"""Consistency: does the answer agree with what was measured?"""

from __future__ import annotations

from typing import ClassVar, Literal

from jaxtyping import Float64
from torch import Tensor

from sfumato.config import Strict
from sfumato.images import PEAK, Pixels, to_float
from sfumato.metrics.base import PairedMetric
from sfumato.tasks.base import Observation


class Consistency(PairedMetric):
    """Mean |A x-hat - y| over what was measured, in levels of 255: 0 for an answer that keeps every given value."""

    class Config(Strict):
        kind: Literal["consistency"] = "consistency"

    better: ClassVar[Literal["lower", "higher"]] = "lower"
    span = (0.0, None)
    unit: ClassVar[str] = "levels of 255"

    @property
    def label(self) -> str:
        """|Ax-y|."""
        return "|Ax-y|"

    def applies(self, observation: Observation) -> bool:
        """Only where y binds the answer: with noise, or without an operator, nobody has to agree with it."""
        return super().applies(observation) and observation.exact

    def values(self, made: Pixels, true: Pixels, observation: Observation) -> Float64[Tensor, " B"]:
        """One an image; for masks only known pixels count, since A leaves the others at 0."""
        error = (observation.operator.forward(to_float(made)) - observation.y).abs().double() * (PEAK / 2)
        known = observation.known.double()
        measured = known.sum(dim=(1, 2, 3)) * error.shape[1]
        everything = error[0].numel()
        # A mask measures its known pixels, any other operator all of y.
        count = measured if observation.operator.hides else measured.new_full(measured.shape, everything)
        return error.sum(dim=(1, 2, 3)) / count
