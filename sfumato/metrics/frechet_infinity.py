"""FID-infinity: the Frechet distance extrapolated to infinitely many made images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from sfumato.errors import ShapeError
from sfumato.maths.gaussians import frechet
from sfumato.maths.moments import Moments
from sfumato.maths.student import student_t
from sfumato.metrics.base import Score
from sfumato.metrics.distribution import DistributionConfig, DistributionMetric, Sample, canonical

LEAST = 10  # made images below which no line is drawn


@dataclass(frozen=True)
class Line:
    """FD(n) = value + slope / n, fitted to distances of parts of the made images."""

    value: float
    """At n = infinity."""
    slope: float
    """By how much the distance of n images is above that, times n."""
    error: float
    """Standard error of `value` from the scatter of the points about the line; parts overlap, so it is a little small."""
    points: list[dict[str, float]]
    """n and distance of each part."""


def extrapolate(made: Float[Tensor, "n d"], real: Moments, points: int = 15) -> Line:
    """Fit FD(m) = a + b / m by least squares to parts of m made images, 1/m evenly spaced from m = n / 10 (or 2 d) to n.

    The bias of the distance is b / m to first order, and b depends on the model: so two models of equal distance at
    10,000 images may differ at infinity. All real images stay in every point, and their own bias with them.

    Raises: ShapeError: fewer than 10 vectors.
    Reference: Chong and Forsyth (2020), Effectively unbiased FID and Inception Score and where to find them.
    """
    n, d = made.shape
    if n < LEAST:
        raise ShapeError(f"{n} images are too few to extrapolate from; give at least {LEAST}")
    least = min(max(n // 10, 2 * d, 2), n // 2)
    inverse = torch.linspace(1 / least, 1 / n, points, dtype=torch.float64)
    sizes = sorted({min(n, max(2, round(1 / float(part)))) for part in inverse})
    vectors = canonical(made)
    distances = []
    for place, size in enumerate(sizes):
        first = (place * n // len(sizes)) % max(n - size + 1, 1)  # parts that overlap as little as they can
        distances.append(frechet(Moments.of(vectors[first : first + size]), real))
    x = torch.tensor([1 / size for size in sizes], dtype=torch.float64)
    y = torch.tensor(distances, dtype=torch.float64)
    centre = x.mean()
    width = (x - centre).square().sum()
    slope = float(((x - centre) * y).sum() / width)
    value = float(y.mean() - slope * centre)
    left = (y - value - slope * x).square().sum() / max(len(sizes) - 2, 1)
    error = math.sqrt(float(left * (1 / len(sizes) + centre**2 / width)))
    points_ = [{"n": size, "distance": distance} for size, distance in zip(sizes, distances, strict=True)]
    return Line(value, slope, error, points_)


class FrechetInfinity(DistributionMetric):
    """The Frechet distance at infinitely many made images: the intercept of FD against 1/n."""

    class Config(DistributionConfig):
        kind: Literal["frechet_infinity"] = "frechet_infinity"
        points: int = Field(default=15, ge=3)
        """How many distances the line is fitted to."""

    config: Config
    better: ClassVar[Literal["lower", "higher"]] = "lower"
    unit: ClassVar[str] = "squared feature units"

    @property
    def label(self) -> str:
        """FID-infinity or FD-infinity-<features>."""
        return self.features.called("FID-infinity", "FD-infinity")

    def judge(self, made: Sample, real: Sample, train: Sample | None = None) -> list[Score]:
        line = extrapolate(made.needed(self.label), real.moments, self.config.points)
        half = student_t(0.05, len(line.points) - 2) * line.error
        card = self.card(
            made,
            real,
            "Frechet distance extrapolated to infinitely many made images (Chong and Forsyth, 2020)",
            infinity={"value": line.value, "slope": line.slope, "error": line.error, "points": line.points},
            interval="Student, standard error of the intercept",
        )
        return [self.score(line.value, half, made.n, [], "replicates", card)]
