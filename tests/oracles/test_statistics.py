"""The statistics. Oracles: SciPy's Student, its root finder for Cochran and Cox, Holm's procedure by brute force, hand sums."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import binomtest, norm
from scipy.stats import t as student

from sfumato.maths.student import cochran_cox_half, cochran_cox_p, holm, holm_levels, student_p, student_t
from sfumato.metrics.base import Score, mean_score, wilson
from sfumato.studies.results import Result
from sfumato.studies.statistics import Figures, compare, summarise
from sfumato.studies.study import Study


def score(samples: np.ndarray | list[float], better: str = "lower", resampled: str = "images", **kw: float) -> Score:
    samples = np.asarray(samples, float)
    mean, half = float(samples.mean()), 1.96 * float(samples.std(ddof=1)) / math.sqrt(len(samples))
    kw = {"value": mean, "low": mean - half, "high": mean + half, "n": len(samples)} | kw
    return Score(label="L1", better=better, unit="u", samples=samples.tolist(), resampled=resampled, card={}, **kw)


def result(
    method: str,
    seed: int,
    samples: np.ndarray,
    better: str = "lower",
    status: str = "ok",
    random: bool = True,
    **kw: str,
) -> Result:
    scores = {"L1": score(samples, better, **kw)} if status == "ok" else {}
    return Result(
        method=method, task="inpainting", seed=seed, status=status, learned=True, random=random, scores=scores
    )


def critical(level: float, parts: list[tuple[float, float]]) -> float:
    """Cochran and Cox as printed: t' = sum w t / sum w, times the standard error."""
    total = sum(variance for variance, _ in parts)
    return sum(v * student.isf(level / 2, f) for v, f in parts) / total * math.sqrt(total)


def p_by_root(gap: float, parts: list[tuple[float, float]]) -> float:
    return math.exp(brentq(lambda u: critical(math.exp(u), parts) - abs(gap), -50, -1e-9))


PARTS = [
    [(1.0, 99.0)],
    [(1.0, 99.0), (2.0, 1.0), (0.5, 2.0)],
    [(0.3, 999.0), (0.01, 1.0), (4.0, 4.0)],
]


@pytest.mark.parametrize("parts", PARTS)
def test_cochran_and_cox_by_a_root_of_scipy_s(parts: list[tuple[float, float]]) -> None:
    variances, freedoms = np.array([v for v, _ in parts]), [f for _, f in parts]
    for level in (0.05, 0.0125, 1e-4):
        assert cochran_cox_half(level, variances, freedoms) == pytest.approx(critical(level, parts), rel=1e-3)
    for gap in (0.4, 3.0, 10.0):
        assert cochran_cox_p(gap, variances, freedoms) == pytest.approx(p_by_root(gap, parts), rel=5e-3)
    many = cochran_cox_p(np.array([0.4, -0.4, 0.0]), np.stack([variances] * 3), freedoms)
    assert many[0] == many[1] == cochran_cox_p(0.4, variances, freedoms) and many[2] == 1.0


@pytest.mark.parametrize("freedom", [1, 2, 3, 9, 30, 999, math.inf])
@pytest.mark.parametrize("p", [0.9, 0.05, 0.002, 1e-9, 1e-20])
def test_student_s_quantile_is_scipy_s(p: float, freedom: float) -> None:
    wanted = student.isf(p / 2, freedom) if math.isfinite(freedom) else norm.isf(p / 2)
    assert student_t(p, freedom) == pytest.approx(wanted, rel=3e-4)


@pytest.mark.parametrize(("count", "n"), [(0, 50), (3, 50), (25, 50), (50, 50), (999, 1000)])
def test_a_share_has_wilson_s_interval(count: int, n: int) -> None:
    known = binomtest(count, n).proportion_ci(method="wilson")
    assert wilson(count / n, n) == pytest.approx((known.low, known.high), abs=1e-6)


def test_intervals_stay_inside_what_there_can_be() -> None:
    import torch

    share = mean_score("a", torch.zeros(30, dtype=torch.bool), "of 1", {"interval": "Student"}, "higher")
    assert share.low == 0.0 and 0.05 < share.high < 0.15 and share.card["interval"] == "Wilson"
    error = mean_score("b", torch.tensor([0.0, 0.0, 5.0]).double(), "levels", {}, "lower", (0.0, None))
    assert error.low == 0.0 and error.high == pytest.approx(5 / 3 + student.isf(0.025, 2) * math.sqrt(25 / 9), rel=1e-3)


def brute_force_holm(p_values: list[float], alpha: float) -> list[bool]:
    """Holm (1979) as written: go up the ordered p; stop at the first above alpha / (m - k + 1)."""
    m, rejected = len(p_values), [False] * len(p_values)
    for k, place in enumerate(sorted(range(m), key=lambda i: p_values[i]), start=1):
        if p_values[place] > alpha / (m - k + 1):
            break
        rejected[place] = True
    return rejected


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0] and holm([0.2]).tolist() == [0.2] and holm([]).tolist() == []


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


