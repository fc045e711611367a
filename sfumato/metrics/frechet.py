"""The Frechet distance on features: FID on the 2015 Inception graph's, FD-<features> otherwise, never confused."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from sfumato.maths.gaussians import frechet
from sfumato.maths.moments import Moments
from sfumato.maths.student import student_t
from sfumato.metrics.base import Score
from sfumato.metrics.distribution import DistributionConfig, DistributionMetric, Sample, canonical, draws
from sfumato.metrics.frechet_infinity import LEAST, extrapolate

WIDE = 512  # features above which one distance takes a second or more, so that fewer are made by default


class Frechet(DistributionMetric):
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) between the features of made and true images.

    The interval is value +- t sd of bootstrap replicates that draw the same test images for every method, so that
    two methods can be compared replicate by replicate. Replicates themselves are biased upwards and are not shown.
    The card adds how the figure falls with n (`infinity`) and what two halves of the real images score (`noise_floor`).
    Reference: Heusel et al. (2017), GANs trained by a two time-scale update rule converge to a local Nash equilibrium.
    """

    class Config(DistributionConfig):
        kind: Literal["frechet"] = "frechet"
        replicates: int | None = Field(default=None, ge=0)
        """Bootstrap replicates; 100 up to 512 features and 10 above where left out; 0 for no interval."""
        context: bool = True
        """Whether the card says how the figure falls with n, and the noise floor: about eight distances more."""

    config: Config
    better: ClassVar[Literal["lower", "higher"]] = "lower"
    span = (0.0, None)
    unit: ClassVar[str] = "squared feature units"

    @property
    def label(self) -> str:
        """FID or FD-<features>."""
        return self.features.label

    def judge(self, made: Sample, real: Sample, train: Sample | None = None) -> list[Score]:
        n, d = made.n, made.moments.d
        value = frechet(made.moments, real.moments)
        count = self.config.replicates
        replicates = (100 if d <= WIDE else 10) if count is None else count
        samples = bootstrap(made, real, replicates)
        half = student_t(0.05, len(samples) - 1) * float(torch.tensor(samples).std()) if len(samples) > 1 else None
        few = (
            [f"{n} images for {d} features; below 10 a feature the distance is biased upwards"]
            if 0 < n < 10 * d
            else []
        )
        card = self.card(
            made,
            real,
            "squared Frechet distance of two Gaussians fitted to features (Heusel et al., 2017), no ridge",
            interval=f"Student, sd of {replicates} bootstrap replicates over images" if half is not None else None,
            warnings=few,
            **(context(made, real) if self.config.context else {}),
        )
        return [self.score(value, half, n, samples, "replicates", card)]


def bootstrap(made: Sample, real: Sample, replicates: int) -> list[float]:
    """Distances of sets drawn anew with replacement; pairs draw the same places, so that what they share cancels."""
    if replicates < 2 or made.vectors is None:
        return []
    one = draws(made.n, replicates)
    two = (
        one
        if real.paired and real.n == made.n
        else draws(real.n, replicates, "real")
        if real.vectors is not None
        else None
    )
    answer = []
    for turn in range(replicates):
        other = real.moments if two is None or real.vectors is None else picked(real.vectors, two[turn])
        answer.append(frechet(picked(made.vectors, one[turn]), other))
    return answer


def picked(vectors: Tensor, places: Tensor) -> Moments:
    """The moments of some of the vectors."""
    return Moments.of(vectors[places.to(vectors.device)])


def context(made: Sample, real: Sample) -> dict[str, Any]:
    """How the figure depends on n, and what it would be between two halves of the real images."""
    told: dict[str, Any] = {}
    if made.vectors is not None and made.n >= LEAST:
        line = extrapolate(made.vectors, real.moments, points=5 if made.moments.d > WIDE else 15)
        told["infinity"] = {"value": line.value, "slope": line.slope, "error": line.error, "points": line.points}
    if real.vectors is not None and real.n >= 4:
        halves = canonical(real.vectors).chunk(2)
        told["noise_floor"] = {"value": frechet(*(Moments.of(half) for half in halves)), "n": real.n // 2}
    return told
