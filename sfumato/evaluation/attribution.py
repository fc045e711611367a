"""Attribution: the gap between two figures divided among the entries in which their requests differ."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import torch

from sfumato.data.imageset import ImageSet
from sfumato.errors import ConfigError
from sfumato.evaluation import sources
from sfumato.evaluation.evaluate import Sets, measure, prepared
from sfumato.evaluation.request import Evaluation, Request
from sfumato.evaluation.statistics import is_statistics
from sfumato.evaluation.vectors import Watch
from sfumato.files import at_home
from sfumato.metrics.base import Score
from sfumato.training.run import is_finished

CLOSE = 1e-6  # relative difference up to which a figure counts as the same


@dataclass(frozen=True)
class Side:
    """One of two figures: the evaluation it is from, the request for it alone, and itself."""

    evaluation: Evaluation
    request: Request
    score: Score

    @property
    def place(self) -> int:
        """Which figure of its metric it is."""
        at = self.evaluation.scores.index(self.score)
        return self.evaluation.metric_of[:at].count(self.evaluation.metric_of[at])

    @property
    def counts(self) -> dict[str, int | None]:
        """How many made and real images it rests on; None for statistics that do not say."""
        found = {"n": self.evaluation.made.get("n"), "n_real": self.evaluation.real.get("n")}
        return {key: value if isinstance(value, int) else None for key, value in found.items()}


class Shelf:
    """Image sets that were found, so that each is read once."""

    def __init__(self, device: torch.device | str):
        self.device = str(device)
        self._found: dict[tuple[object, ...], ImageSet] = {}

    def find(self, name: str, n: int | None, request: Request) -> ImageSet | Path:
        """n images of what a name stands for, or all where there are fewer; a path where it is statistics."""
        path = at_home(name)
        if path.is_file() and is_statistics(path):
            return path
        draws = n if path.is_dir() and is_finished(path) else None  # a model draws as many as it is asked for
        key = (name, draws, request.on_broken, request.seed)
        if key not in self._found:
            self._found[key] = sources.find(name, draws, request.on_broken, request.seed, self.device)
        images = self._found[key]
        return prepared(images.subset(min(n or len(images), len(images))), request)

    def sets(self, request: Request, counts: Mapping[str, int | None]) -> Sets:
        """The sets of a request at these numbers of images.

        Raises: ConfigError: the made images are statistics.
        """
        made = self.find(request.made, counts["n"], request)
        train = self.find(request.train, None, request) if request.train else None
        if isinstance(made, Path) or isinstance(train, Path):
            raise ConfigError(f"{request.made} holds statistics, where images are needed")
        return Sets(made, self.find(request.real, counts["n_real"], request), train)


def attribute(
    first: Side,
    second: Side,
    fields: Mapping[str, Sequence[str]],
    device: torch.device | str,
    watch: Watch,
) -> tuple[dict[str, float], float]:
    """The Shapley value of each factor, given the entries it stands for, and what recomputing does not find again.

    Raises: ConfigError: the images are no longer what they were. SfumatoError and OSError: they are not there.
    """
    shelf = Shelf(device)
    for side in (first, second):
        unchanged(side, shelf.sets(side.request, side.counts))
    names = list(fields)

    def value(changed: frozenset[str]) -> float:
        keys = {key for name in changed for key in fields[name]}
        update: dict[str, Any] = {key: getattr(second.request, key) for key in keys}
        request = first.request.model_copy(update=update)
        config = request.metrics[0]
        if "features" in type(config).model_fields:  # a factor of its own, whatever else differs
            metrics = [config.model_copy(update={"features": request.features})]
            request = request.model_copy(update={"metrics": metrics})
        counts = {key: (second if key in keys else first).counts[key] for key in ("n", "n_real")}
        place = (second if "metrics" in keys else first).place
        measured = measure(request, device, watch=watch, sets=shelf.sets(request, counts))
        return measured.evaluation.scores[place].value

    subsets = (frozenset(part) for size in range(len(names) + 1) for part in combinations(names, size))
    known = {part: value(part) for part in subsets}
    gap = second.score.value - first.score.value
    left = gap - (known[frozenset(names)] - known[frozenset()])
    scale = max(abs(first.score.value), abs(second.score.value))
    return shapley(names, known.__getitem__), 0.0 if abs(left) <= CLOSE * scale else left


def unchanged(side: Side, sets: Sets) -> None:
    """Raises: ConfigError: the images at a path are not those that the evaluation measured."""
    for part, was in ((sets.made, side.evaluation.made), (sets.real, side.evaluation.real)):
        if isinstance(part, ImageSet) and part.digest != was.get("sha256"):
            before, now = str(was.get("sha256"))[:8], part.digest[:8]
            raise ConfigError(f"{part.name} is not what was measured (its content is now {now}..., was {before}...)")


def shapley(names: Sequence[str], value: Callable[[frozenset[str]], float]) -> dict[str, float]:
    """phi_i = sum_S |S|! (k - |S| - 1)! / k! (v(S + i) - v(S)), S over the subsets without i; they add up to v(all) - v({}).

    Reference: Shapley (1953), A value for n-person games.

    Example:
        >>> shapley(["a", "b"], lambda part: 2.0 * ("a" in part) + 3.0 * ("b" in part) + 1.0 * (len(part) == 2))
        {'a': 2.5, 'b': 3.5}
    """
    k = len(names)
    points = {}
    for name in names:
        others = [other for other in names if other != name]
        points[name] = 0.0
        for size in range(k):
            share = math.factorial(size) * math.factorial(k - size - 1) / math.factorial(k)
            parts = map(frozenset, combinations(others, size))
            points[name] += share * sum(value(part | {name}) - value(part) for part in parts)
    return points