def verdicts(results: list[Result], study: Study | None = None) -> dict[tuple[str, str], str]:
    return {(d.first, d.second): d.verdict for d in compare(results, "inpainting", "L1", study)}


def test_the_error_is_that_of_the_images_and_of_each_method_s_seeds() -> None:
    a, b = [around(0), around(0.4), around(0.1)], [around(1.0), around(1.2)]
    cells = [result("A", s, x) for s, x in enumerate(a)] + [result("B", s, x) for s, x in enumerate(b)]
    (found,) = compare(cells, "inpainting", "L1")
    paired = np.mean(a, 0) - np.mean(b, 0)
    parts = [(paired.var(ddof=1) / 80, 79.0)]
    parts += [(np.var([x.mean() for x in side], ddof=1) / len(side), len(side) - 1.0) for side in (a, b)]
    assert found.value == pytest.approx(paired.mean())
    assert found.p == pytest.approx(p_by_root(float(paired.mean()), parts), rel=1e-2)
    assert (
        found.high - found.value
        == pytest.approx(critical(0.05, parts), rel=1e-3)
        == pytest.approx(found.visible, rel=1e-3)
    )


def test_pairing_removes_what_the_images_share() -> None:
    gap = RNG.normal(1.0, 1.0, 80)
    near = [result("A", 0, HARD + gap, random=False), result("B", 0, HARD, random=False)]
    far = [result("A", 0, HARD + gap, random=False), result("B", 0, RNG.permutation(HARD), random=False)]
    assert compare(near, "inpainting", "L1")[0].p < 1e-4 < 0.05 < compare(far, "inpainting", "L1")[0].p


@pytest.mark.parametrize(("better", "verdict"), [("lower", "better"), ("higher", "worse")])
def test_a_real_difference(better: str, verdict: str) -> None:
    cells = [result(n, s, around(gap), better) for n, gap in (("A", 0), ("B", 30)) for s in range(3)]
    (difference,) = compare(cells, "inpainting", "L1")
    assert (difference.first, difference.second, difference.verdict) == ("A", "B", verdict)
    assert difference.value == pytest.approx(-30, abs=0.5) and difference.high < 0


def test_a_single_training_speaks_of_itself_alone() -> None:
    cells = [result("A", 0, around(0)), result("B", 0, around(3))]
    assert verdicts(cells) == {("A", "B"): "ahead as trained"}
    fixed = [result("A", 0, around(0), random=False), result("B", 0, around(3), random=False)]
    assert verdicts(fixed) == {("A", "B"): "better"}
    repeated = [result("A", s, around(0)) for s in (0, 1, 2)] + [result("B", 0, around(3))]
    assert verdicts(repeated) == {("A", "B"): "ahead as trained"}


def test_two_seeds_apart_say_little() -> None:
    # The mean of A is lower by 2.5 with an image error of 0.2; but its trainings are 4 apart.
    cells = [result("A", 0, around(0)), result("A", 1, around(4)), result("B", 0, around(4)), result("B", 1, around(5))]
    (difference,) = compare(cells, "inpainting", "L1")
    assert difference.verdict == "not distinguishable" and difference.p > 0.2
    assert difference.low < 0 < difference.high and difference.visible > 10


def test_a_method_without_randomness_has_no_error_between_seeds() -> None:
    # Draws of one fixed model differ from seed to seed as its images do, and that is in the error of the images.
    cells = [result("A", 0, around(0), random=False), result("B", 0, around(0), random=False)]
    more = [*cells, result("A", 1, around(0), random=False)]
    assert compare(more, "inpainting", "L1")[0].visible == pytest.approx(
        compare(cells, "inpainting", "L1")[0].visible, rel=0.4
    )


def test_a_diverged_seed_withholds_the_verdict() -> None:
    cells = [
        *(result("A", s, around(0)) for s in (0, 1)),
        result("A", 2, around(0), status="diverged"),
        *(result("B", s, around(50)) for s in (0, 1, 2)),
    ]
    assert verdicts(cells) == {("A", "B"): "withheld: a seed diverged"}


def test_other_test_sets_are_not_compared() -> None:
    cells = [result("A", 0, around(0)), result("B", 0, around(3)), result("C", 0, around(3)[:40])]
    assert list(verdicts(cells)) == [("A", "B")]
    assert compare(cells, "generation", "L1") == []


def asked(**settings: object) -> Study:
    methods = [{"name": name, "restorer": "telea"} for name in "ABCD"]
    return Study(title="t", data="digits", tasks=["inpainting"], methods=methods, **settings)


def test_holm_runs_over_the_contrasts_and_the_two_leaders_alone() -> None:
    cells = [result(name, 0, around(gap), random=False) for name, gap in zip("ABCD", (0.0, 0.3, 0.35, 9), strict=True)]
    study = asked(contrasts=[("D", "A"), ("C", "A")])
    found = {(d.first, d.second): d for d in compare(cells, "inpainting", "L1", study)}
    assert {pair for pair, d in found.items() if d.verdict != "no verdict"} == {("A", "B"), ("A", "C"), ("A", "D")}
    assert found["B", "D"].p is None and found["B", "D"].high < 0
    alone = [compare([cells[0], cells[i]], "inpainting", "L1")[0].p for i in (1, 2, 3)]
    assert [found["A", other].p for other in "BCD"] == pytest.approx(holm(alone).tolist(), rel=1e-3)


