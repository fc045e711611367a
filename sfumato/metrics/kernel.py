"""The kernel distance: KID on the 2015 Inception graph's features, KD-<features> otherwise; unbiased at every n, and exact."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field

from sfumato.maths.kernels import cubic_mmd
from sfumato.maths.student import student_t
from sfumato.metrics.base import Score
from sfumato.metrics.distribution import DistributionConfig, DistributionMetric, Sample, canonical
from sfumato.streams import stream


class Kernel(DistributionMetric):
    """Unbiased MMD^2 of the cubic kernel (a . b / d + 1)^3 over all pairs of images, with a jackknife interval.

    Where `subsets` is set it is the mean over so many random subsets of `subset_size`, as published figures are: the same
    quantity with more noise. Subsets as large as a set would all be the same, so all pairs are taken then. It may be a
    little below 0 where the sets are alike.
    Reference: Binkowski, Sutherland, Arbel and Gretton (2018), Demystifying MMD GANs.
    """

    class Config(DistributionConfig):
        kind: Literal["kernel"] = "kernel"
        subsets: int = Field(default=0, ge=0)
        """0 for all pairs; else the number of random subsets, of which published figures use 100."""
        subset_size: int = Field(default=1000, ge=2)
        """Images of each set in a subset, drawn without replacement."""

    config: Config
    better: ClassVar[Literal["lower", "higher"]] = "lower"
    unit: ClassVar[str] = "squared kernel units"

    @property
    def label(self) -> str:
        """KID or KD-<features>."""
        return self.features.called("KID", "KD")

    def judge(self, made: Sample, real: Sample, train: Sample | None = None) -> list[Score]:
        x, y = made.needed(self.label), real.needed(self.label)
        what = "unbiased squared MMD of the kernel (a.b/d + 1)^3 (Binkowski et al., 2018)"
        fewest, told = min(len(x), len(y)), {}
        if self.config.subsets and self.config.subset_size < fewest:
            return [self._by_subsets(made, real, what)]
        if self.config.subsets:
            refused = f"subsets of {self.config.subset_size:,} were refused, since a set has {fewest:,} images"
            told = {"warnings": [f"{refused}: all pairs were taken"]}
        found = cubic_mmd(x, y)
        half = None if found.error is None else student_t(0.05, min(len(x), len(y)) - 1) * found.error
        influence = found.influence[found.influence.isfinite()]
        card = self.card(made, real, what, pairs="all", interval="Student, jackknife over both sets", **told)
        return [self.score(found.value, half, made.n, influence.tolist(), "images", card)]

    def _by_subsets(self, made: Sample, real: Sample, what: str) -> Score:
        x, y = canonical(made.needed(self.label)), canonical(real.needed(self.label))
        size = self.config.subset_size
        values = []
        for turn in range(self.config.subsets):
            parts = []
            for name, part in (("made", x), ("real", y)):
                places = torch.randperm(len(part), generator=stream(0, "subset", name, turn))[:size]
                parts.append(part[places.to(part.device)])
            values.append(cubic_mmd(*parts).value)
        found = torch.tensor(values, dtype=torch.float64)
        half = student_t(0.05, len(values) - 1) * float(found.std()) / len(values) ** 0.5 if len(values) > 1 else None
        spread = float(found.std()) if len(values) > 1 else None
        subsets = {"subsets": self.config.subsets, "subset_size": size, "spread_between_subsets": spread}
        interval = "Student, over subsets; it holds the noise of drawing them and not that of the images"
        card = self.card(made, real, what, pairs=subsets, interval=interval)
        return self.score(float(found.mean()), half, made.n, values, "parts", card)
