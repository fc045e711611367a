"""MIND: how far made features lie from real ones, along random directions; a few thousand images are enough."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Float64
from pydantic import Field
from torch import Tensor

from sfumato.errors import ShapeError
from sfumato.maths.student import student_t
from sfumato.metrics.base import Score
from sfumato.metrics.distribution import DistributionConfig, DistributionMetric, Sample, canonical, draws
from sfumato.streams import stream

AT_ONCE = 250  # directions that are sorted at once, and on which replicates are judged


def directions(d: int, count: int) -> Float64[Tensor, "d count"]:
    """Unit vectors drawn uniformly by a fixed stream, the same for every pair of sets."""
    drawn = torch.randn(d, count, generator=stream(0, "directions", d), dtype=torch.float64)
    return drawn / drawn.norm(dim=0)


def mind(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], count: int = 1000) -> float:
    """3 d times the mean over unit directions u of W2^2 between the sorted u.x and u.y.

    Of unequal sets the larger is cut to the smaller, in an order that depends on its vectors alone. For N(0, I) and
    N(mu 1, I) it is 3 d mu^2 and what finite sets add.
    Reference: Monge Inception Distance (2026), arXiv 2605.06797.

    Example:
        >>> x = torch.randn(500, 4, generator=stream(0, "x"))
        >>> 2.9 < mind(x, x + 0.5) < 3.1  # 3 x 4 x 0.25, up to the directions drawn
        True
    """
    if min(len(x), len(y)) < 2:
        raise ShapeError(f"{len(x)} and {len(y)} vectors have no distance of laws; give at least 2 of each")
    n = min(len(x), len(y))
    x, y = (part if len(part) == n else canonical(part)[:n] for part in (x, y))
    u = directions(x.shape[1], count).to(x.device)
    parts = [_mean_square(x.double() @ some, y.double() @ some) * some.shape[1] for some in u.split(AT_ONCE, dim=1)]
    return 3 * x.shape[1] * sum(parts) / count


def _mean_square(a: Tensor, b: Tensor) -> float:
    """The mean over columns of W2^2 between their values."""
    return float((a.sort(0).values - b.sort(0).values).square().mean())


class MIND(DistributionMetric):
    """3 d E_u W2^2 between features projected on random unit directions u: no Gaussian is fitted, tails count.

    Its bias falls faster with n than that of a Frechet distance, so it is the figure to read at a few thousand images; the
    card has its noise floor, the figure between two halves of the real images.
    Reference: Monge Inception Distance (2026), arXiv 2605.06797.
    """

    class Config(DistributionConfig):
        kind: Literal["mind"] = "mind"
        directions: int = Field(default=1000, ge=1)
        """Unit directions, drawn once for all."""
        replicates: int = Field(default=30, ge=0)
        """Bootstrap replicates on the first 250 directions; 0 for no interval."""

    config: Config
    better: ClassVar[Literal["lower", "higher"]] = "lower"
    span = (0.0, None)
    unit: ClassVar[str] = "squared feature units"

    @property
    def label(self) -> str:
        """MIND, or MIND-<features> off the 2015 graph."""
        return self.features.called("MIND", "MIND")

    def judge(self, made: Sample, real: Sample, train: Sample | None = None) -> list[Score]:
        x, y = made.needed(self.label), real.needed(self.label)
        value = mind(x, y, self.config.directions)
        samples = self._replicates(made, real)
        half = student_t(0.05, len(samples) - 1) * float(torch.tensor(samples).std()) if len(samples) > 1 else None
        floor = {}
        if len(y) >= 4:
            one, two = canonical(y).chunk(2)
            floor = {"noise_floor": {"value": mind(one, two, self.config.directions), "n": len(two)}}
        interval = f"Student, sd of {len(samples)} bootstrap replicates over images" if half is not None else None
        what = "3 d times the mean squared Wasserstein-2 distance over random directions (MIND, 2026)"
        card = self.card(made, real, what, directions=self.config.directions, interval=interval, **floor)
        return [self.score(value, half, made.n, samples, "replicates", card)]

    def _replicates(self, made: Sample, real: Sample) -> list[float]:
        """Figures of sets drawn anew with replacement; pairs draw the same places, so that what they share cancels."""
        x, y = made.needed(self.label), real.needed(self.label)
        count = self.config.replicates
        if count < 2:
            return []
        u = directions(x.shape[1], min(self.config.directions, AT_ONCE)).to(x.device)
        a, b, n = x.double() @ u, y.double() @ u, min(len(x), len(y))
        one = draws(len(x), count)
        two = one if real.paired and len(x) == len(y) else draws(len(y), count, "real")
        scale = 3 * x.shape[1]
        return [
            scale * _mean_square(a[one[turn, :n].to(a.device)], b[two[turn, :n].to(b.device)]) for turn in range(count)
        ]
