"""Precision, recall, density, coverage: how two sets of vectors overlap, seen through balls around each of them."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from sfumato.maths.neighbours import nearest, supported
from sfumato.metrics.base import Score
from sfumato.metrics.distribution import DistributionConfig, DistributionMetric, Sample


class Support(DistributionMetric):
    """Four shares, from balls around each image that reach its k-th neighbour in its own set.

    precision: made images inside some real ball; recall: real images inside some made ball; density: how many real balls
    hold a made image, over k (it may exceed 1); coverage: real balls that hold a made image. Supports are those of finite
    samples: only figures at equal n are comparable. An interval is that of a mean over images with the balls held fixed.
    References: Kynkaanniemi et al. (2019), Improved precision and recall metric for assessing generative models (k = 3);
    Naeem et al. (2020), Reliable fidelity and diversity metrics for generative models (k = 5).
    """

    class Config(DistributionConfig):
        kind: Literal["support"] = "support"
        k: int = Field(default=3, ge=1)
        """Neighbours that a ball of precision and recall reaches."""
        k_density: int = Field(default=5, ge=1)
        """Neighbours that a ball of density and coverage reaches."""

    config: Config
    better: ClassVar[Literal["lower", "higher"]] = "higher"
    unit: ClassVar[str] = "of 1"

    @property
    def label(self) -> str:
        """precision-<features>; the other three are named alike."""
        return self._called("precision")

    def _called(self, name: str) -> str:
        return self.features.called(name, name)

    def judge(self, made: Sample, real: Sample, train: Sample | None = None) -> list[Score]:
        x, y = made.needed(self.label), real.needed(self.label)
        k, k_density = self.config.k, self.config.k_density
        around_real = nearest(y, k=max(k, k_density)).distance[:, [k - 1, k_density - 1]]
        around_made = nearest(x, k=k).distance[:, k - 1]
        by_support, by_density, reverse = supported(x, y, around_real, reverse=around_made)
        told = {"interval": "Student, over images, balls held fixed"}
        balls = self.card(
            made, real, "share of made images within a real ball (Kynkaanniemi et al., 2019)", k=k, **told
        )
        dense = balls | {"what": "real balls around a made image, over k (Naeem et al., 2020)", "k": k_density}
        return [
            self.mean_score(self._called("precision"), by_support.covering > 0, self.unit, balls),
            self.mean_score(
                self._called("recall"),
                reverse.covering > 0,
                self.unit,
                balls | {"what": "share of real images within a made ball (Kynkaanniemi et al., 2019)"},
            ),
            self.mean_score(self._called("density"), by_density.covering.double() / k_density, self.unit, dense),
            self.mean_score(
                self._called("coverage"),
                by_density.reached,
                self.unit,
                dense | {"what": "share of real balls that hold a made image (Naeem et al., 2020)"},
            ),
        ]
