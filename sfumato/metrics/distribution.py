"""Distribution metrics: two sets of feature vectors compared as wholes; what the vectors are is a slot."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, final

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from sfumato.config import Strict
from sfumato.errors import CapabilityError, ShapeError
from sfumato.features import Features, extractor
from sfumato.features.lite0 import Lite0
from sfumato.images import Pixels
from sfumato.kinds import choice
from sfumato.maths.moments import Moments
from sfumato.metrics.base import Metric, Score, clip, mean_score
from sfumato.streams import stream
from sfumato.tasks.base import Observation

FEW = 2048  # images below which every card warns: the Gaussian of the 2015 features is singular there


@dataclass(frozen=True)
class Sample:
    """What is known of one set of images: its vectors, or someone's statistics of them, and where they came from."""

    vectors: Float[Tensor, "n d"] | None
    """None where only mean and covariance are known."""
    known: Moments | None = None
    """Mean and covariance, where they need not be computed from the vectors."""
    about: dict[str, Any] = field(default_factory=dict)
    """For the card: name, n, split, resolution, hash of the content."""
    paired: bool = False
    """Whether image i belongs to image i of the other sample, as in a study."""

    @classmethod
    def of(cls, vectors: Float[Tensor, "n d"], about: dict[str, Any] | None = None, paired: bool = False) -> Sample:
        """A sample of these vectors."""
        return cls(vectors, None, {"n": len(vectors)} | (about or {}), paired)

    @cached_property
    def moments(self) -> Moments:
        """Mean and covariance, computed when they are first asked for: most metrics do not."""
        return self.known if self.known is not None else Moments.of(self.needed("a Frechet distance"))

    @property
    def n(self) -> int:
        """How many images; 0 where the statistics do not say."""
        return len(self.vectors) if self.vectors is not None else self.moments.n

    def needed(self, metric: str) -> Float[Tensor, "n d"]:
        """The vectors themselves.

        Raises: CapabilityError: there are only statistics.
        """
        if self.vectors is None:
            known = "only mean and covariance are known"
            raise CapabilityError(f"{metric} needs the features of every image, but {known} here; give the images")
        return self.vectors


class DistributionConfig(Strict):
    """What is compared."""

    features: Annotated[Any, choice(Features, "lite0")] = Lite0.Config()
    """The vectors: lite0 (offline), inception (FID, KID, IS), dinov2, vgg, classifier."""


