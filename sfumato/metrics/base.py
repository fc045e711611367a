"""Metrics: a number, its 95 % interval, the n it rests on, and a card that says how it was computed.

Pictures arrive as uint8, as anyone would save them; a metric that looks at unrounded tensors measures something else.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float64, Int
from pydantic import Field
from torch import Tensor

from sfumato.config import Strict
from sfumato.data.base import Split
from sfumato.errors import ShapeError
from sfumato.images import Pixels
from sfumato.kinds import Kind
from sfumato.maths.student import Z95, student_t
from sfumato.tasks.base import Observation

Span = tuple[float | None, float | None]
Better = Literal["lower", "higher", "zero"]
WHERE = {"all": "whole", "ring": "ring"}  # what labels add where the region is not the hole


class Score(Strict):
    """One figure and everything needed to trust it or to compare it."""

    label: str
    """How the figure is called in a table."""
    value: float
    """The figure."""
    low: float | None
    """Lower end of the 95 % interval; null where n is 1."""
    high: float | None
    """Upper end of the 95 % interval."""
    n: int
    """How many images it rests on."""
    better: Better
    """Which way is better; zero: the nearer to 0."""
    span: Span = (None, None)
    """The least and the largest value that there can be, where there is one."""
    unit: str
    """The unit of the figure."""
    limit: float | None = None
    """Beyond it a method is shown and not ranked by any figure; null where there is none."""
    samples: list[float]
    """One value an image, a bootstrap replicate or a part; tests between methods are made on these, none where empty."""
    resampled: Literal["images", "replicates", "parts"]
    """What the samples are: values of images, bootstrap replicates, or values of parts of the images."""
    card: dict[str, Any]
    """How it was computed."""

    @property
    def arrow(self) -> str:
        """Which way is better, for a table."""
        return {"lower": "↓", "higher": "↑", "zero": "→0"}[self.better]

    def loss(self, value: float | None = None) -> float:
        """How bad a value of this figure is, its own unless one is given: the smaller the better."""
        value = self.value if value is None else value
        return value if self.better == "lower" else -value if self.better == "higher" else abs(value)

    def clipped(self, value: float) -> float:
        """The value, or the end of the span that it lies beyond."""
        return clip(value, self.span)


def clip(value: float, span: Span) -> float:
    """The value, or the end of the span that it lies beyond.

    Example:
        >>> clip(-0.1, (0.0, None)), clip(3.0, (0.0, 1.0))
        (0.0, 1.0)
    """
    low, high = span
    return min(max(value, -math.inf if low is None else low), math.inf if high is None else high)


class Metric(Kind, ABC, root=True):
    """`update` takes batches, `compute` finishes; the state is the object's own."""

    better: ClassVar[Better]
    paired: ClassVar[bool] = True
    """Whether each made image is compared with its own true one."""
    unit: ClassVar[str]
    span: Span = (None, None)
    """The least and the largest value that the figure can have, where there is one."""
    truth_is_best: ClassVar[bool] = True
    """Whether the true images have the best figure; not so where something else is asked, as how answers differ."""
    needs: ClassVar[type | None] = None
    """What it asks of a family itself (Likelihood ...); None for a metric of images."""
    wants_train: ClassVar[bool] = False
    """Whether it compares with the training images too, which `train` then gives it."""

    def __init__(self, config: Strict):
        self.config: Any = config

    @property
    @abstractmethod
    def label(self) -> str:
        """How the figure is called in a table."""

    @abstractmethod
    def update(self, made: Pixels, true: Pixels, observation: Observation) -> None:
        """Take in a batch."""

    @abstractmethod
    def compute(self) -> Score:
        """The figure for all that was taken in; the first one where there are several.

        Raises: ShapeError: nothing was.
        """

    def scores(self) -> list[Score]:
        """All figures, where one piece of work gives several."""
        return [self.compute()]

    @property
    def draws(self) -> int:
        """How many answers to each observation it wants; above 1, `made` is [K, B, C, H, W]."""
        return 1

    def prepare(self, device: torch.device) -> None:
        """Load what the metric needs, so that a missing file is found before hours of training and not after."""

    def train(self, images: Pixels) -> None:
        """Take in training images, where the metric `wants_train`."""

    def within(self, labels: Int[Tensor, " N"]) -> dict[int, float]:
        """The figure within each class of the images taken in so far; empty for a metric that has none there."""
        return {}

    def measure_model(self, family: Any, split: Split, *, seed: int, batch: int) -> list[Score]:
        """Figures of a family that is a `needs`, on a part of the data."""
        return []

    def applies(self, observation: Observation) -> bool:
        """Whether the figure means anything for this kind of observation."""
        return not self.paired or not observation.empty


class RegionConfig(Strict):
    """Where a paired metric looks."""

    region: Literal["hole", "all", "ring"] = "hole"
    """hole: only pixels that had to be made; all: the known ones too, which flatters every method alike; ring: a band along
    the edge of the hole, on both sides of it, where a seam would show."""
    ring: int = Field(default=2, ge=1)
    """How many pixels the ring reaches to either side of the edge."""


