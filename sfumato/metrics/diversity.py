"""Diversity: how far several answers to one observation lie apart."""

from __future__ import annotations

from itertools import combinations
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Float64, UInt8
from pydantic import Field
from torch import Tensor

from sfumato.config import Strict
from sfumato.images import Pixels
from sfumato.kinds import choice
from sfumato.metrics.base import Metric, PairedMetric
from sfumato.metrics.best_of import paired
from sfumato.metrics.l1 import L1
from sfumato.tasks.base import Observation


class Diversity(PairedMetric):
    """Mean distance of two of K answers to one observation, over all K (K - 1) / 2 pairs; 0 for a method with one answer.

    More is not always better: an answer that ignores what is known is diverse too. Read it beside the error.
    Reference: Zhu et al. (2017), Toward multimodal image-to-image translation (with LPIPS as the distance).
    """

    class Config(Strict):
        kind: Literal["diversity"] = "diversity"
        distance: Annotated[Any, choice(Metric, "l1")] = L1.Config()
        """How two answers are compared: any paired metric, such as l1, or perceptual."""
        draws: int = Field(default=4, ge=2)
        """K, how many answers are drawn."""

    truth_is_best: ClassVar[bool] = False
    better: ClassVar[Literal["lower", "higher"]] = "higher"
    span = (0.0, None)

    def __init__(self, config: Config):
        super().__init__(config)
        self.distance = paired(config.distance)
        self.unit = self.distance.unit

    @property
    def label(self) -> str:
        """diversity (L1)."""
        return f"diversity ({self.distance.label})"

    @property
    def draws(self) -> int:
        return int(self.config.draws)

    @property
    def region(self) -> str:
        return self.distance.region

    def prepare(self, device: torch.device) -> None:
        self.distance.prepare(device)

    def about(self) -> dict[str, Any]:
        return {"draws": self.draws, "distance": self.config.distance.model_dump(mode="json"), **self.distance.about()}

    def values(self, made: UInt8[Tensor, "K B C H W"], true: Pixels, observation: Observation) -> Float64[Tensor, " B"]:
        """One an image."""
        pairs = [self.distance.values(one, two, observation) for one, two in combinations(made, 2)]
        return torch.stack(pairs).mean(0)
