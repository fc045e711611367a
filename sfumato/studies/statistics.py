"""Statistics: what the figures of several seeds say together, and which differences are real. NumPy only.

Two methods are compared on the same test images and masks, so that what they share cancels; and the training seed is the
replicate: a method is better if other trainings of it, on other images of this kind, may be expected to be better too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from sfumato.maths.student import Z95, cochran_cox_half, cochran_cox_p, holm, holm_levels
from sfumato.metrics.base import Score
from sfumato.studies.results import Result
from sfumato.studies.study import Study

Floats = NDArray[np.float64]
Component = tuple[float, float]  # a variance of a mean, and the degrees of freedom that it was estimated with

BETTER, WORSE = "better", "worse"
AHEAD, BEHIND = "ahead as trained", "behind as trained"
OPEN, WITHHELD, UNTESTED = "not distinguishable", "withheld: a seed diverged", "no verdict"


@dataclass(frozen=True)
class Summary:
    """A method's figure on a task over its seeds."""

    value: float
    low: float | None
    high: float | None
    n: int
    seeds: int
    seed_spread: float
    """Standard deviation between training seeds; 0 for one seed."""


@dataclass(frozen=True)
class Difference:
    """Whether the first of two methods is better than the second, and how sure that is."""

    first: str
    second: str
    value: float
    """Mean of first minus second, in the metric's unit."""
    low: float
    """Lower end of its interval: at Holm's level for a contrast, so that it leaves 0 out with a verdict, else 95 %."""
    high: float
    p: float | None
    """Two-sided p, after Holm's correction over the contrasts of this task and metric; None for other pairs."""
    verdict: str
    """better or worse; ahead or behind as trained, where a training was not repeated; not distinguishable; withheld, where
    a seed diverged; no verdict, where nobody asked."""
    visible: float
    """The smallest gap that would have had a verdict, with this many images and seeds."""

    @property
    def untested(self) -> bool:
        """Whether nobody asked for a verdict."""
        return self.verdict == UNTESTED


@dataclass(frozen=True)
class Figures:
    """One method's figures on a task: a score for each seed, and what became of its trainings."""

    scores: list[Score]
    random: bool
    """Whether another seed would have trained another model."""
    diverged: bool = False
    """Whether a seed diverged."""
    chosen: bool = False
    """Whether validation images chose the weights; verdicts speak of the ends of trainings alone."""
    beyond: str = ""
    """The figure by which the method is beyond a metric's limit."""
    trainings: tuple[str, ...] = ()
    """What tells the training of each score from others."""

    @property
    def aside(self) -> bool:
        """Whether the method is shown and not ranked."""
        return self.chosen or bool(self.beyond)

    @property
    def value(self) -> float:
        """Mean over seeds."""
        return float(np.mean([score.value for score in self.scores]))

    @property
    def loss(self) -> float:
        """How bad that is: the smaller the better."""
        return self.scores[0].loss(self.value)

    @property
    def samples(self) -> Floats:
        """One value an image, replicate or part, seeds averaged."""
        return np.mean([score.samples for score in self.scores], axis=0)

    @property
    def repeated(self) -> bool:
        """Whether the figures say something of other trainings too."""
        return len(self.scores) > 1 or not self.random

    def of_seeds(self) -> Component:
        """s^2 / k of the seeds; nothing for a method that has no randomness in training, or was trained once."""
        return of_seeds([score.value for score in self.scores]) if self.random else (0.0, math.inf)

    def shares_trainings(self, other: Figures) -> bool:
        """Whether both are of the same trainings, drawn from in two ways."""
        return self.random and any(self.trainings) and self.trainings == other.trainings

    def of_images(self) -> Component:
        """The variance of the mean over test images; they are shared, so it does not shrink with seeds."""
        return of_images(self.samples, self.scores[0].resampled)


def of_seeds(values: Sequence[float]) -> Component:
    """The variance of a mean over trainings; nothing where there is one."""
    if len(values) < 2:
        return 0.0, math.inf
    return float(np.var(values, ddof=1)) / len(values), len(values) - 1


def of_images(samples: Floats, resampled: str) -> Component:
    """The variance that a mean over images has, from values of images or parts, or from bootstrap replicates."""
    if len(samples) < 2:
        return 0.0, math.inf
    spread = float(samples.var(ddof=1))
    return spread if resampled == "replicates" else spread / len(samples), len(samples) - 1


def summarise(figures: Figures) -> Summary:
    """Mean over seeds, with the interval of `cochran_cox_half` for the error over images and that between seeds.

    One training, or a method without randomness, keeps the interval that the metric itself gives: it speaks of the images.
    """
    scores, value = figures.scores, figures.value
    spread = float(np.std([score.value for score in scores], ddof=1)) if len(scores) > 1 else 0.0
    low, high = scores[0].low, scores[0].high
    known = low is not None and high is not None
    if known and len(scores) > 1:
        images = figures.of_images()
        if len(figures.samples) < 2:  # only the ends are known
            halves = [(s.high - s.low) / 2 for s in scores if s.low is not None and s.high is not None]
            images = float(np.mean(np.square(halves))) / Z95**2, math.inf
        half = _half(0.05, [images, figures.of_seeds()])
        low, high = scores[0].clipped(value - half), scores[0].clipped(value + half)
    return Summary(value, low if known else None, high if known else None, scores[0].n, len(scores), spread)


