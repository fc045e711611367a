"""Tries: a method with settings drawn at random from a range that the study declares, and what the best of k would show."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from pydantic import Field, model_validator

from sfumato import config as settings
from sfumato.config import Strict
from sfumato.errors import ConfigError
from sfumato.families.base import Family
from sfumato.kinds import parse
from sfumato.streams import stream

SHUFFLES = 10_000  # of which settings are whose, under the null


class Range(Strict):
    """Where a setting is drawn from: evenly, evenly in its logarithm, or one of a few."""

    low: float | None = None
    """The least."""
    high: float | None = None
    """The largest."""
    log: bool = False
    """Even in the logarithm."""
    of: list[Any] = []
    """The values, in place of an interval."""

    @model_validator(mode="after")
    def _whole(self) -> Range:
        if bool(self.of) == (self.low is not None and self.high is not None):
            raise ValueError("a range is low and high, or a list `of` values")
        if self.low is not None and self.high is not None and (self.low >= self.high or (self.log and self.low <= 0)):
            raise ValueError(f"low = {self.low}, high = {self.high}: low is below high, and above 0 for a logarithm")
        return self

    def at(self, u: float) -> Any:
        """The value at a share u of the range; numbers have three digits."""
        if self.low is None or self.high is None:
            return self.of[int(u * len(self.of))]
        if self.log:
            return float(f"{self.low * (self.high / self.low) ** u:.3g}")
        return float(f"{self.low + (self.high - self.low) * u:.3g}")


class Tries(Strict):
    """How many settings of a method are tried, and where they are drawn from."""

    n: int = Field(default=8, ge=2, le=64)
    """Settings."""
    ranges: dict[str, Range] = Field(min_length=1)
    """By their path in the family, as generator_optimizer.lr or penalties.0.gamma."""


def expanded(values: Mapping[str, Any]) -> dict[str, Any]:
    """A study's values with each method that has `tries` replaced by as many, each with settings drawn by its name.

    Raises: ConfigError: a range is none, or the method has no family.
    """
    methods: list[Any] = []
    for method in values.get("methods", []):
        if not isinstance(method, dict) or "tries" not in method:
            methods.append(method)
            continue
        name, where = method.get("name", ""), f"method {method.get('name')!r}: tries"
        tries = settings.load(Tries, method["tries"], where)
        if "family" not in method:
            raise ConfigError(f"{where} draws settings of a family; give it one")
        rest = {key: value for key, value in method.items() if key != "tries"}
        whole = json.loads(parse(Family, method["family"]).to_json())  # so that paths can go on into defaults
        for i in range(1, tries.n + 1):
            u = torch.rand(len(tries.ranges), generator=stream(0, "tries", str(name), i), dtype=torch.float64).tolist()
            chosen = [f"{path}={json.dumps(r.at(x))}" for (path, r), x in zip(tries.ranges.items(), u, strict=True)]
            methods.append({**rest, "name": f"{name} {i}", "of": name, "family": settings.override(whole, chosen)})
    return {**values, "methods": methods} if "methods" in values else dict(values)


class Best(NamedTuple):
    """The best of k settings: expected, and where nine of ten searches end."""

    k: int
    expected: float
    low: float
    high: float


def best_of(losses: Sequence[float], k: int) -> Best:
    """Over all choices of k of n settings; the smaller the better.

    The i-th best of n is the best of k with probability C(n - i, k - 1) / C(n, k).
    Reference: Lucic et al. (2018), Are GANs created equal?, section 4; Dodge et al. (2019), Show your work.

    Example:
        >>> best_of([1.0, 2.0, 3.0], 2)
        Best(k=2, expected=1.3333333333333333, low=1.0, high=2.0)
    """
    n, ranked = len(losses), sorted(losses)
    shares = [math.comb(n - i, k - 1) / math.comb(n, k) for i in range(1, n + 1)]
    expected = sum(p * v for p, v in zip(shares, ranked, strict=True) if p)
    ends, total = [], 0.0
    for p, v in zip(shares, ranked, strict=True):
        before, total = total, total + p
        ends += [v] if before <= 0.05 < total else []
        ends += [v] if before < 0.95 - 1e-12 <= total else []
    return Best(k, expected, ends[0], ends[-1])


def matters(groups: Sequence[Sequence[float]]) -> float:
    """p of the null that which method it is does not matter: the H of Kruskal and Wallis under shuffled settings.

    Losses of a method are those of its settings; one that diverged is infinite and the last.
    """
    losses = torch.tensor([value for group in groups for value in group], dtype=torch.float64)
    n, sizes = len(losses), [len(group) for group in groups]
    below = (losses[None] < losses[:, None]).sum(1).double()
    ranks = below + ((losses[None] == losses[:, None]).sum(1).double() + 1) / 2

    def spread(order: torch.Tensor) -> torch.Tensor:
        parts = ranks[order].split(sizes, dim=-1)
        return torch.stack([part.sum(-1).square() / part.shape[-1] for part in parts]).sum(0)

    rng = stream(0, "matters")
    shuffled = torch.stack([torch.randperm(n, generator=rng) for _ in range(SHUFFLES)])
    own = spread(torch.arange(n))
    return float(((spread(shuffled) >= own - 1e-9).sum() + 1) / (SHUFFLES + 1))
