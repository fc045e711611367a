"""Transformations: how a coupling moves each number, monotone, by what a network said of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from sfumato.config import Strict
from sfumato.kinds import Kind
from sfumato.networks.layers import Maps

TRIES = (
    60  # at a root in a bracket: as many halvings reach the last bit of float64, and Newton's steps take about eight
)
NEAR = 1e-11  # what is left over where nothing has to be tried any more


class Transformation(Kind, ABC, root=True):
    """y = f(x; what was said), elementwise and increasing; of what zeros say it is about the identity."""

    def __init__(self, config: Any):
        self.config: Any = config

    @property
    def outputs(self) -> int:
        """How many numbers have to be said of each."""
        return 1

    @abstractmethod
    def forward(self, x: Maps, said: Maps) -> tuple[Maps, Maps]:
        """y and log dy/dx of each number; `said` has `outputs` times the channels."""

    @abstractmethod
    def inverse(self, y: Maps, said: Maps) -> Maps:
        """x."""


class Additive(Transformation):
    """y = x + t: volumes stay (NICE)."""

    class Config(Strict):
        kind: Literal["additive"] = "additive"

    def forward(self, x: Maps, said: Maps) -> tuple[Maps, Maps]:
        return x + said, torch.zeros_like(x)

    def inverse(self, y: Maps, said: Maps) -> Maps:
        return y - said


class Affine(Transformation):
    """y = exp(s) x + t, s = bound tanh(raw / bound): bounded, or inverses explode (Behrmann et al., 2021).

    Example:
        >>> x = torch.ones(1, 1, 1, 1)
        >>> y, each = Affine(Affine.Config()).forward(x, torch.tensor([0.0, 3.0]).view(1, 2, 1, 1))
        >>> y.item(), each.item()
        (4.0, 0.0)
    """

    class Config(Strict):
        kind: Literal["affine"] = "affine"
        bound: float = Field(default=2.0, gt=0.0)
        """The largest |s|."""

    @property
    def outputs(self) -> int:
        return 2

    def _parts(self, said: Maps) -> tuple[Maps, Maps]:
        raw, t = said.chunk(2, 1)
        return self.config.bound * torch.tanh(raw / self.config.bound), t

    def forward(self, x: Maps, said: Maps) -> tuple[Maps, Maps]:
        s, t = self._parts(said)
        return torch.addcmul(t, x, s.exp()), s

    def inverse(self, y: Maps, said: Maps) -> Maps:
        s, t = self._parts(said)
        return (y - t) * (-s).exp()


class LogisticMixture(Transformation):
    """y = exp(s) logit(F(x)) + t, F the distribution function of a mixture of logistic laws.

    Both tails of F are summed as logarithms, so that nothing overflows where F is 0 or 1. The inverse takes Newton's steps
    in a bracket whose ends are exact, since the answer lies between those of the components alone, and halves it where a step
    would leave it.
    Reference: Ho, Chen, Srinivas, Duan and Abbeel (2019), Flow++, section 3.2.
    """

    class Config(Strict):
        kind: Literal["logistic_mixture"] = "logistic_mixture"
        components: int = Field(default=4, ge=1, le=64)
        """Logistic laws in the mixture."""
        bound: float = Field(default=2.0, gt=0.0)
        """The largest |s|."""

    @property
    def outputs(self) -> int:
        return 2 + 3 * int(self.config.components)

    def _parts(self, said: Maps) -> tuple[Maps, Maps, Tensor, Tensor, Tensor]:
        """s, t; log weights, means and log scales, [K, B, C, H, W]."""
        K = self.config.components
        numbers = torch.stack(said.chunk(self.outputs, 1))
        s = self.config.bound * torch.tanh(numbers[0] / self.config.bound)
        # apart at the beginning: components that are alike would be told the same for ever
        start = torch.linspace(-1.0, 1.0, K, device=said.device, dtype=said.dtype) if K > 1 else said.new_zeros(1)
        means = numbers[2 + K : 2 + 2 * K] + start.view(-1, 1, 1, 1, 1)
        return s, numbers[1], F.log_softmax(numbers[2 : 2 + K], 0), means, numbers[2 + 2 * K :].clamp(min=-5.0)

    @staticmethod
    def _tails(x: Maps, weights: Tensor, means: Tensor, scales: Tensor) -> tuple[Maps, Maps, Tensor]:
        """log F, log(1 - F), and (x - mean) / scale of each component."""
        z = (x - means) * (-scales).exp()
        return (weights + F.logsigmoid(z)).logsumexp(0), (weights + F.logsigmoid(-z)).logsumexp(0), z

    def forward(self, x: Maps, said: Maps) -> tuple[Maps, Maps]:
        s, t, weights, means, scales = self._parts(said)
        below, above, z = self._tails(x, weights, means, scales)
        density = (weights - scales + F.logsigmoid(z) + F.logsigmoid(-z)).logsumexp(0)
        return torch.addcmul(t, below - above, s.exp()), density - below - above + s

    def inverse(self, y: Maps, said: Maps) -> Maps:
        x = self._solved(y.detach(), said.detach())
        if not torch.is_grad_enabled():
            return x
        again, each = self.forward(x, said)
        return (
            x - (again - y) * (-each).detach().clamp(max=20.0).exp()
        )  # one step of Newton's: hardly any change, and the right gradient

    def _solved(self, y: Maps, said: Maps) -> Maps:
        s, t, weights, means, scales = self._parts(said.double())
        wanted = (y.double() - t) * (-s).exp()
        ends = means + scales.exp() * wanted  # of each component alone
        low, high = ends.amin(0), ends.amax(0)
        x = (weights.exp() * ends).sum(0)
        for _ in range(TRIES):
            below, above, z = self._tails(x, weights, means, scales)
            over = below - above - wanted
            if bool((over.abs() <= NEAR * (1 + wanted.abs())).all()):
                break
            low, high = torch.where(over < 0, x, low), torch.where(over < 0, high, x)
            density = (weights - scales + F.logsigmoid(z) + F.logsigmoid(-z)).logsumexp(0)
            step = x - over * (below + above - density).exp()
            x = torch.where((step > low) & (step < high), step, 0.5 * (low + high))
        return x.to(y.dtype)