class DistributionMetric(Metric, abstract=True):
    """Gathers vectors of made and true images and judges them as two samples, in no particular pairs."""

    paired: ClassVar[bool] = False

    def __init__(self, config: Strict):
        super().__init__(config)
        self._made: list[Float[Tensor, "B d"]] = []
        self._true: list[Float[Tensor, "B d"]] = []
        self._train: list[Float[Tensor, "B d"]] = []
        self._features: Features | None = None
        self._sizes: set[tuple[int, int]] = set()

    @abstractmethod
    def judge(self, made: Sample, real: Sample, train: Sample | None = None) -> list[Score]:
        """The figures for two sets of vectors.

        Raises: ShapeError: too few vectors. CapabilityError: it needs vectors where there are statistics alone.
        """

    @final
    def score(
        self,
        value: float,
        half: float | None,
        n: int,
        samples: Iterable[float],
        resampled: Literal["images", "replicates", "parts"],
        card: dict[str, Any],
    ) -> Score:
        """A figure as a score: value +- half as far as the metric's range goes, and what comparisons resample."""
        return Score(
            label=self.label,
            value=value,
            low=None if half is None else clip(value - half, self.span),
            high=None if half is None else clip(value + half, self.span),
            n=n,
            better=self.better,
            span=self.span,
            unit=self.unit,
            samples=[float(f"{sample:.6g}") for sample in samples],
            resampled=resampled,
            card=card,
        )

    @property
    def features(self) -> Features:
        """The extractor of these settings, on the device of the last images."""
        if self._features is None:
            self._features = extractor(self.config.features, "cpu")
        return self._features

    def prepare(self, device: torch.device) -> None:
        self._features = extractor(self.config.features, device)

    def train(self, images: Pixels) -> None:
        """Take in training images, for a metric that `wants_train`."""
        self._features = extractor(self.config.features, images.device)
        self._train.append(self._features(images).cpu())

    @final
    def update(self, made: Pixels, true: Pixels, observation: Observation) -> None:
        self._features = extractor(self.config.features, made.device)
        self._sizes |= {(made.shape[2], made.shape[3])}
        self._made.append(self._features(made).cpu())
        self._true.append(self._features(true).cpu())

    @final
    def scores(self) -> list[Score]:
        if not self._made:
            raise ShapeError(f"{self.label} needs images; none were given")
        size = " ".join(f"{height} x {width}" for height, width in sorted(self._sizes))
        made = Sample.of(torch.cat(self._made), {"size": size})
        real = Sample.of(
            torch.cat(self._true), {"name": "the true images of the same observations", "size": size}, True
        )
        train = Sample.of(torch.cat(self._train), {"name": "the training images"}) if self._train else None
        return self.judge(made, real, train)

    @final
    def compute(self) -> Score:
        return self.scores()[0]

    def within(self, labels: Int[Tensor, " N"]) -> dict[int, float]:
        made, true = torch.cat(self._made), torch.cat(self._true)
        figures = {}
        for label in labels.unique():
            chosen = labels == label
            if int(chosen.sum()) < 2:
                continue
            try:
                score = self.judge(Sample.of(made[chosen]), Sample.of(true[chosen], paired=True))[0]
            except (ShapeError, CapabilityError):  # too few of this class for this metric
                continue
            figures[int(label)] = score.value
        return figures

    def card(self, made: Sample, real: Sample | None, what: str, **more: Any) -> dict[str, Any]:
        """What every figure says of itself, with warnings where it should not be quoted."""
        warnings = []
        few = [sample.n for sample in (made, real) if sample is not None and 0 < sample.n < FEW]
        if few:
            warnings.append(f"{min(few)} images: below {FEW:,} a figure is not comparable with published ones")
        sizes = [side.about.get("size") for side in (made, real) if side is not None]
        if None not in sizes and len(set(sizes)) > 1:
            warnings.append(f"made images are {sizes[0]} and real ones {sizes[1]}: how each is resized is measured too")
        for side in (made, real):
            if side is not None:
                warnings += side.about.get("warnings", [])
        sides = {"made": made.about} | ({} if real is None else {"real": real.about})
        card: dict[str, Any] = {"what": what, "features": self.features.about(), **sides}
        card |= {"dtype": "float32 features, float64 sums"} | more
        return card | ({"warnings": list(dict.fromkeys(warnings + more.get("warnings", [])))} if warnings else {})

    def mean_score(
        self,
        label: str,
        values: Float64[Tensor, " n"] | Bool[Tensor, " n"],
        unit: str,
        card: dict[str, Any],
        better: Literal["lower", "higher"] = "higher",
    ) -> Score:
        """A figure that is a mean over images, or a share of them."""
        return mean_score(label, values.cpu(), unit, card, better, (0.0, None))


def canonical(vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """The vectors in an order that depends on themselves alone, then shuffled by a fixed stream.

    So a figure that cuts a set into parts does not depend on the order of the files, and classes in turn do no harm.
    """
    weights = torch.randn(vectors.shape[1], generator=stream(0, "order"), dtype=torch.float64).to(vectors.device)
    order = (vectors.double() * weights).sum(1).argsort(stable=True)  # a row's sum does not depend on the others'
    # Keyed by the values, for with the same ranks in every set the luck of a part would never average out
    about = f"{float(vectors.double().mean()):.4g}"
    shuffle = torch.randperm(len(vectors), generator=stream(0, "canonical", len(vectors), about))
    return vectors[order[shuffle.to(order.device)]]


def draws(n: int, replicates: int, *name: str) -> Tensor:
    """Places drawn with replacement, [replicates, n]; the same for every method that is measured on n images."""
    return torch.randint(n, (replicates, n), generator=stream(0, "bootstrap", n, *name))
