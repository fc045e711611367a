"""Distribution metrics against other people's numbers, and against loops and closed forms.

The numbers are those of torch-fidelity 0.4.0, pytorch-fid 0.3.0 and prdc 0.2 on the vectors drawn below, to 12 digits.
"""

import math
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist
from torch import Tensor

from sfumato.errors import ShapeError
from sfumato.maths.gaussians import frechet
from sfumato.maths.kernels import cubic_mmd
from sfumato.maths.moments import Moments
from sfumato.metrics import distribution
from sfumato.metrics.base import Score
from sfumato.metrics.distribution import Sample
from sfumato.metrics.inception_score import inception_score
from sfumato.metrics.kernel import Kernel
from sfumato.metrics.support import Support
from sfumato.streams import stream

REAL = torch.randn(300, 24, generator=stream(0, "golden", "real"), dtype=torch.float64)
MADE = 0.9 * torch.randn(280, 24, generator=stream(0, "golden", "made"), dtype=torch.float64) + 0.2
LOGITS = torch.randn(500, 10, generator=stream(0, "golden", "logits")) * 2


class Anything:
    """Features that only have a name."""

    def called(self, official: str, other: str) -> str:
        return other

    def about(self) -> dict[str, object]:
        return {}


@pytest.fixture(autouse=True)
def _nameless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribution, "extractor", lambda config, device: Anything())


def judged(metric: Any, made: Tensor = MADE, real: Tensor = REAL, **settings: int) -> list[Score]:
    return metric(metric.Config(**settings)).judge(Sample.of(made), Sample.of(real))


def normal(n: int, d: int, *name: str | int) -> Tensor:
    return torch.randn(n, d, generator=stream(0, "oracle", *name), dtype=torch.float64)


def fd(made: Tensor, real: Tensor) -> float:
    return frechet(Moments.of(made), Moments.of(real))


# Frechet


def test_the_vectors_are_the_ones_that_the_peers_were_given() -> None:
    found = [float(part) for part in (REAL[0, 0], REAL.sum(), MADE[0, 0], MADE.sum(), LOGITS.double().sum())]
    known = [0.827686197759, 9.09698344101, 0.293234446238, 1230.50978231, 45.0073530263]
    assert found == pytest.approx(known, rel=1e-11)


def test_frechet_is_that_of_torch_fidelity_and_pytorch_fid() -> None:
    assert fd(MADE, REAL) == pytest.approx(2.20624678439, rel=1e-11)  # both codes
    assert fd(REAL, MADE) == pytest.approx(2.20624678439, rel=1e-11)
    single = fd(MADE.float(), REAL.float())
    assert single == pytest.approx(2.20624678373, rel=1e-11)  # pytorch-fid, which holds float32 vectors as float64
    assert single == pytest.approx(2.20624677112, rel=1e-8)  # torch-fidelity sums the mean in float32


def test_frechet_of_few_vectors_is_better_than_a_matrix_root() -> None:
    few = fd(MADE[:18], REAL[:20])
    assert few == pytest.approx(16.0438927061, rel=1e-11)  # by singular values of the data
    assert few == pytest.approx(16.0438925731, rel=2e-8)  # torch-fidelity and pytorch-fid: roots of rounding errors


def by_definition(x: Tensor, y: Tensor) -> float:
    """Eigenvalues of C1 C2 with 60 digits."""
    with mpmath.workdps(60):
        means, covariances = [], []
        for part in (x, y):
            rows = mpmath.matrix(part.tolist())
            mean = [sum(rows[:, j]) / rows.rows for j in range(rows.cols)]
            centred = mpmath.matrix(rows.rows, rows.cols)
            for i in range(rows.rows):
                for j in range(rows.cols):
                    centred[i, j] = rows[i, j] - mean[j]
            means.append(mean)
            covariances.append(centred.T * centred / (rows.rows - 1))
        values, _ = mpmath.eig(covariances[0] * covariances[1])
        root = sum(mpmath.re(mpmath.sqrt(value)) for value in values)
        traces = sum(part[j, j] for part in covariances for j in range(part.rows))
        return float(sum((a - b) ** 2 for a, b in zip(*means, strict=True)) + traces - 2 * root)


