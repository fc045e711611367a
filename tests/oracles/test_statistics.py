"""The statistics. Oracles: SciPy's permutation_test and norm, Holm's procedure by brute force, the null hypothesis itself."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, permutation_test, ttest_ind
from scipy.stats import t as student

from sfumato.maths.student import student_95, student_p
from sfumato.metrics.base import Score
from sfumato.studies.results import Result
from sfumato.studies.statistics import compare, holm, paired_p, summarise

FLIPS = 4000


def score(samples: np.ndarray | list[float], better: str = "lower", resampled: str = "images", **kw: float) -> Score:
    samples = np.asarray(samples, float)
    mean, half = float(samples.mean()), 1.96 * float(samples.std(ddof=1)) / math.sqrt(len(samples))
    kw = {"value": mean, "low": mean - half, "high": mean + half, "n": len(samples)} | kw
    return Score(label="L1", better=better, unit="u", samples=samples.tolist(), resampled=resampled, card={}, **kw)


def result(method: str, seed: int, samples: np.ndarray, better: str = "lower", status: str = "ok") -> Result:
    scores = {"L1": score(samples, better)} if status == "ok" else {}
    return Result(method=method, task="inpainting", seed=seed, status=status, learned=True, scores=scores)


@pytest.mark.parametrize("n", [4, 7, 10])
@pytest.mark.parametrize("shift", [0.0, 0.4, 1.0])
def test_sign_flips_against_scipy_s_exact_test(n: int, shift: float) -> None:
    rng = np.random.default_rng(n)
    difference = rng.normal(shift, 1.0, n)
    exact = permutation_test(
        (difference,), lambda x, axis: x.mean(axis), permutation_type="samples", n_resamples=np.inf
    ).pvalue
    by_hand = [abs(np.dot(signs, difference)) for signs in itertools.product((-1, 1), repeat=n)]
    assert exact == pytest.approx(np.mean(np.array(by_hand) >= abs(difference.sum()) - 1e-12))
    p = paired_p([score(difference)], [score(np.zeros(n))])
    assert p == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / FLIPS) + 2 / FLIPS)
    assert p == paired_p([score(np.zeros(n))], [score(difference)])


def test_seeds_are_averaged_image_by_image() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.2, 1, (3, 30)), rng.normal(0, 1, (2, 30))
    p = paired_p([score(x) for x in a], [score(x) for x in b])
    assert p == paired_p([score(a.mean(0))], [score(b.mean(0))])


def test_pairing_removes_what_the_images_share() -> None:
    rng = np.random.default_rng(2)
    hard, gap = rng.normal(50, 20, 60), rng.normal(1.0, 1.0, 60)
    assert paired_p([score(hard + gap)], [score(hard)]) < 0.001
    assert paired_p([score(hard + gap)], [score(rng.permutation(hard))]) > 0.05


def test_the_same_figures_have_p_one() -> None:
    samples = np.random.default_rng(3).normal(size=20)
    assert paired_p([score(samples)], [score(samples)]) == 1.0


def test_p_is_uniform_where_nothing_differs() -> None:
    rng = np.random.default_rng(4)
    p = np.array([paired_p([score(rng.normal(0, 1, 25))], [score(rng.normal(0, 1, 25))]) for _ in range(300)])
    assert 0.02 <= (p < 0.05).mean() <= 0.09
    assert 0.42 <= (p < 0.5).mean() <= 0.58
    assert p.min() > 0


def test_replicates_are_student_s_test_on_the_figures() -> None:
    rng = np.random.default_rng(5)
    shared = rng.normal(0, 3, 100)
    a, b = shared + rng.normal(1, 0.5, 100), shared + rng.normal(0, 0.5, 100)
    first, second = (score(x, resampled="replicates", value=v) for x, v in ((a, 10.8), (b, 10.0)))
    expected = 2 * student.sf(0.8 / (a - b).std(ddof=1), 99)
    assert paired_p([first], [second]) == pytest.approx(expected, rel=1e-6)


def test_parts_are_welch_s_test() -> None:
    rng = np.random.default_rng(6)
    a, b = rng.normal(1, 0.5, 10), rng.normal(0.6, 1.0, 10)
    first, second = (score(x, resampled="parts", value=float(x.mean())) for x in (a, b))
    assert paired_p([first], [second]) == pytest.approx(ttest_ind(a, b, equal_var=False).pvalue, rel=1e-6)


def brute_force_holm(p_values: list[float], alpha: float) -> list[bool]:
    """Holm (1979) as written: go up the ordered p; stop at the first above alpha / (m - k + 1)."""
    m, rejected = len(p_values), [False] * len(p_values)
    for k, place in enumerate(sorted(range(m), key=lambda i: p_values[i]), start=1):
        if p_values[place] > alpha / (m - k + 1):
            break
        rejected[place] = True
    return rejected


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([0.2]) == [0.2] and holm([]) == []


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), max_size=8), st.sampled_from([0.01, 0.05, 0.2, 0.5]))
def test_holm_rejects_what_the_procedure_rejects(p_values: list[float], alpha: float) -> None:
    for corrected, p, rejected in zip(holm(p_values), p_values, brute_force_holm(p_values, alpha), strict=True):
        if abs(corrected - alpha) > 1e-9:
            assert (corrected < alpha) == rejected
        assert corrected >= p


RNG = np.random.default_rng(6)
HARD = RNG.normal(40, 10, 80)


def around(gap: float) -> np.ndarray:
    return HARD + gap + RNG.normal(0, 1, 80)


def verdicts(results: list[Result]) -> dict[tuple[str, str], str]:
    return {(d.first, d.second): d.verdict for d in compare(results, "inpainting", "L1")}


@pytest.mark.parametrize(("better", "verdict"), [("lower", "better"), ("higher", "worse")])
def test_a_real_difference(better: str, verdict: str) -> None:
    cells = [result("A", s, around(0), better) for s in (0, 1)] + [result("B", s, around(3), better) for s in (0, 1)]
    (difference,) = compare(cells, "inpainting", "L1")
    assert (difference.first, difference.second, difference.verdict) == ("A", "B", verdict)
    assert difference.value == pytest.approx(-3, abs=0.5) and difference.p < 0.01


def test_no_difference() -> None:
    cells = [result("A", 0, around(0)), result("B", 0, around(0))]
    assert verdicts(cells) == {("A", "B"): "not distinguishable"}


def test_seeds_that_disagree_are_not_distinguishable() -> None:
    # On average A is better, and p is tiny; but one training of A came out worse than one of B.
    cells = [result("A", 0, around(0)), result("A", 1, around(4)), result("B", 0, around(3)), result("B", 1, around(5))]
    (difference,) = compare(cells, "inpainting", "L1")
    assert difference.p < 0.01 and difference.value < 0
    assert difference.verdict == "not distinguishable"


def test_holm_runs_over_all_pairs_of_the_column() -> None:
    cells = [result(name, 0, around(gap)) for name, gap in (("A", 0), ("B", 0.35), ("C", 9))]
    raw = [paired_p([a.scores["L1"]], [b.scores["L1"]]) for a, b in itertools.combinations(cells, 2)]
    assert [d.p for d in compare(cells, "inpainting", "L1")] == holm(raw)


def test_diverged_seeds_and_other_test_sets_are_left_out() -> None:
    cells = [
        result("A", 0, around(0)),
        result("A", 1, around(0), status="diverged"),
        result("B", 0, around(3)),
        result("C", 0, around(3)[:40]),
    ]
    assert verdicts(cells) == {("A", "B"): "better"}
    assert compare(cells, "generation", "L1") == []


def test_summary_by_hand() -> None:
    scores = [score([1.0] * 4, value=v, low=v - h, high=v + h, n=4) for v, h in ((10.0, 1.0), (12.0, 2.0), (17.0, 2.0))]
    summary = summarise(scores)
    spread = math.sqrt(((10 - 13) ** 2 + (12 - 13) ** 2 + (17 - 13) ** 2) / 2)
    images, seeds = (1 + 4 + 4) / 3 / norm.ppf(0.975) ** 2, spread**2 / 3
    freedom = int((images + seeds) ** 2 / seeds**2 * 2)  # Welch and Satterthwaite, rounded down
    half = student.ppf(0.975, freedom) * math.sqrt(images + seeds)
    assert (summary.value, summary.n, summary.seeds) == (13.0, 4, 3)
    assert summary.seed_spread == pytest.approx(spread)
    assert summary.low == pytest.approx(13 - half, rel=1e-3) and summary.high == pytest.approx(13 + half, rel=1e-3)


@pytest.mark.parametrize("freedom", [1, 2, 3, 5, 10, 11, 20, 100, 10_000])
def test_students_quantile_against_scipy(freedom: int) -> None:
    assert student_95(freedom) == pytest.approx(student.ppf(0.975, freedom), abs=0.003)
    assert student_95(freedom + 0.9) >= student.ppf(0.975, freedom + 0.9) - 0.002


def test_a_distance_cut_at_zero_keeps_its_width() -> None:
    summary = summarise([score([1.0] * 4, value=1.0, low=0.0, high=4.0, n=4)])
    assert (summary.low, summary.high) == (0.0, 4.0)


def test_summary_of_one_seed_and_of_one_image() -> None:
    summary = summarise([score([1.0, 2.0], value=5.0, low=4.0, high=6.0)])
    assert (summary.low, summary.high, summary.seed_spread) == (4.0, 6.0, 0.0)
    alone = summarise([score([1.0, 1.0], value=5.0, low=None, high=None, n=1)])
    assert alone.low is None and alone.high is None


@pytest.mark.parametrize("freedom", [1, 2.5, 9, 30, 400, 2e4])
@pytest.mark.parametrize("t", [0.0, 0.3, -1.7, 2.3, 6.0])
def test_student_p_is_scipy_s(t: float, freedom: float) -> None:
    assert student_p(t, freedom) == pytest.approx(2 * student.sf(abs(t), freedom), rel=1e-6, abs=1e-12)
