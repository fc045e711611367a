"""Memorisation: are made images nearer to the training images than they ought to be?"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from jaxtyping import Float64
from torch import Tensor

from sfumato.errors import CapabilityError
from sfumato.maths.neighbours import nearest
from sfumato.metrics.base import Score
from sfumato.metrics.distribution import DistributionConfig, DistributionMetric, Sample


class Memorisation(DistributionMetric):
    """AuthPct and C_T, from the distance of each image to its nearest training image.

    AuthPct is the share of made images that lie farther from their nearest training image than that image lies from its
    own nearest neighbour in the training set; a copy lies nearer. C_T is the z of the Mann-Whitney test that made images
    are no nearer to the training images than held-out real ones: about 0 where nothing is memorised, below -3 for copies,
    far above 0 for images unlike any. Copies to the last bit are counted on the card.
    References: Alaa et al. (2022), How faithful is your synthetic data?; Meehan, Chaudhuri and Dasgupta (2020), A
    non-parametric test to detect data-copying in generative models (their test with one cell).
    """

    wants_train: ClassVar[bool] = True
    truth_is_best: ClassVar[bool] = False

    class Config(DistributionConfig):
        kind: Literal["memorisation"] = "memorisation"

    config: Config
    better: ClassVar[Literal["lower", "higher"]] = "higher"
    unit: ClassVar[str] = "of 1"

    @property
    def label(self) -> str:
        """AuthPct-<features>."""
        return self.features.called("AuthPct", "AuthPct")

    def judge(self, made: Sample, real: Sample, train: Sample | None = None) -> list[Score]:
        if train is None:
            raise CapabilityError("memorisation needs the training images; give them with --train, or leave it out")
        x, y, t = (sample.needed(self.label) for sample in (made, real, train))
        found = nearest(x, t)
        distance, index = found.distance[:, 0], found.index[:, 0]
        held_out = nearest(y, t).distance[:, 0]
        authentic = distance > nearest(t).distance[:, 0][index]
        copies = int((distance <= 1e-9 * (1 + t.double().square().mean().sqrt())).sum())
        told = {"train": train.about, "copies": copies, "interval": "Student, over images"}
        card = self.card(made, real, "share of authentic images (Alaa et al., 2022)", **told)
        z = mann_whitney(distance, held_out)
        median = {"median_distance_made": float(distance.median()), "median_distance_real": float(held_out.median())}
        return [
            self.mean_score(self.label, authentic, self.unit, card),
            Score(
                label=self.features.called("CT", "CT"),
                value=z,
                low=z - 1.96,
                high=z + 1.96,
                n=made.n,
                better="zero",
                unit="standard deviations",
                samples=[],
                resampled="images",
                card=card
                | {"what": "Mann-Whitney z of made against held-out real images (Meehan et al., 2020)"}
                | {"interval": "normal, z +- 1.96"}
                | median,
            ),
        ]


def mann_whitney(x: Float64[Tensor, " m"], y: Float64[Tensor, " n"]) -> float:
    """z = (U - m n / 2) / sd with U = #{x_i > y_j} + #{x_i = y_j} / 2 and the variance under ties.

    Reference: Mann and Whitney (1947), On a test of whether one of two random variables is stochastically larger.

    Example:
        >>> round(mann_whitney(torch.arange(10.0).double() + 20, torch.arange(10.0).double()), 3)
        3.78
    """
    m, n = len(x), len(y)
    _, inverse, counts = torch.cat([x, y]).unique(return_inverse=True, return_counts=True)
    ranks = (counts.cumsum(0) - (counts - 1) / 2.0)[inverse]
    u = float(ranks[:m].sum()) - m * (m + 1) / 2
    ties = float((counts.double() ** 3 - counts).sum()) / ((m + n) * (m + n - 1))
    variance = m * n / 12 * (m + n + 1 - ties)
    return (u - m * n / 2) / math.sqrt(variance) if variance > 0 else 0.0
