"""Statistics: what the figures of several seeds say together, and which differences are real. NumPy only.

Two methods are compared on the same test images, the same masks and the same seeds, so that what they share cancels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from sfumato.maths.student import student_95, student_p
from sfumato.metrics.base import Z95, Score
from sfumato.studies.results import Result

FLIPS = 4000  # sign flips of the paired test; p is known to about 1/60 of itself at p = 0.05


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
    p: float
    """Two-sided p of the paired test, after Holm's correction over all pairs of the table's column."""
    verdict: str
    """better, worse, or not distinguishable."""


def summarise(scores: Sequence[Score]) -> Summary:
    """Mean over seeds; the interval adds the variance over test images to that between seeds.

    half = t sqrt(mean(image error^2) + seed variance / seeds): test images are shared, so their error does not shrink with
    seeds; seeds are few, so t is Student's quantile at the degrees of freedom of the sum (Welch and Satterthwaite: those of
    the seeds alone where they dominate, as many as of the normal law where the images do).
    """
    values = np.array([score.value for score in scores])
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    halves = [
        score.high - score.value for score in scores if score.high is not None
    ]  # `low` may have been cut off at 0
    value, low, high = float(values.mean()), None, None
    if halves:
        images, seeds = float(np.mean(np.square(halves))) / Z95**2, spread**2 / len(values)
        freedom = (images + seeds) ** 2 / seeds**2 * (len(values) - 1) if seeds > 0 else math.inf
        half = student_95(freedom) * math.sqrt(images + seeds)
        cut = any(score.low == 0.0 for score in scores)
        low, high = max(value - half, 0.0) if cut else value - half, value + half
    return Summary(value, low, high, scores[0].n, len(values), spread)


def paired_p(first: Sequence[Score], second: Sequence[Score]) -> float:
    """Two-sided p that two methods are the same on these test images, seeds averaged.

    For one value an image: the paired sign-flip test, under which each image's difference could as well have had the other
    sign. For bootstrap replicates, which draw the same images for both methods: Student's test with their spread. For parts
    of the images, which are not those of the other method: Welch's test on their means.
    Reference: Fisher (1935), The design of experiments, for the sign-flip test.
    """
    a = np.mean([score.samples for score in first], axis=0)
    b = np.mean([score.samples for score in second], axis=0)
    difference = a - b
    if not difference.any():
        return 1.0
    if first[0].resampled == "replicates":
        spread = float(difference.std(ddof=1))
        gap = float(np.mean([score.value for score in first]) - np.mean([score.value for score in second]))
        return student_p(gap / spread, len(difference) - 1) if spread > 0 else 0.0
    if first[0].resampled == "parts":
        variances = [float(part.var(ddof=1)) / len(part) for part in (a, b)]
        freedom = sum(variances) ** 2 / max(sum(v**2 / (len(a) - 1) for v in variances), 1e-300)
        return student_p(float(difference.mean()) / math.sqrt(sum(variances)), freedom) if sum(variances) > 0 else 0.0
    rng = np.random.default_rng(0)
    observed = abs(difference.mean())
    beyond = 0
    for _ in range(FLIPS // 500):
        signs = rng.integers(0, 2, size=(500, len(difference)), dtype=np.int8) * 2 - 1
        beyond += int((np.abs(signs @ difference) / len(difference) >= observed * (1 - 1e-12)).sum())
    return (beyond + 1) / (FLIPS + 1)


def compare(results: Sequence[Result], task: str, label: str, alpha: float = 0.05) -> list[Difference]:
    """All pairs of methods on one task and metric.

    A difference is real where Holm's corrected p is below `alpha` and every pair of seeds agrees on its sign; one lucky
    training is not enough. Reference: Holm (1979), A simple sequentially rejective multiple test procedure.
    """
    scores = by_method(results, task, label)
    raw = []
    for first, second in combinations(scores, 2):
        if len(scores[first][0].samples) != len(scores[second][0].samples):
            continue  # another set of test images: not comparable
        if len(scores[first][0].samples) < 2:
            continue  # nothing to test with
        value = float(np.mean([s.value for s in scores[first]]) - np.mean([s.value for s in scores[second]]))
        raw.append(Difference(first, second, value, paired_p(scores[first], scores[second]), ""))
    corrected = holm([difference.p for difference in raw])
    answer = []
    for difference, p in zip(raw, corrected, strict=True):
        a, b = ([s.value for s in scores[name]] for name in (difference.first, difference.second))
        agreed = max(a) < min(b) or min(a) > max(b)
        lower = scores[difference.first][0].better == "lower"
        verdict = "not distinguishable"
        if p < alpha and agreed:
            verdict = "better" if (difference.value < 0) == lower else "worse"
        answer.append(replace(difference, p=p, verdict=verdict))
    return answer


def by_method(results: Sequence[Result], task: str, label: str) -> dict[str, list[Score]]:
    """The scores of each method on a task, by seed; diverged seeds are left out (and counted elsewhere)."""
    scores: dict[str, list[Score]] = {}
    for result in results:
        if result.task == task and result.status == "ok" and label in result.scores:
            scores.setdefault(result.method, []).append(result.scores[label])
    return scores


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: the k-th smallest of m is multiplied by m - k + 1, kept in order, at most 1.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values)
    corrected, running = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = running
    return corrected


def dominated(points: Sequence[tuple[float, float]]) -> list[bool]:
    """For each pair of figures, both the lower the better: whether another is at least as good in both and not the same.

    Example:
        >>> dominated([(1.0, 3.0), (2.0, 2.0), (2.0, 3.0)])
        [False, False, True]
    """
    return [any(a <= x and b <= y and (a, b) != (x, y) for a, b in points) for x, y in points]
