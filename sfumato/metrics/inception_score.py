"""The Inception Score: how sure a classifier is of each made image, and how many classes it sees in all of them."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Float, Float64
from pydantic import Field
from torch import Tensor

from sfumato.errors import CapabilityError, ShapeError
from sfumato.features import Classifies, Features
from sfumato.features.lite0 import Lite0
from sfumato.kinds import choice
from sfumato.maths.moments import finite
from sfumato.maths.student import student_t
from sfumato.metrics.base import Score
from sfumato.metrics.distribution import DistributionConfig, DistributionMetric, Sample, canonical


def inception_score(logits: Float[Tensor, "n K"], splits: int = 10) -> Float64[Tensor, " splits"]:
    """exp(mean_x KL(p(y|x) || p(y))) of each of `splits` parts in turn, p(y) being the part's mean of p(y|x); 1 to K.

    Raises: ShapeError: fewer images than parts. DivergedError: a number is not finite.
    Reference: Salimans et al. (2016), Improved techniques for training GANs.

    Example:
        >>> inception_score(1e3 * torch.eye(4), splits=1).round(decimals=6).tolist()
        [4.0]
    """
    if logits.ndim != 2 or len(logits) < splits:
        raise ShapeError(f"{splits} parts need at least as many images; got logits of shape {tuple(logits.shape)}")
    log_p = finite(logits).double().log_softmax(1)
    scores = []
    n = len(log_p)
    for i in range(splits):
        part = log_p[i * n // splits : (i + 1) * n // splits]  # as the score's own code cuts it
        mean = part.logsumexp(0) - math.log(len(part))
        scores.append((part.exp() * (part - mean)).sum(1).mean().exp())
    return torch.stack(scores)


class InceptionScore(DistributionMetric):
    """Mean over ten parts of exp E KL(p(y|x) || p(y)), by the classifier that the features end in; true images play no part.

    Published figures are this mean with the standard deviation over the parts, which the card has too; the interval is
    that of the mean, by Student's law. Images are shuffled first, in a way that does not depend on their order.
    """

    class Config(DistributionConfig):
        kind: Literal["inception_score"] = "inception_score"
        features: Annotated[Any, choice(Features, "lite0")] = Lite0.Config(layer="head")
        """A network that ends in a classifier: inception (IS), lite0 with layer "head", or classifier."""
        splits: int = Field(default=10, ge=1)
        """Parts; 10 as in published figures."""

    config: Config
    truth_is_best: ClassVar[bool] = False
    better: ClassVar[Literal["lower", "higher"]] = "higher"
    span = (1.0, None)
    unit: ClassVar[str] = "classes"

    @property
    def label(self) -> str:
        """IS, or CS-<features> (classifier score)."""
        return self.features.called("IS", "CS")

    def prepare(self, device: torch.device) -> None:
        super().prepare(device)
        self.classifier.logits(torch.zeros(1, self.features.dim))  # lite0 has a classifier behind its last layer only

    @property
    def classifier(self) -> Classifies:
        """The features, which must end in a classifier.

        Raises: CapabilityError: they do not.
        """
        if not isinstance(self.features, Classifies):
            raise CapabilityError(
                f"the Inception Score needs features with a classifier: inception, lite0 with layer head, or classifier;"
                f" not {self.config.features.kind}"
            )
        return self.features

    def judge(self, made: Sample, real: Sample, train: Sample | None = None) -> list[Score]:
        values = inception_score(self.classifier.logits(canonical(made.needed(self.label))), self.config.splits)
        spread = float(values.std()) if len(values) > 1 else None
        half = None if spread is None else student_t(0.05, len(values) - 1) * spread / math.sqrt(len(values))
        card = self.card(
            made,
            None,
            "exp of the mean KL(p(y|x) || p(y)) (Salimans et al., 2016)",
            splits=len(values),
            spread_between_splits=spread,
            interval="Student, over the splits",
        )
        return [self.score(float(values.mean()), half, made.n, values.tolist(), "parts", card)]
