"""Nats: the negative log-likelihood of an image, as papers on binarised MNIST print it."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from jaxtyping import Float64
from torch import Tensor

from sfumato.config import Strict
from sfumato.metrics.likelihood import LikelihoodMetric


class Nats(LikelihoodMetric):
    """-log p(x) of an image: p a probability of black and white pictures, or the density on [-1, 1]^d of dequantised ones.

    With `vae` it is a bound that tightens with the family's `importance`.
    Reference: Burda, Grosse and Salakhutdinov (2016), Importance weighted autoencoders.
    """

    class Config(Strict):
        kind: Literal["nats"] = "nats"

    unit: ClassVar[str] = "nats"

    @property
    def label(self) -> str:
        """-log p(x)."""
        return "-log p(x)"

    def worth(self, log_prob: Float64[Tensor, " N"], family: Any) -> tuple[Float64[Tensor, " N"], str]:
        """Nats of an image."""
        return -log_prob, "-log of " + ("a density on [-1, 1]^d" if family.density else "a probability of a picture")
