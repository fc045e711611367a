"""Best of K: the best of several answers to one observation, judged by the truth that a user does not have."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Float64, UInt8
from pydantic import Field
from torch import Tensor

from sfumato.config import Strict
from sfumato.errors import ConfigError
from sfumato.images import Pixels
from sfumato.kinds import build, choice
from sfumato.metrics.base import Better, Metric, PairedMetric
from sfumato.metrics.l1 import L1
from sfumato.tasks.base import Observation


def paired(config: Strict) -> PairedMetric:
    """The paired metric of these settings, of one answer an image.

    Raises: ConfigError: it is not one.
    """
    metric = build(config)
    if not isinstance(metric, PairedMetric) or metric.draws > 1:
        raise ConfigError(
            f"a paired metric of one answer is needed here, such as l1 or perceptual; {metric.label} is none"
        )
    return metric


class BestOf(PairedMetric):
    """Mean over images of the best value among K answers: whether the truth is among what a model finds plausible.

    K is part of the figure: it can only improve with K, and a method with one answer does not gain.
    """

    class Config(Strict):
        kind: Literal["best_of"] = "best_of"
        metric: Annotated[Any, choice(Metric, "l1")] = L1.Config()
        """What is best: any paired metric."""
        draws: int = Field(default=4, ge=2)
        """K, how many answers are drawn."""

    better: ClassVar[Better] = "lower"  # of the object: that of its metric

    def __init__(self, config: Config):
        super().__init__(config)
        self.metric = paired(config.metric)
        self.unit, self.better, self.span = self.metric.unit, self.metric.better, self.metric.span

    @property
    def label(self) -> str:
        """L1 best of 4."""
        return f"{self.metric.label} best of {self.draws}"

    @property
    def draws(self) -> int:
        return int(self.config.draws)

    @property
    def region(self) -> str:
        return self.metric.region

    def prepare(self, device: torch.device) -> None:
        self.metric.prepare(device)

    def about(self) -> dict[str, Any]:
        return {"draws": self.draws, "metric": self.config.metric.model_dump(mode="json"), **self.metric.about()}

    def values(self, made: UInt8[Tensor, "K B C H W"], true: Pixels, observation: Observation) -> Float64[Tensor, " B"]:
        """One an image."""
        found = torch.stack([self.metric.values(answer, true, observation) for answer in made])
        best = {"lower": found, "higher": -found, "zero": found.abs()}[self.better].argmin(0)
        return found.gather(0, best[None])[0]
