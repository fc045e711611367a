"""Studies of equal methods: how many hold a false verdict, and how many of unequal ones see the gap.

The law is simulated with the library's own test, in thousands of studies at once. `python -m tests.studies.test_null` prints
the tables of docs/fairness.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sfumato.maths.student import cochran_cox_p, holm
from sfumato.metrics.base import Score
from sfumato.studies.results import Result
from sfumato.studies.statistics import BETTER, WORSE, Difference, compare
from sfumato.training.ledger import Ledger

SPREADS = {
    "no spread": (0.0,),
    "spread 1": (1.0,),
    "spread 3": (3.0,),
    "mixed 0, 1, 3": (0.0, 1.0, 3.0),
    "only the first": (3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    "all but the first": (0.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0),
}
IMAGES, PARTS = 60, 10


def studies(
    rng: np.random.Generator,
    count: int,
    methods: int,
    seeds: int,
    spreads: tuple[float, ...],
    gap: float = 0.0,
    *,
    split: bool = False,
) -> np.ndarray:
    """Corrected p of the contrasts, [studies, contrasts]: each method against the first, and the two leaders.

    The error over images of a difference of two methods is 1; `spreads` are those between a method's seeds, in its units;
    the last method is worse by `gap`. A split figure has ten parts, which are other images for each method.
    """
    spread = np.resize(np.array(spreads), methods)
    n = PARTS if split else IMAGES
    images = rng.normal(0, np.sqrt(n / 2), (count, methods, n))
    trained = rng.normal(0, 1, (count, methods, seeds)) * spread[:, None]
    value = images.mean(-1) + trained.mean(-1)
    value[:, -1] += gap
    of_seeds = trained.var(-1, ddof=1) / seeds
    rows = np.arange(count)

    def contrast(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        taken = [images[rows, a], images[rows, b]] if split else [images[rows, a] - images[rows, b]]
        errors = [each.var(-1, ddof=1) / n for each in taken]
        return value[rows, a] - value[rows, b], np.stack([*errors, of_seeds[rows, a], of_seeds[rows, b]], -1)

    best, second = value.argsort(1)[:, :2].T
    pairs = [contrast(np.full(count, other), np.zeros(count, int)) for other in range(1, methods)]
    if methods > 2:
        pairs.append(contrast(best, second))
    gaps, variances = (np.stack([pair[i] for pair in pairs], 1) for i in (0, 1))
    p = cochran_cox_p(gaps, variances, [n - 1] * (variances.shape[-1] - 2) + [seeds - 1] * 2)
    if methods > 2:
        known = (best == 0) | (second == 0)  # it stands among the others already
        p[known, -1] = 1.0
    return holm(p)


@pytest.mark.parametrize("spreads", SPREADS.values(), ids=SPREADS)
@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("methods", [2, 8])
@pytest.mark.parametrize("split", [False, True], ids=["paired", "split"])
def test_at_most_six_percent_of_equal_studies_hold_a_verdict(
    split: bool, methods: int, seeds: int, spreads: tuple[float, ...]
) -> None:
    p = studies(np.random.default_rng(methods * 100 + seeds), 2000, methods, seeds, spreads, split=split)
    false = (p < 0.05).any(1).mean()
    assert false <= 0.06 + 2 * np.sqrt(0.06 * 0.94 / 2000), f"{false:.1%} of studies hold a false verdict"


@pytest.mark.parametrize("spread", [0.0, 0.3, 3.0])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_two_ways_to_draw_from_the_same_trainings(seeds: int, spread: float) -> None:
    """The trainings differ by 10, what a way makes of each by `spread`; both ways are equally good on the whole."""
    rng, n = np.random.default_rng(seeds), 600
    trained = rng.normal(0, 10, (n, 1, seeds)) + rng.normal(0, spread, (n, 2, seeds)) / np.sqrt(2)
    images = rng.normal(0, np.sqrt(IMAGES / 2), (n, 2, IMAGES))
    false = sum(
        difference(trained[i], images[i]).verdict in (BETTER, WORSE) for i in range(n)
    ) / n  # fmt: skip
    assert false <= 0.06 + 2 * np.sqrt(0.06 * 0.94 / n), f"{false:.1%} hold a false verdict"


def difference(trained: np.ndarray, images: np.ndarray, gap: float = 0.0, shared: bool = True) -> Difference:
    """Two methods whose scores are a training's value and the images'."""
    found = []
    for way in range(2):
        for seed, value in enumerate(trained[way]):
            samples = images[way] + value + gap * way
            score = Score(
                label="m", value=float(samples.mean()), low=None, high=None, n=len(samples), better="lower",
                samples=[float(one) for one in samples], card={}, unit="", resampled="images",
            )  # fmt: skip
            ledger = Ledger(seconds=seed + (0 if shared else 100 * way))
            common: dict[str, Any] = {"status": "ok", "learned": True, "random": True, "ledger": ledger}
            found.append(Result(method=f"way {way}", task="t", seed=seed, scores={"m": score}, **common))
    (answer,) = compare(found, "t", "m")
    return answer


def test_pairs_of_the_same_trainings_see_what_others_do_not() -> None:
    rng = np.random.default_rng(0)
    trained = np.repeat(rng.normal(0, 10, (1, 3)), 2, 0) + rng.normal(0, 0.3, (2, 3))
    images = rng.normal(0, 1, (2, IMAGES))
    paired, apart = (difference(trained, images, 4.0, shared) for shared in (True, False))
    assert paired.verdict == BETTER and apart.verdict == "not distinguishable"
    assert paired.value == apart.value and paired.visible < 0.2 * apart.visible


def test_five_seeds_see_a_gap_that_two_do_not() -> None:
    rng = np.random.default_rng(0)
    two, five = ((studies(rng, 1000, 2, seeds, (1.0,), 4.0) < 0.05).mean() for seeds in (2, 5))
    assert two < 0.4 and five > 0.8


def main() -> None:
    """Print false verdicts and power as tables in Markdown."""
    rng = np.random.default_rng(0)
    print("| figure | methods | seeds | " + " | ".join(SPREADS) + " |\n|---|---|---|" + "---|" * len(SPREADS))
    for split in (False, True):
        for methods in (2, 8):
            for seeds in (2, 3, 5):
                false = [
                    (studies(rng, 10_000, methods, seeds, s, split=split) < 0.05).any(1).mean()
                    for s in SPREADS.values()
                ]
                shares = " | ".join(f"{share:.1%}" for share in false)
                print(f"| {'split' if split else 'paired'} | {methods} | {seeds} | {shares} |", flush=True)
    print("\n| methods | seeds | spread | " + " | ".join(f"gap {gap}" for gap in (2, 4, 8, 16, 32)) + " |")
    print("|---|---|---|" + "---|" * 5)
    for methods in (2, 8):
        for seeds in (2, 3, 5):
            for name in ("no spread", "spread 1", "spread 3"):
                power = [
                    (studies(rng, 2000, methods, seeds, SPREADS[name], gap)[:, methods - 2] < 0.05).mean()
                    for gap in (2, 4, 8, 16, 32)
                ]
                print(
                    f"| {methods} | {seeds} | {name} | " + " | ".join(f"{share:.0%}" for share in power) + " |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
