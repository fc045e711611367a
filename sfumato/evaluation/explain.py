"""Explain: why two figures differ, entry by entry of their requests, and point by point where the images are at hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from sfumato.config import Strict
from sfumato.errors import ConfigError, SfumatoError
from sfumato.evaluation.attribution import Side, attribute
from sfumato.evaluation.request import Evaluation, Request
from sfumato.evaluation.vectors import Watch, nobody
from sfumato.files import at_home
from sfumato.metrics.base import Score

MOST = 6  # factors; each one doubles the number of figures that have to be computed


@dataclass(frozen=True)
class Factor:
    """One entry in which two requests differ."""

    name: str
    first: str
    second: str
    why: str
    points: float | None = None
    """Its share of the gap: positive where going from the first to the second raises the figure; None if unknown."""


@dataclass(frozen=True)
class Explanation:
    """Two figures, what their computations do not share, and what each part of that is worth."""

    first: Score
    second: Score
    factors: list[Factor]
    remainder: float
    """What of the gap the factors do not explain: other software, or images that are no longer the same."""
    notes: list[str]
    """What may be said without the images, and why shares are missing if they are."""

    @property
    def gap(self) -> float:
        """Second minus first."""
        return self.second.value - self.first.value


# An entry of the request, what to call it, and why it matters
ENTRIES: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("features",), "features and their resize", "another network or resize measures something else"),
    (("made", "seed"), "made images", "other images, format or compression"),
    (("real",), "real images", "another reference: train and test parts score differently"),
    (("n",), "number of made images", "the distance is biased upwards by about slope / n"),
    (("n_real",), "number of real images", "fewer reference images raise the distance"),
    (("size", "filter", "mixed"), "preparation", "resizing before the network changes fine texture"),
    (("masks",), "masks", "other pixels are looked at"),
    (("train",), "training images", "memorisation is measured against others"),
    (("metrics",), "settings of the metric", "another formula"),
)


def explain(
    first: Evaluation,
    second: Evaluation,
    recompute: bool = True,
    device: torch.device | str = "cpu",
    watch: Watch = nobody,
) -> list[Explanation]:
    """One explanation for each figure that both evaluations have.

    Where the images that both name are still there and unchanged, the figure is computed for every mixture of the two
    requests, and each factor's points are its Shapley value: its effect averaged over all orders in which the factors
    could be changed one by one, so that the points add up to the gap.

    Raises: ConfigError: they share no metric. Reference: Shapley (1953), A value for n-person games.
    """
    explanations = []
    for i, j, a, b in shared(first, second):
        one, two = alone(first.request, i), alone(second.request, j)
        factors, notes = differences(first, second, one, two), predicted(a, b)
        remainder = b.value - a.value
        if not factors and remainder == 0:
            notes.append("the two requests are the same, and so are the figures: there is nothing to explain")
        elif not factors:
            notes.append("the two requests are the same: what differs is the software, or the run is not deterministic")
        elif not recompute:
            notes.append("points need the images; leave out --no-recompute")
        elif len(factors) > MOST:
            notes.append(f"{len(factors)} entries differ; points are computed for at most {MOST}")
        else:
            try:
                sides = Side(first, one, a), Side(second, two, b)
                fields = {name: keys for keys, name, _ in ENTRIES if name in {factor.name for factor in factors}}
                points, remainder = attribute(*sides, fields, device, watch)
                factors = [replace(factor, points=points[factor.name]) for factor in factors]
            except (SfumatoError, OSError) as error:
                notes.append(f"points need the images, but {error}")
        explanations.append(Explanation(a, b, factors, remainder, notes))
    return explanations


def shared(first: Evaluation, second: Evaluation) -> list[tuple[int, int, Score, Score]]:
    """Figures of one metric in both: its place in each request, and the two scores.

    Raises: ConfigError: there is none.
    """

    def by_metric(evaluation: Evaluation) -> dict[tuple[str, int], tuple[int, Score]]:
        named: dict[tuple[str, int], tuple[int, Score]] = {}
        for place, score in zip(evaluation.metric_of, evaluation.scores, strict=True):
            kind = str(evaluation.request.metrics[place].kind)  # type: ignore[attr-defined]
            turn = sum(key[0] == kind for key in named)
            named[kind, turn] = (place, score)
        return named

    a, b = by_metric(first), by_metric(second)
    both = [key for key in a if key in b]
    if not both:
        labels = [", ".join(score.label for score in part.scores) for part in (first, second)]
        raise ConfigError(f"the two share no metric: one has {labels[0]}, the other {labels[1]}; compute one for both")
    return [(a[key][0], b[key][0], a[key][1], b[key][1]) for key in both]


def alone(request: Request, place: int) -> Request:
    """The request for one of its metrics, without what only serves intervals and context."""
    config = request.metrics[place]
    features = getattr(config, "features", request.features)
    quick = {
        key: value for key, value in {"replicates": 0, "context": False}.items() if key in type(config).model_fields
    }
    return request.model_copy(
        update={"metrics": [config.model_copy(update=quick)], "on_broken": "skip", "features": features}
    )


def differences(first: Evaluation, second: Evaluation, one: Request, two: Request) -> list[Factor]:
    """The entries in which two requests differ; other paths to the same content do not count, another count does."""
    factors = []
    for keys, name, why in ENTRIES:
        if keys == ("train",) and not one.metrics[0].owner.wants_train:
            continue
        if keys == ("features",) and "features" not in type(one.metrics[0]).model_fields:
            continue
        a, b = ([entry(*side, key) for key in keys] for side in ((first, one), (second, two)))
        changed = content(first, second, keys[0])
        if changed is not None:  # what is in a set decides, and not what it is called
            a, b = ([f"{part[0]} ({digest[:8]})", *part[1:]] for part, digest in zip((a, b), changed, strict=True))
            if changed[0] == changed[1]:
                continue
        if a != b:
            factors.append(Factor(name, told(a), told(b), why))
    return factors


def content(first: Evaluation, second: Evaluation, key: str) -> tuple[str, str] | None:
    """The digests of two sets of as many images, prepared alike, so that they say whether the images are the same."""
    sides = [getattr(part, key, None) for part in (first, second)] if key in ("made", "real") else [None, None]
    if not all(isinstance(side, dict) and "sha256" in side for side in sides):
        return None
    alike = all(sides[0].get(name) == sides[1].get(name) for name in ("n", "preparation"))  # type: ignore[union-attr]
    return (sides[0]["sha256"], sides[1]["sha256"]) if alike else None  # type: ignore[index]


def entry(evaluation: Evaluation, request: Request, key: str) -> Any:
    """What a request says of one thing, as the evaluation found it."""
    value = getattr(request, key)
    if key in ("made", "real", "train", "masks") and value is not None:
        path = at_home(value)
        value = str(path.resolve()) if path.exists() else value
        if key == "masks":  # what is in them decides
            found: dict[str, Any] = next(
                (score.card["masks"] for score in evaluation.scores if "masks" in score.card), {}
            )
            return f"{value} ({str(found.get('sha256'))[:8]})"
        split = {"made": evaluation.made, "real": evaluation.real}.get(key, {}).get("split", "not said")
        return value if split == "not said" else f"{value} ({split} part)"
    if key == "seed":
        return None if "model" not in evaluation.made else value
    if key == "filter":
        return value if request.size is not None else None
    if key == "mixed":
        return "mixed sizes" if value else None
    if key in ("n", "n_real"):
        return (evaluation.made if key == "n" else evaluation.real).get("n", "not said")
    if key == "metrics":
        return [config.model_dump(mode="json", exclude={"features"}) for config in value]
    return value.model_dump(mode="json", exclude={"path"}) if isinstance(value, Strict) else value


def told(values: Sequence[Any]) -> str:
    """Entries in words."""

    def one(value: Any) -> str:
        if isinstance(value, Mapping):
            return " ".join(f"{key}={one(part)}" for key, part in value.items() if part is not None)
        return ", ".join(map(one, value)) if isinstance(value, list) else str(value)

    return ", ".join(one(value) for value in values if value is not None) or "none"


def predicted(a: Score, b: Score) -> list[str]:
    """What the two cards say together, without any image."""
    notes = []
    if None not in (a.low, a.high, b.low, b.high):
        halves = math.hypot(a.high - a.value, b.high - b.value)  # type: ignore[operator]
        gap = abs(b.value - a.value)
        inside = "within" if gap <= halves else "beyond"
        if gap:
            notes.append(
                f"the gap of {gap:.3g} is {inside} what chance explains ({halves:.3g}, 95 % of both intervals)"
            )
    lines = a.card.get("infinity"), b.card.get("infinity")
    if None not in lines and a.card.get("features") == b.card.get("features") and a.n != b.n and a.n and b.n:
        expected = lines[1]["slope"] / b.n - lines[0]["slope"] / a.n  # type: ignore[index]
        endless = " and ".join(f"{line['value']:.3f}" for line in lines)  # type: ignore[index]
        notes.append(f"n = {a.n:,} against {b.n:,} alone should move it by {expected:+.3f}; at infinity: {endless}")
    for key, name in (("made", "made images"), ("real", "real images")):
        sides = [score.card.get(key) for score in (a, b)]
        contents = [side.get("sha256") if isinstance(side, dict) else None for side in sides]
        if None not in contents and contents[0] == contents[1]:
            notes.append(f"both have the same {name}, byte for byte")
    return notes
