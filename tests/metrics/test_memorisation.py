"""Memorisation on vectors that were copied, nearly copied, or drawn anew. Oracles: SciPy's test and all pairs by SciPy."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.stats import mannwhitneyu
from torch import Tensor

from sfumato.metrics import distribution
from sfumato.metrics.base import Score
from sfumato.metrics.distribution import Sample
from sfumato.metrics.memorisation import Memorisation, mann_whitney
from sfumato.streams import stream


class Anything:
    """Features that only have a name."""

    def called(self, official: str, other: str) -> str:
        return f"{other}-any"

    def about(self) -> dict[str, object]:
        return {}


@pytest.fixture(autouse=True)
def _nameless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribution, "extractor", lambda config, device: Anything())


def normal(n: int, d: int, *name: str | int) -> Tensor:
    return torch.randn(n, d, generator=stream(0, "memorisation", *name), dtype=torch.float64)


TRAIN, HELD_OUT, FRESH = (normal(n, 6, name) for n, name in ((400, "train"), (150, "held out"), (200, "fresh")))


def measure(made: Tensor, real: Tensor = HELD_OUT, train: Tensor = TRAIN) -> tuple[Score, Score]:
    share, z = Memorisation(Memorisation.Config()).judge(Sample.of(made), Sample.of(real), Sample.of(train))
    return share, z


def by_scipy(x: np.ndarray, y: np.ndarray) -> float:
    """z from SciPy's U and the variance under ties; SciPy itself says p alone."""
    m, n = len(x), len(y)
    u = mannwhitneyu(x, y, method="asymptotic", use_continuity=False).statistic
    _, counts = np.unique(np.concatenate([x, y]), return_counts=True)
    ties = (counts**3 - counts).sum() / ((m + n) * (m + n - 1))
    return float((u - m * n / 2) / np.sqrt(m * n / 12 * (m + n + 1 - ties)))


def test_new_images_are_authentic() -> None:
    share, z = measure(FRESH)
    assert share.value > 0.4 and abs(z.value) < 3
    assert share.card["copies"] == 0
    assert share.low < share.value < share.high and (z.low, z.high) == pytest.approx((z.value - 1.96, z.value + 1.96))


def test_copies_are_found_and_counted() -> None:
    share, z = measure(TRAIN[:200].clone())
    assert share.value == 0 and z.value < -10
    assert share.card["copies"] == z.card["copies"] == 200
    share, z = measure(torch.cat([FRESH[:150], TRAIN[:50]]).float(), train=TRAIN.float(), real=HELD_OUT.float())
    assert share.card["copies"] == 50 and z.value < -2


def test_near_copies_are_found_but_are_no_copies() -> None:
    share, z = measure(TRAIN[:200] + 0.01 * normal(200, 6, "noise"))
    assert share.value < 0.02 and z.value < -10
    assert share.card["copies"] == 0


def test_images_unlike_any_are_authentic_and_far() -> None:
    share, z = measure(FRESH + 5)
    assert share.value == 1 and z.value > 10


def test_both_figures_by_all_pairs() -> None:
    made = torch.cat([FRESH[:80], TRAIN[:30] + 0.3 * normal(30, 6, "noise")])
    distance = cdist(made, TRAIN)
    near, place = distance.min(1), distance.argmin(1)
    own = cdist(TRAIN, TRAIN)
    np.fill_diagonal(own, np.inf)
    held_out = cdist(HELD_OUT, TRAIN).min(1)
    authentic = near > own.min(1)[place]
    share, z = measure(made)
    assert share.value == pytest.approx(authentic.mean(), rel=1e-12)
    assert share.samples == authentic.astype(float).tolist()
    assert z.value == pytest.approx(by_scipy(near, held_out), rel=1e-9)
    assert z.card["median_distance_made"] == pytest.approx(np.sort(near)[(len(near) - 1) // 2], rel=1e-9)
    assert z.card["median_distance_real"] == pytest.approx(np.sort(held_out)[(len(held_out) - 1) // 2], rel=1e-9)


def test_labels_and_ends() -> None:
    share, z = measure(FRESH)
    assert (share.label, z.label) == ("AuthPct-any", "CT-any")
    assert (share.better, z.better) == ("higher", "zero") and not Memorisation.truth_is_best
    assert Memorisation.wants_train and share.n == z.n == 200


@pytest.mark.parametrize(("m", "n"), [(1, 1), (5, 8), (40, 13)])
@pytest.mark.parametrize("levels", [3, 1000])
def test_mann_whitney_is_scipy_s_with_and_without_ties(m: int, n: int, levels: int) -> None:
    x, y = (torch.randint(levels, (k,), generator=stream(0, "ranks", k, levels)).double() for k in (m, n))
    if x.unique().tolist() == y.unique().tolist() and len(x.unique()) == 1:
        y = y + 1
    z = mann_whitney(x, y)
    assert z == pytest.approx(by_scipy(x.numpy(), y.numpy()), rel=1e-9, abs=1e-12)
    p = mannwhitneyu(x.numpy(), y.numpy(), method="asymptotic", use_continuity=False).pvalue
    assert math.erfc(abs(z) / math.sqrt(2)) == pytest.approx(p, rel=1e-6)
    assert mann_whitney(y, x) == pytest.approx(-z, rel=1e-9, abs=1e-12)


def test_all_equal_is_no_evidence() -> None:
    assert mann_whitney(torch.ones(5).double(), torch.ones(7).double()) == 0