@pytest.mark.parametrize(("m", "n"), [(3, 4), (3, 20), (20, 3), (5, 6), (6, 5), (2, 2), (20, 15)])
def test_every_route_is_the_definition(m: int, n: int) -> None:
    # 5 dimensions: up to 5 vectors are kept as rows, so these are all four routes and the ends of each.
    x, y = normal(m, 5, "x"), 2 * normal(n, 5, "y") @ torch.diag(torch.arange(1.0, 6.0).double()) + 0.3
    assert fd(x, y) == pytest.approx(by_definition(x, y), rel=1e-9 if max(m, n) <= 5 or min(m, n) > 5 else 1e-7)


@pytest.mark.parametrize(("m", "n"), [(8, 9), (9, 60), (60, 9), (60, 70)])
def test_commuting_covariances(m: int, n: int) -> None:
    # Rows U diag(s) V^T sqrt(n - 1) with one V for both and U orthogonal to 1: the distance is sum (s - t)^2 + |shift|^2.
    d, basis = 24, torch.linalg.qr(normal(24, 24, "basis"))[0]
    sets, spreads = [], []
    for size, shift in ((m, 0.0), (n, 0.7)):
        rank = min(size - 1, d)
        spread = torch.zeros(d, dtype=torch.float64)
        spread[:rank] = torch.linspace(0.5, 3.0 + shift, rank)
        ones = torch.ones(size, 1, dtype=torch.float64)
        left = torch.linalg.qr(torch.cat([ones, normal(size, rank, "left", size)], 1))[0][:, 1:]
        sets.append(math.sqrt(size - 1) * (left * spread[:rank]) @ basis[:, :rank].T + shift)
        spreads.append(spread)
    expected = float((spreads[0] - spreads[1]).square().sum()) + d * 0.7**2
    assert fd(*sets) == pytest.approx(expected, rel=1e-7)


def test_all_routes_agree_and_statistics_need_no_n() -> None:
    x, y = normal(12, 16, "x"), 1.5 * normal(14, 16, "y") + 0.2
    one, two = Moments.of(x), Moments.of(y)
    told, known = (Moments.given(two.mean, two.covariance, n) for n in (None, 14))
    assert (told.n, known.n) == (0, 14)
    by_rows = frechet(one, two)
    for side in (told, known):
        assert frechet(one, side) == pytest.approx(by_rows, rel=1e-7)
        assert frechet(side, one) == pytest.approx(by_rows, rel=1e-7)
        assert frechet(Moments.given(one.mean, one.covariance), side) == pytest.approx(by_rows, rel=1e-6)


@pytest.mark.parametrize("d", [3, 40])
def test_frechet_of_features_like_pooled_relus_by_scipy(d: int) -> None:
    x, y = ((normal(200, d, name) * torch.linspace(1, 0.05, d)).abs().numpy() for name in ("x", "y"))
    y = 1.3 * y
    one, two = (np.atleast_2d(np.cov(part, rowvar=False)) for part in (x, y))
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(one + two - 2 * sqrtm(one @ two).real)
    assert fd(torch.from_numpy(x), torch.from_numpy(y)) == pytest.approx(expected, rel=1e-6)


# Kernel


def by_loops(x: Tensor, y: Tensor) -> float:
    def mean(a: list, b: list, same: bool) -> float:
        pairs = [(p, q) for i, p in enumerate(a) for j, q in enumerate(b) if not (same and i == j)]
        return sum((sum(s * t for s, t in zip(p, q, strict=True)) / len(p) + 1) ** 3 for p, q in pairs) / len(pairs)

    a, b = x.tolist(), y.tolist()
    return mean(a, a, True) + mean(b, b, True) - 2 * mean(a, b, False)


def test_kernel_of_everything_is_torch_fidelity_s_single_subset() -> None:
    assert cubic_mmd(MADE[:280], REAL[:280]).value == pytest.approx(0.103715604901, rel=1e-10)
    assert cubic_mmd(MADE, REAL).value == pytest.approx(0.107982863684, rel=1e-10)
    single = cubic_mmd(MADE.float(), REAL[:280].float()).value
    assert single == pytest.approx(0.103715419769, rel=1e-5)  # torch-fidelity multiplies and sums in float32 there


