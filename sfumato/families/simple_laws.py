"""Simple laws: those that flows move images to."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sfumato.config import Strict
from sfumato.kinds import Kind
from sfumato.streams import Rngs, normals, uniforms

EDGE = 1e-6  # how near to 0 and 1 a uniform number comes whose logit is taken


class SimpleLaw(Kind, ABC, root=True):
    """A law of d numbers, each on its own."""

    def __init__(self, config: Any):
        self.config: Any = config

    @abstractmethod
    def log_prob(self, z: Float[Tensor, "B d"]) -> Float[Tensor, " B"]:
        """Nats."""

    @abstractmethod
    def draw(self, n: int, d: int, rng: Rngs) -> Float[Tensor, "n d"]:
        """n vectors."""


class Normal(SimpleLaw):
    """N(0, I)."""

    class Config(Strict):
        kind: Literal["normal"] = "normal"

    def log_prob(self, z: Float[Tensor, "B d"]) -> Float[Tensor, " B"]:
        return -0.5 * (z.square().sum(1) + z.shape[1] * math.log(2 * math.pi))

    def draw(self, n: int, d: int, rng: Rngs) -> Float[Tensor, "n d"]:
        return normals(rng, n, d)


class Logistic(SimpleLaw):
    """The logistic law, with heavier tails (NICE's)."""

    class Config(Strict):
        kind: Literal["logistic"] = "logistic"

    def log_prob(self, z: Float[Tensor, "B d"]) -> Float[Tensor, " B"]:
        return (F.logsigmoid(z) + F.logsigmoid(-z)).sum(1)

    def draw(self, n: int, d: int, rng: Rngs) -> Float[Tensor, "n d"]:
        return uniforms(rng, n, d).clamp(EDGE, 1 - EDGE).logit()