def test_the_baseline_is_named_or_the_first_without_randomness() -> None:
    study = asked(baseline="C")
    assert study.compared(["A", "B", "C"]) == [("A", "C"), ("B", "C")]
    assert study.compared(["B", "D"]) == [("D", "B")]  # it was not measured here
    with pytest.raises(ValueError, match="no method is called 'X'; there are A, B, C, D"):
        asked(baseline="X")
    with pytest.raises(ValueError, match="stands against itself"):
        asked(contrasts=[("A", "A")])
    trained = Study(
        title="t",
        data="digits",
        tasks=["inpainting"],
        methods=[
            {"name": "WGAN", "family": "wgan"},
            {"name": "Gaussian", "family": "gaussian"},
            {"name": "Telea", "restorer": "telea"},
        ],
    )
    assert trained.compared(["WGAN", "Gaussian", "Telea"]) == [("WGAN", "Gaussian"), ("Telea", "Gaussian")]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.0, 6.0), min_size=1, max_size=5), st.integers(0, 9))
def test_an_interval_leaves_zero_out_where_there_is_a_verdict_and_only_there(gaps: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    cells = [
        result(name, s, HARD + gap + rng.normal(0, 1, 80) + rng.normal(0, 0.3))
        for name, gap in [("base", 0.0), *((f"m{i}", gap) for i, gap in enumerate(gaps))]
        for s in range(3)
    ]
    for difference in compare(cells, "inpainting", "L1"):
        assert (difference.verdict in ("better", "worse")) == (not difference.low <= 0 <= difference.high)


def test_holm_s_levels_by_hand() -> None:
    assert holm_levels([0.001, 0.5, 0.02], 0.06).tolist() == [0.02, 0.06, 0.03]
    assert holm_levels([0.001, 0.5, 0.04], 0.06).tolist() == [0.02, 0.03, 0.03]


def test_replicates_are_paired_draws_of_the_same_images() -> None:
    rng = np.random.default_rng(5)
    shared = rng.normal(0, 3, 100)
    a, b = shared + rng.normal(1, 0.5, 100), shared + rng.normal(0, 0.5, 100)
    cells = [
        result(n, 0, x, resampled="replicates", value=v, random=False) for n, x, v in (("A", a, 10.8), ("B", b, 10.0))
    ]
    (found,) = compare(cells, "inpainting", "L1")
    assert found.p == pytest.approx(2 * student.sf(0.8 / (a - b).std(ddof=1), 99), rel=1e-2)


def test_parts_are_not_paired() -> None:
    rng = np.random.default_rng(6)
    a, b = rng.normal(1, 0.5, 10), rng.normal(0.6, 1.0, 10)
    cells = [result(n, 0, x, resampled="parts", random=False) for n, x in (("A", a), ("B", b))]
    (found,) = compare(cells, "inpainting", "L1")
    parts = [(x.var(ddof=1) / 10, 9.0) for x in (a, b)]
    assert found.p == pytest.approx(p_by_root(float(a.mean() - b.mean()), parts), rel=1e-2)


def test_summary_by_hand() -> None:
    samples = [around(0), around(1), around(5)]
    summary = summarise(Figures([score(x) for x in samples], random=True))
    means = [x.mean() for x in samples]
    parts = [(np.mean(samples, 0).var(ddof=1) / 80, 79.0), (np.var(means, ddof=1) / 3, 2.0)]
    assert (summary.n, summary.seeds) == (80, 3) and summary.value == pytest.approx(np.mean(means))
    assert summary.seed_spread == pytest.approx(np.std(means, ddof=1))
    assert summary.high - summary.value == pytest.approx(critical(0.05, parts), rel=1e-3)


def test_summary_of_one_seed_and_of_one_image() -> None:
    summary = summarise(Figures([score([1.0, 2.0], value=5.0, low=4.0, high=6.0)], random=True))
    assert (summary.low, summary.high, summary.seed_spread) == (4.0, 6.0, 0.0)
    alone = summarise(Figures([score([1.0, 1.0], value=5.0, low=None, high=None, n=1)], random=True))
    assert alone.low is None and alone.high is None


def test_a_summary_stays_in_its_span() -> None:
    scores = [
        score([1.0] * 3 + [2.0], value=v, low=0.0, high=4.0, n=4).model_copy(update={"span": (0.0, None)})
        for v in (1.0, 2.0)
    ]
    summary = summarise(Figures(scores, random=True))
    assert summary.low == 0.0 and summary.high > 5


@pytest.mark.parametrize("freedom", [1, 2.5, 9, 30, 400, 2e4])
@pytest.mark.parametrize("t", [0.0, 0.3, -1.7, 2.3, 6.0])
def test_student_p_is_scipy_s(t: float, freedom: float) -> None:
    assert student_p(t, freedom) == pytest.approx(2 * student.sf(abs(t), freedom), rel=1e-6, abs=1e-12)