def error_of(first: Figures, second: Figures) -> list[Component] | None:
    """The variances of the difference of two methods, by where they come from; None where they cannot be compared.

    Over images: of the paired differences, seeds averaged; of both methods' own where a part of the images is not the same
    part for the other. Between seeds: of each method's own; of the paired differences where both draw from the same trainings.
    """
    a, b = first.samples, second.samples
    if len(a) != len(b) or len(a) < 2:
        return None
    resampled = first.scores[0].resampled
    images = [first.of_images(), second.of_images()] if resampled == "parts" else [of_images(a - b, resampled)]
    if first.shares_trainings(second):
        return [*images, of_seeds([a.value - b.value for a, b in zip(first.scores, second.scores, strict=True)])]
    return [*images, first.of_seeds(), second.of_seeds()]


def compare(
    results: Sequence[Result],
    task: str,
    label: str,
    study: Study | None = None,
    alpha: float = 0.05,
) -> list[Difference]:
    """All pairs of methods on one task and metric, and a verdict for the contrasts and for the two leaders.

    The error of a difference has a part from the images and one from each method's seeds, each known with its own degrees of
    freedom; the test is Cochran and Cox's, Holm's correction runs over the pairs that get a verdict. At most 5 to 6 % of
    studies of equal methods hold a verdict (`tests/studies/test_null.py` simulates them). Without a study all pairs get one.
    """
    figures = by_method(results, task, label)
    names = list(combinations(figures, 2))
    wanted = _asked(figures, names if study is None else study.compared(list(figures)))
    pairs = [(pair, error) for pair in names if (error := error_of(figures[pair[0]], figures[pair[1]])) is not None]
    asked = [(pair, error) for pair, error in pairs if frozenset(pair) in wanted]
    raw = np.array([_p(_gap(figures, pair), error) for pair, error in asked])
    corrected, levels = holm(raw), holm_levels(raw, alpha)
    answer = []
    for pair, error in pairs:
        value, place = _gap(figures, pair), next((i for i, (other, _) in enumerate(asked) if other == pair), None)
        half = _half(alpha if place is None else float(levels[place]), error)
        visible = _half(alpha / max(len(asked), 1), error)
        found = Difference(*pair, value, value - half, value + half, None, UNTESTED, visible)
        if place is not None:
            p = float(corrected[place])
            found = replace(found, p=p, verdict=_verdict(*(figures[name] for name in pair), sure=p < alpha))
        answer.append(found)
    return answer


def ranked(figures: dict[str, Figures]) -> list[str]:
    """Names of methods, the best figure first."""
    return sorted(figures, key=lambda name: figures[name].loss)


def _asked(figures: dict[str, Figures], contrasts: Sequence[tuple[str, str]]) -> set[frozenset[str]]:
    """The pairs that get a verdict: those named, and the two leaders."""
    leaders = [name for name in ranked(figures) if not figures[name].aside][:2]
    fair = {frozenset(pair) for pair in contrasts if not any(figures[name].aside for name in pair if name in figures)}
    return fair | ({frozenset(leaders)} if len(leaders) == 2 else set())


def _gap(figures: dict[str, Figures], pair: tuple[str, str]) -> float:
    return figures[pair[0]].value - figures[pair[1]].value


def _half(level: float, error: Sequence[Component]) -> float:
    return float(cochran_cox_half(level, np.array([variance for variance, _ in error]), [f for _, f in error]))


def _p(gap: float, error: Sequence[Component]) -> float:
    return float(cochran_cox_p(gap, np.array([variance for variance, _ in error]), [f for _, f in error]))


def _verdict(first: Figures, second: Figures, *, sure: bool) -> str:
    if first.diverged or second.diverged:
        return WITHHELD
    opposite = first.scores[0].better == "zero" and first.value * second.value < 0
    if not sure or opposite:  # above and below what is right by as much is no better
        return OPEN
    good = first.loss < second.loss
    if first.repeated and second.repeated:
        return BETTER if good else WORSE
    return AHEAD if good else BEHIND


def by_method(results: Sequence[Result], task: str, label: str) -> dict[str, Figures]:
    """The figures of each method on a task; diverged seeds have none, but are remembered."""
    found: dict[str, Figures] = {}
    for name in dict.fromkeys(result.method for result in results):
        mine = [result for result in results if result.method == name and result.task == task]
        fine = [result for result in mine if result.status == "ok" and label in result.scores]
        if fine:
            random, diverged = any(r.random for r in mine), any(r.status != "ok" for r in mine)
            chosen, scores = any(r.chosen is not None for r in mine), [result.scores[label] for result in fine]
            found[name] = Figures(scores, random, diverged, chosen, beyond(mine), tuple(r.training for r in fine))
    return found


def beyond(results: Sequence[Result]) -> str:
    """The first figure whose mean is beyond its metric's limit; empty where none is."""
    for label, score in next((result.scores for result in results), {}).items():
        values = [result.scores[label].value for result in results if label in result.scores]
        if score.limit is not None and score.loss(float(np.mean(values))) > score.loss(score.limit):
            return label
    return ""


def dominated(points: Sequence[tuple[float, float]]) -> list[bool]:
    """For each pair of figures, both the lower the better: whether another is at least as good in both and not the same.

    Example:
        >>> dominated([(1.0, 3.0), (2.0, 2.0), (2.0, 3.0)])
        [False, False, True]
    """
    return [any(a <= x and b <= y and (a, b) != (x, y) for a, b in points) for x, y in points]