class PairedMetric(Metric, ABC, abstract=True):
    """A mean over images of one value an image, with Student's interval: value +- t sd / sqrt(n)."""

    limit: ClassVar[float | None] = None
    """A value beyond which a method is shown and not ranked: where it is no fair answer, as a copy is none."""
    same_size: ClassVar[bool] = True
    """Whether both images must have the same rows and columns."""

    def __init__(self, config: Strict):
        super().__init__(config)
        self._values: list[Float64[Tensor, " B"]] = []

    @abstractmethod
    def values(self, made: Pixels, true: Pixels, observation: Observation) -> Float64[Tensor, " B"]:
        """One value an image; NaN where it is not defined."""

    @property
    def region(self) -> str:
        """hole, all or ring."""
        return str(getattr(self.config, "region", "all"))

    def named(self, name: str) -> str:
        """A label that says the region where it is not the hole."""
        return f"{name} ({WHERE[self.region]})" if self.region in WHERE else name

    def about(self) -> dict[str, Any]:
        """What this metric adds to its card."""
        return {}

    def weight(self, observation: Observation) -> Float64[Tensor, "B 1 H W"]:
        """1 where the metric looks."""
        known = observation.known.double()
        looks = {"hole": lambda: 1.0 - known, "ring": lambda: edge(known, self.config.ring)}
        return looks.get(self.region, lambda: torch.ones_like(known))()

    @final
    def update(self, made: Pixels, true: Pixels, observation: Observation) -> None:
        shape = made.shape[1:] if self.draws > 1 else made.shape
        fits = shape == true.shape if self.same_size else shape[:2] == true.shape[:2]
        if not fits or made.dtype != torch.uint8 or true.dtype != torch.uint8:
            raise ShapeError(
                f"made is {made.dtype} {tuple(made.shape)}, true is {true.dtype} {tuple(true.shape)}; "
                "two uint8 batches of one shape are needed"
            )
        self._values.append(self.values(made, true, observation).cpu())

    def defined(self) -> list[bool]:
        """For each image so far, whether it has a value."""
        return torch.cat(self._values).isfinite().tolist() if self._values else []

    @final
    def within(self, labels: Int[Tensor, " N"]) -> dict[int, float]:
        values = torch.cat(self._values)
        means = {int(label): float(values[labels == label].nanmean()) for label in labels.unique()}
        return {label: mean for label, mean in means.items() if math.isfinite(mean)}

    @final
    def compute(self) -> Score:
        values = torch.cat(self._values) if self._values else torch.empty(0, dtype=torch.float64)
        defined = values[values.isfinite()]
        n = len(defined)
        if n == 0:
            raise ShapeError(f"{self.label} has no image to look at; give at least one with pixels to be made")
        card: dict[str, Any] = {"what": (type(self).__doc__ or "").split("\n")[0], "region": self.region}
        card |= {
            "interval": "Student, over images",
            "dtype": "float64 on uint8 pixels",
            "undefined_images": len(values) - n,
            **self.about(),
        }
        score = mean_score(self.label, defined, self.unit, card, self.better, self.span)
        return score.model_copy(update={"limit": self.limit})


def mean_score(
    label: str,
    values: Float64[Tensor, " n"] | Bool[Tensor, " n"],
    unit: str,
    card: dict[str, Any],
    better: Better,
    span: Span = (None, None),
) -> Score:
    """A figure that is a mean over images: mean +- t sd / sqrt(n) with Student's t, and Wilson's interval for a share."""
    share, values = values.dtype == torch.bool, values.double()
    n, mean = len(values), float(values.mean())
    low = high = None
    if share:
        low, high = wilson(mean, n)
        card = card | {"interval": card["interval"].replace("Student", "Wilson")} if "interval" in card else card
    elif n > 1:
        half = student_t(0.05, n - 1) * float(values.std()) / math.sqrt(n)
        low, high = clip(mean - half, span), clip(mean + half, span)
    return Score(
        label=label,
        value=mean,
        low=low,
        high=high,
        n=n,
        better=better,
        span=(0.0, 1.0) if share else span,
        unit=unit,
        samples=[float(f"{value:.6g}") for value in values.tolist()],
        resampled="images",
        card=card,
    )


def wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of n: it does not leave [0, 1] and is not empty where all or none of n have it.

    Reference: Wilson (1927), Probable inference, the law of succession, and statistical inference.

    Example:
        >>> [round(end, 3) for end in wilson(0.0, 100)], [round(end, 3) for end in wilson(0.5, 100)]
        ([0.0, 0.037], [0.404, 0.596])
    """
    z = Z95**2 / n
    middle = (share + z / 2) / (1 + z)
    half = math.sqrt(share * (1 - share) * z + z**2 / 4) / (1 + z)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def edge(known: Float64[Tensor, "B 1 H W"], width: int) -> Float64[Tensor, "B 1 H W"]:
    """1 within `width` pixels (by rows, columns and diagonals) of both a known and an unknown pixel.

    Example:
        >>> edge(torch.tensor([[[[1.0, 1.0, 1.0, 0.0, 0.0, 0.0]]]]), 1).flatten().tolist()
        [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]
    """

    def grown(mask: Tensor) -> Tensor:
        return F.max_pool2d(mask, 2 * width + 1, stride=1, padding=width)

    return grown(known) * grown(1.0 - known)


def region_mean(error: Float[Tensor, "B C H W"], weight: Float[Tensor, "B 1 H W"]) -> Float64[Tensor, " B"]:
    """Mean over channels and over the pixels of weight 1, one number an image; NaN where there is no such pixel."""
    total = (error * weight).sum(dim=(1, 2, 3))
    return total / (weight.sum(dim=(1, 2, 3)) * error.shape[1])
