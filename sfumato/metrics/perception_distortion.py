"""Perception and distortion: the two figures that no method can both make best."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field

from sfumato.config import Strict
from sfumato.images import Pixels
from sfumato.kinds import build, choice
from sfumato.metrics.base import Metric, Score
from sfumato.metrics.best_of import paired
from sfumato.metrics.frechet import Frechet
from sfumato.metrics.mse import MSE
from sfumato.tasks.base import Observation


class PerceptionDistortion(Metric):
    """A pair: how unlike the law of true images the answers are, and how far each is from its own true image.

    Below a certain curve no method can go: a better fit to the law costs error, and the least error, the posterior mean,
    is unlike any image. The report draws the plane; a method with another below and to the left of it is beaten.
    Reference: Blau and Michaeli (2018), The perception-distortion tradeoff.
    """

    class Config(Strict):
        kind: Literal["perception_distortion"] = "perception_distortion"
        perception: Annotated[Any, choice(Metric, "frechet")] = Field(default_factory=Frechet.Config)
        """A metric of laws, such as frechet or kernel."""
        distortion: Annotated[Any, choice(Metric, "mse")] = MSE.Config(region="all")
        """A paired metric, such as mse over the whole image."""

    better: ClassVar[Literal["lower", "higher"]] = "lower"
    unit: ClassVar[str] = "two units"

    def __init__(self, config: Config):
        super().__init__(config)
        self.perception: Metric = build(config.perception)
        self.distortion = paired(config.distortion)

    @property
    def label(self) -> str:
        """perception (FD-lite0); the other is distortion (MSE (whole))."""
        return f"perception ({self.perception.label})"

    def prepare(self, device: torch.device) -> None:
        self.perception.prepare(device)
        self.distortion.prepare(device)

    def update(self, made: Pixels, true: Pixels, observation: Observation) -> None:
        self.perception.update(made, true, observation)
        self.distortion.update(made, true, observation)

    def scores(self) -> list[Score]:
        pair = ("perception", self.perception.compute()), ("distortion", self.distortion.compute())
        return [
            score.model_copy(update={"label": f"{axis} ({score.label})", "card": {**score.card, "plane": axis}})
            for axis, score in pair
        ]

    def compute(self) -> Score:
        return self.scores()[0]