@pytest.mark.parametrize(("m", "n", "d"), [(2, 2, 1), (3, 7, 2), (9, 4, 5)])
def test_kernel_by_loops(m: int, n: int, d: int) -> None:
    x, y = normal(m, d, "x"), normal(n, d, "y") + 0.5
    assert cubic_mmd(x, y).value == pytest.approx(by_loops(x, y), rel=1e-10, abs=1e-12)


@pytest.mark.parametrize(("m", "n"), [(1023, 1025), (1024, 1024), (1025, 2049)])
def test_kernel_across_blocks(m: int, n: int) -> None:
    x, y = normal(m, 2, "x"), normal(n, 2, "y") * 1.2
    xx, yy, xy = ((a.numpy() @ b.numpy().T / 2 + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    expected = (xx.sum() - np.trace(xx)) / (m * m - m) + (yy.sum() - np.trace(yy)) / (n * n - n) - 2 * xy.mean()
    assert cubic_mmd(x, y).value == pytest.approx(expected, rel=1e-8)


def test_kernel_is_unbiased() -> None:
    # On a line the expectation of (xy + 1)^3 is in raw moments: 3 (difference of first)^2 + 3 (second)^2 + (third)^2.
    for shift, expected in ((0.0, 0.0), (1.0, 3 * 1 + 3 * 1 + 4**2)):
        found = [cubic_mmd(normal(20, 1, "x", turn), normal(25, 1, "y", turn) + shift).value for turn in range(400)]
        assert abs(np.mean(found) - expected) < 4 * np.std(found, ddof=1) / math.sqrt(400)


def test_kernel_s_jackknife_is_the_loop_that_leaves_one_out() -> None:
    x, y = normal(7, 3, "x"), normal(5, 3, "y") + 0.4
    without_x = np.array([by_loops(torch.cat([x[:i], x[i + 1 :]]), y) for i in range(7)])
    without_y = np.array([by_loops(x, torch.cat([y[:j], y[j + 1 :]])) for j in range(5)])
    spread = sum((len(part) - 1) / len(part) * ((part - part.mean()) ** 2).sum() for part in (without_x, without_y))
    found = cubic_mmd(x, y)
    assert found.error == pytest.approx(math.sqrt(spread), rel=1e-9)
    assert np.allclose(found.influence, 7 * found.value - 6 * without_x, rtol=1e-9)


def test_kernel_s_jackknife_error_is_the_spread_of_new_draws() -> None:
    found = [cubic_mmd(normal(60, 3, "x", turn), normal(80, 3, "y", turn) + 0.7) for turn in range(400)]
    spread = np.std([one.value for one in found], ddof=1)
    assert np.sqrt(np.mean([one.error**2 for one in found])) == pytest.approx(spread, rel=0.2)


def test_torch_fidelity_s_subsets_differ_from_ours_by_their_draw_alone() -> None:
    # It draws by numpy's RandomState(2020), x before y, so other images fall into its subsets; on its own, we agree.
    rng = np.random.RandomState(2020)
    picked = [(rng.choice(300, 100, replace=False), rng.choice(280, 100, replace=False)) for _ in range(10)]
    found = [cubic_mmd(REAL[one], MADE[two]).value for one, two in picked]
    assert np.mean(found) == pytest.approx(0.102176033591, rel=1e-9)
    assert np.std(found) == pytest.approx(0.0221537479223, rel=1e-9)  # over n; the card's spread is over n - 1
    (ours,) = judged(Kernel, subsets=10, subset_size=100)
    assert abs(ours.value - np.mean(found)) < 4 * 0.022 * math.sqrt(2 / 10)


def test_subsets_scatter_about_the_exact_value() -> None:
    (exact,), (some,) = judged(Kernel), judged(Kernel, subsets=100, subset_size=100)
    assert exact.value == pytest.approx(0.107982863684, rel=1e-10)
    assert abs(some.value - exact.value) < 4 * np.std(some.samples, ddof=1) / math.sqrt(100)
    assert some.card["pairs"]["spread_between_subsets"] == pytest.approx(np.std(some.samples, ddof=1), rel=1e-4)
    (whole,) = judged(Kernel, real=REAL[:280])
    assert whole.value == pytest.approx(0.103715604901, rel=1e-10)
    (refused,) = judged(Kernel, real=REAL[:280], subsets=10, subset_size=280)
    assert (refused.value, refused.low) == (whole.value, whole.low) and refused.low < refused.high
    assert any("subsets of 280 were refused, since a set has 280 images" in line for line in refused.card["warnings"])


# Inception Score


@pytest.mark.parametrize(
    ("n", "splits", "mean", "sd"),
    [(500, 10, 2.55496380526, 0.117348212951), (500, 1, 2.63897948405, 0), (497, 10, 2.54647295203, 0.102971928735)],
)
def test_inception_score_is_torch_fidelity_s_without_a_shuffle(n: int, splits: int, mean: float, sd: float) -> None:
    found = inception_score(LOGITS[:n], splits)  # part i is [i n // splits, (i + 1) n // splits), as in Salimans' code
    assert float(found.mean()) == pytest.approx(mean, rel=1e-9)
    assert float(found.std(correction=0)) == pytest.approx(sd, rel=1e-8, abs=1e-12)


def test_inception_score_is_torch_fidelity_s_in_its_shuffle() -> None:
    found = inception_score(LOGITS[np.random.RandomState(2020).permutation(500)], 10)
    assert float(found.mean()) == pytest.approx(2.57274422566, rel=1e-9)


@pytest.mark.parametrize("classes", [2, 7])
def test_the_ends_of_the_inception_score(classes: int) -> None:
    sure = 1e3 * torch.eye(classes).repeat(5, 1)
    assert inception_score(sure, 1).tolist() == pytest.approx([classes], rel=1e-12)
    assert inception_score(sure[:classes].repeat_interleave(2, 0), classes).tolist() == pytest.approx([1] * classes)
    assert inception_score(torch.full((20, classes), 3.0), 4).tolist() == pytest.approx([1] * 4)


def test_logits_that_leave_nothing_to_the_other_classes_are_no_nan() -> None:
    assert inception_score(1e30 * torch.eye(4), 1).tolist() == pytest.approx([4])
    with pytest.raises(ShapeError, match="10 parts"):
        inception_score(LOGITS[:9], 10)


# Support


def test_support_is_torch_fidelity_s_and_prdc_s() -> None:
    precision, recall, density, coverage = (score.value for score in judged(Support))
    assert (precision, recall) == pytest.approx((0.885714292526, 0.430000007153), rel=1e-7)  # torch-fidelity, k = 3
    assert (density, coverage) == pytest.approx((1.65428571429, 0.98), rel=1e-11)  # prdc, k = 5
    five = [score.value for score in judged(Support, k=5)]
    assert five == pytest.approx([0.946428571429, 0.553333333333, 1.65428571429, 0.98], rel=1e-11)
    three = [score.value for score in judged(Support, MADE.float(), REAL.float(), k=3, k_density=3)]
    assert three == pytest.approx([0.885714285714, 0.43, 1.60238095238, 0.893333333333], rel=1e-11)
    turned = [score.value for score in judged(Support, REAL, MADE, k=5)]
    assert turned == pytest.approx([0.553333333333, 0.946428571429, 0.402, 0.789285714286], rel=1e-11)


def test_balls_are_closed_as_torch_fidelity_s_and_not_open_as_prdc_s() -> None:
    # A point seven times: its third neighbour is at distance 0, so an open ball holds nothing, not even the point itself.
    points = torch.cat([REAL[:50], REAL[:1].expand(6, -1)])
    values = [score.value for score in judged(Support, points, points, k=3, k_density=3)]
    assert values[0] == values[1] == values[3] == 1  # torch-fidelity
    distance = cdist(points, points)
    radius = np.sort(distance, 1)[:, 3]
    assert values[2] == pytest.approx((distance <= radius[:, None]).sum(0).mean() / 3, rel=1e-12)
    held = distance < radius[:, None]
    by_prdc = [held.any(0).mean(), held.any(1).mean(), held.sum(0).mean() / 3, held.any(1).mean()]
    assert by_prdc == pytest.approx([0.875, 0.875, 0.863095238095, 0.875], rel=1e-11)
