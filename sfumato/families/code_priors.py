"""Priors over codes: a slot of the families that code images, for a sequence of numbers below K."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Generator, Tensor, nn

from sfumato.config import Strict
from sfumato.kinds import Kind
from sfumato.networks.transformer import Transformer
from sfumato.streams import Rngs, uniforms

Codes = Int64[Tensor, "B n"]


class PriorConfig(Strict):
    """What every prior over codes has."""

    width: float = Field(default=128, gt=0)
    """Length of the vectors."""
    depth: int = Field(default=4, ge=1)
    """Blocks."""


class CodePrior(Kind, nn.Module, ABC, root=True):
    """p(codes | what is told) by a transformer."""

    causal: bool

    def __init__(
        self, config: PriorConfig, codes: int, length: int, condition: int = 0, observed: int = 0, classes: int = 0
    ):
        """`condition` numbers are observed at each of `observed` places."""
        super().__init__()
        self.config: Any = config
        self.codes, self.length = codes, length
        width, depth = self.config.width, self.config.depth
        self.network = Transformer(codes + 1, codes, length, width, depth, condition, observed, self.causal)
        self.told = nn.Embedding(max(classes, 1), self.network.width)

    def logits(self, tokens: Codes, label: Int64[Tensor, " B"] | None, seen: Tensor | None) -> Float[Tensor, "B n K"]:
        """What the transformer says of each place."""
        label = torch.zeros(len(tokens), dtype=torch.int64, device=tokens.device) if label is None else label
        out: Tensor = self.network(tokens, self.told(label), seen)
        return out.float()

    @abstractmethod
    def nats(
        self, codes: Codes, label: Int64[Tensor, " B"] | None, seen: Tensor | None, rng: Generator
    ) -> Float[Tensor, " B"]:
        """-log p(codes) of each sequence, or an unbiased estimate of a bound on it."""

    @abstractmethod
    def draw(self, n: int, label: Int64[Tensor, " B"] | None, seen: Tensor | None, rng: Rngs) -> Codes:
        """n sequences."""

    def calls(self) -> int:
        """Passes of the transformer for one sequence."""
        return self.length


class Autoregressive(CodePrior):
    """-sum_i log p(c_i | c_1 .. c_(i-1)): one code after the other, exactly (van den Oord et al., 2017, section 3.3)."""

    causal = True

    class Config(PriorConfig):
        kind: Literal["autoregressive"] = "autoregressive"
        temperature: float = Field(default=1.0, gt=0.0)
        """Below 1 likelier codes are drawn more often than they should be."""

    def _before(self, codes: Codes) -> Codes:
        """The codes one place later, the first token standing for the beginning."""
        return F.pad(codes[:, :-1], (1, 0), value=self.codes)

    def nats(
        self, codes: Codes, label: Int64[Tensor, " B"] | None, seen: Tensor | None, rng: Generator
    ) -> Float[Tensor, " B"]:
        logits = self.logits(self._before(codes), label, seen)
        return F.cross_entropy(logits.transpose(1, 2), codes, reduction="none").sum(1)

    def draw(self, n: int, label: Int64[Tensor, " B"] | None, seen: Tensor | None, rng: Rngs) -> Codes:
        u = uniforms(rng, n, self.length)
        tokens = torch.full((n, 1), self.codes, dtype=torch.int64, device=u.device)
        for i in range(self.length):
            logits = self.logits(tokens, label, seen)[:, -1] / self.config.temperature
            tokens = torch.cat([tokens, chosen(logits, u[:, i])[:, None]], 1)
        return tokens[:, 1:]


class Absorbing(CodePrior):
    """(1 / t) sum over lost codes of -log p(c_i | the others), t uniform, each code lost with probability t.

    This is the bound of a diffusion whose noise erases codes, with erasures linear in time; drawing begins with nothing and
    finds some codes at each step. Reference: Austin, Johnson, Ho, Tarlow and van den Berg (2021), Structured denoising
    diffusion models in discrete state-spaces (D3PM), absorbing.
    """

    causal = False

    class Config(PriorConfig):
        kind: Literal["absorbing"] = "absorbing"
        steps: int = Field(default=16, ge=1)
        """Steps of drawing."""

    def nats(
        self, codes: Codes, label: Int64[Tensor, " B"] | None, seen: Tensor | None, rng: Generator
    ) -> Float[Tensor, " B"]:
        n = len(codes)
        # Evenly spread times have less variance than independent ones and the same mean.
        t = (torch.rand(1, generator=rng, device=codes.device) + torch.arange(n, device=codes.device) / n) % 1
        t = t.clamp(min=1e-3)[torch.randperm(n, generator=rng, device=codes.device), None]
        lost = torch.rand(codes.shape, generator=rng, device=codes.device) < t
        logits = self.logits(torch.where(lost, self.codes, codes), label, seen)
        each = F.cross_entropy(logits.transpose(1, 2), codes, reduction="none")
        return (each * lost / t).sum(1)

    def draw(self, n: int, label: Int64[Tensor, " B"] | None, seen: Tensor | None, rng: Rngs) -> Codes:
        steps = min(self.config.steps, self.length)
        when = (
            uniforms(rng, n, self.length).argsort(1).argsort(1) * steps // self.length
        )  # the step that finds each code
        tokens = torch.full((n, self.length), self.codes, dtype=torch.int64, device=when.device)
        for step in range(steps):
            u = uniforms(rng, n, self.length)
            found = chosen(self.logits(tokens, label, seen).flatten(0, 1), u.flatten()).view(n, -1)
            tokens = torch.where(when == step, found, tokens)
        return tokens

    def calls(self) -> int:
        return min(int(self.config.steps), self.length)


def chosen(logits: Float[Tensor, "n K"], u: Float[Tensor, " n"]) -> Int64[Tensor, " n"]:
    """A draw from each row's law, by uniform numbers: the first place where the sum of the odds passes u.

    Example:
        >>> chosen(torch.log(torch.tensor([[0.2, 0.8], [0.2, 0.8]])), torch.tensor([0.1, 0.3])).tolist()
        [0, 1]
    """
    odds = logits.double().softmax(1).cumsum(1)
    return torch.searchsorted(odds, u.double()[:, None]).clamp(max=logits.shape[1] - 1)[:, 0]
