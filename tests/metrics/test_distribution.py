"""What holds for every distribution metric, what their cards say, and the extrapolation of FID to infinitely many images.

Features are a fixed random projection of the pixels here.
"""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sfumato.errors import CapabilityError, ShapeError
from sfumato.features import Classifies
from sfumato.images import Pixels
from sfumato.kinds import build, parse
from sfumato.maths.gaussians import frechet
from sfumato.maths.moments import Moments
from sfumato.metrics import distribution, frechet_infinity
from sfumato.metrics.base import Metric, Score
from sfumato.metrics.distribution import DistributionMetric, Sample, canonical
from sfumato.metrics.frechet_infinity import extrapolate
from sfumato.metrics.inception_score import InceptionScore
from sfumato.streams import stream
from sfumato.tasks.base import Observation
from sfumato.tasks.operators import Nothing

ABOUT = {"name": "FD-projection", "dimensions": 4, "sha256": "0" * 64, "resize": "none"}


class Projection(Classifies):
    """Four numbers an image, which are also the scores of four classes."""

    label = "FD-projection"

    def called(self, official: str, other: str) -> str:
        return f"{other}-projection"

    def about(self) -> dict[str, object]:
        return ABOUT

    def __call__(self, pixels: Pixels) -> Tensor:
        matrix = torch.randn(64, 4, generator=stream(0, "projection"))
        return torch.stack([image.flatten().float() / 255 @ matrix for image in pixels])

    def logits(self, vectors: Tensor) -> Tensor:
        return vectors


@pytest.fixture(autouse=True)
def _projection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribution, "extractor", lambda config, device: Projection())


def images(n: int, low: int, high: int, *name: str) -> Pixels:
    return torch.randint(low, high, (n, 1, 8, 8), generator=stream(0, "images", *name)).to(torch.uint8)


def metric(kind: str, **settings: Any) -> Any:
    return build(parse(Metric, {"kind": kind, **settings}))


def measure(measured: DistributionMetric, made: Pixels, true: Pixels, batch: int = 1000) -> list[Score]:
    if measured.wants_train:
        for part in images(50, 0, 256, "train").split(batch):
            measured.train(part)
    for m, t in zip(made.split(batch), true.split(batch), strict=True):
        operator = Nothing(len(m), (8, 8))
        measured.update(m, t, Observation(operator.forward(m.float()), operator, torch.ones_like(operator.known)))
    return measured.scores()


def normal(n: int, d: int, *name: str | int) -> Tensor:
    return torch.randn(n, d, generator=stream(0, "distribution", *name), dtype=torch.float64)


KINDS: list[tuple[str, dict[str, Any]]] = [
    ("frechet", {"replicates": 10}),
    ("frechet_infinity", {}),
    ("kernel", {}),
    ("kernel", {"subsets": 5, "subset_size": 20}),
    ("inception_score", {"splits": 4}),
    ("support", {}),
    ("memorisation", {}),
]
NAMES = [f"{kind} {settings}" for kind, settings in KINDS]


@pytest.mark.parametrize(("kind", "settings"), KINDS, ids=NAMES)
def test_neither_batches_nor_order_matter(kind: str, settings: dict[str, Any]) -> None:
    made, true = images(60, 0, 256, "made"), images(60, 0, 200, "true")
    whole = measure(metric(kind, **settings), made, true)
    assert measure(metric(kind, **settings), made, true, batch=7) == whole  # to the last bit, replicates and all
    mixed, turned = (torch.randperm(60, generator=stream(0, "order", name)) for name in ("made", "true"))
    for score, other in zip(whole, measure(metric(kind, **settings), made[mixed], true[turned]), strict=True):
        assert other.value == pytest.approx(score.value, rel=1e-9)
        if kind != "frechet":  # whose bootstrap draws places, so its interval is another draw of the same law
            assert (other.low, other.high) == pytest.approx((score.low, score.high), rel=1e-9)
            assert sorted(other.samples) == pytest.approx(sorted(score.samples), rel=1e-5, abs=1e-7)


def test_an_order_that_depends_on_the_vectors_alone() -> None:
    x = normal(50, 3, "canonical")
    assert torch.equal(canonical(x), canonical(x.flip(0)))
    assert sorted(canonical(x)[:, 0].tolist()) == sorted(x[:, 0].tolist())
    sums = canonical(x).sum(1)
    assert not torch.equal(sums, sums.sort().values)  # shuffled too, so halves are alike


def test_vectors_of_equal_sum_have_an_order_too() -> None:
    # As one-hot vectors have, and probabilities, and normalised vectors nearly.
    tied = torch.cat([torch.eye(6), torch.eye(6) * 0.5 + 0.5 / 6])
    assert torch.equal(canonical(tied), canonical(tied.flip(0)))


@pytest.mark.parametrize(("kind", "settings"), KINDS, ids=NAMES)
def test_cards(kind: str, settings: dict[str, Any]) -> None:
    for score in measure(metric(kind, **settings), images(60, 0, 256, "made"), images(60, 0, 200, "true")):
        card = score.card
        assert score.n == 60 and card["features"] == ABOUT
        assert card["made"] == {"n": 60, "size": "8 x 8"}
        assert card["warnings"][0].startswith("60 images: below 2,048")
        assert score.low is not None and score.low <= score.value <= score.high
        if kind == "inception_score":
            assert "real" not in card
        else:
            assert card["real"] == {"n": 60, "size": "8 x 8", "name": "the true images of the same observations"}
        if kind == "memorisation":
            assert card["train"] == {"n": 50, "name": "the training images"}


@pytest.mark.parametrize(("made", "real", "warned"), [(2047, 2048, 2047), (2048, 2047, 2047), (2048, 2048, None)])
def test_below_2048_images_every_card_warns(made: int, real: int, warned: int | None) -> None:
    sides = Sample.of(normal(made, 4, "x")), Sample.of(normal(real, 4, "y"))
    for kind in ("frechet", "kernel"):
        card = metric(kind, **({"replicates": 0, "context": False} if kind == "frechet" else {})).judge(*sides)[0].card
        expected = [f"{warned} images: below 2,048 a figure is not comparable with published ones"] if warned else []
        assert card.get("warnings", []) == expected


@pytest.mark.parametrize(("n", "warned"), [(2559, True), (2560, False)])
def test_below_ten_images_a_dimension_frechet_warns(n: int, warned: bool) -> None:
    sides = Sample.of(normal(n, 256, "x")), Sample.of(normal(n, 256, "y"))
    (score,) = metric("frechet", replicates=0, context=False).judge(*sides)
    warnings = score.card.get("warnings", [])
    assert [line.startswith("2559 images for 256 features") for line in warnings] == [True] * warned


def test_warnings_of_a_sample_are_passed_on_once() -> None:
    sides = [Sample.of(normal(20, 4, name), {"warnings": ["jpeg"]}) for name in ("x", "y")]
    assert metric("kernel").judge(*sides)[0].card["warnings"].count("jpeg") == 1


# Statistics alone


def told(n: int | None = None) -> Sample:
    found = Moments.of(normal(200, 4, "told"))
    return Sample(None, Moments.given(found.mean, found.covariance, n), {"name": "someone's statistics"})


def test_frechet_works_with_statistics_alone() -> None:
    known, full = Sample.of(normal(100, 4, "x") + 1), Sample.of(normal(200, 4, "told"))
    (expected,) = metric("frechet").judge(known, full)
    (score,) = metric("frechet").judge(known, told())
    assert score.value == pytest.approx(expected.value, rel=1e-9)
    assert score.low is not None and score.low < score.value < score.high  # made images alone are drawn anew
    assert score.card["real"] == {"name": "someone's statistics"} and "noise_floor" not in score.card
    (bare,) = metric("frechet").judge(told(), told())
    assert bare.value == pytest.approx(0, abs=1e-9) and bare.low is None and bare.samples == []
    (endless,) = metric("frechet_infinity").judge(known, told())
    assert math.isfinite(endless.value)


@pytest.mark.parametrize("kind", ["frechet_infinity", "kernel", "support", "inception_score", "memorisation"])
def test_the_others_say_what_to_give_instead(kind: str) -> None:
    known = Sample.of(normal(30, 4, "x"))
    sides = {"made": (told(), known, known), "real": (known, told(), known), "train": (known, known, told())}
    needs = {"frechet_infinity": ["made"], "inception_score": ["made"], "memorisation": ["made", "real", "train"]}
    for side in needs.get(kind, ["made", "real"]):
        with pytest.raises(CapabilityError, match="only mean and covariance are known here; give the images"):
            metric(kind).judge(*sides[side])


def test_the_inception_score_needs_a_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain:
        called = Projection.called

    monkeypatch.setattr(distribution, "extractor", lambda config, device: Plain())
    known = Sample.of(normal(30, 4, "x"))
    with pytest.raises(CapabilityError, match="features with a classifier"):
        metric("inception_score").judge(known, known)
    assert not InceptionScore.truth_is_best


def test_memorisation_needs_training_images() -> None:
    known = Sample.of(normal(30, 4, "x"))
    with pytest.raises(CapabilityError, match="training images"):
        metric("memorisation").judge(known, known)


# Infinitely many images, and the noise floor


def fitted(points: list[dict[str, float]]) -> tuple[float, float, float]:
    """NumPy's intercept, slope and standard error of the intercept."""
    x, y = ([point[key] for point in points] for key in ("n", "distance"))
    (slope, value), covariance = np.polyfit(1 / np.array(x), y, 1, cov=True)
    return value, slope, math.sqrt(covariance[1, 1])


def test_the_line_is_numpy_s() -> None:
    x, real = normal(300, 4, "x"), Moments.of(normal(500, 4, "y") + 0.3)
    line = extrapolate(x, real)
    assert (line.value, line.slope, line.error) == pytest.approx(fitted(line.points), rel=1e-9)
    assert len(line.points) == 15 and line.points[0]["n"] == 30  # n / 10
    assert line.points[-1] == {"n": 300, "distance": pytest.approx(frechet(Moments.of(x), real), rel=1e-9)}
    steps = np.diff([1 / point["n"] for point in line.points])
    assert np.allclose(steps, steps.mean(), rtol=0.15)
    assert extrapolate(normal(300, 40, "x"), Moments.of(normal(500, 40, "y"))).points[0]["n"] == 80  # 2 d


def test_a_law_a_plus_b_over_n_is_recovered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frechet_infinity, "frechet", lambda made, real: 3.5 + 20 / made.n)
    for n in (10, 37, 1000):
        line = extrapolate(normal(n, 2, "x"), Moments())
        assert (line.value, line.slope) == pytest.approx((3.5, 20), rel=1e-9)
        assert line.error == pytest.approx(0, abs=1e-9)
    with pytest.raises(ShapeError, match="at least 10"):
        extrapolate(normal(9, 2, "x"), Moments())


def intercepts(d: int, n: int, turns: int) -> tuple[np.ndarray, np.ndarray]:
    """What N(0.1, 1) scores against N(0, 1) itself, extrapolated and at n, less the truth."""
    real, truth = Moments.given(torch.zeros(d), torch.eye(d)), d * 0.1**2
    lines = [extrapolate(normal(n, d, "gaussian", turn) + 0.1, real) for turn in range(turns)]
    return np.array([line.value for line in lines]) - truth, np.array(
        [line.points[-1]["distance"] for line in lines]
    ) - truth


@pytest.mark.parametrize("d", [1, 4])
def test_the_intercept_is_unbiased(d: int) -> None:
    # In one dimension any order by the vectors is an order by their error: parts of the same ranks would err alike each time.
    endless, _ = intercepts(d, 400, 150)
    assert abs(endless.mean()) < 4 * endless.std(ddof=1) / math.sqrt(150)


def test_the_intercept_is_nearer_to_the_truth_than_the_distance_at_n() -> None:
    endless, plain = intercepts(16, 400, 40)
    assert np.abs(endless).mean() < 0.5 * np.abs(plain).mean()
    assert abs(endless.mean()) < 0.3 * plain.mean()


def test_the_card_of_a_frechet_distance_puts_it_in_context() -> None:
    made, real = Sample.of(normal(120, 4, "x") * 1.2), Sample.of(normal(101, 4, "y"))
    card = metric("frechet").judge(made, real)[0].card
    (endless,) = metric("frechet_infinity").judge(made, real)
    for told_of in (card["infinity"], endless.card["infinity"]):
        assert len(told_of["points"]) == 15
        assert [told_of[key] for key in ("value", "slope", "error")] == pytest.approx(fitted(told_of["points"]))
    assert endless.value == card["infinity"]["value"]
    assert endless.high - endless.value == pytest.approx(2.16037 * card["infinity"]["error"], rel=1e-3)
    assert "infinity" not in metric("frechet", context=False).judge(made, real)[0].card


def test_the_noise_floor_is_the_distance_of_two_halves_of_the_real_images() -> None:
    x = normal(101, 4, "y")
    floor = metric("frechet").judge(Sample.of(normal(40, 4, "x") + 5), Sample.of(x))[0].card["noise_floor"]
    assert floor["n"] == 50
    halves = [x[torch.randperm(101, generator=stream(0, "half", turn))].tensor_split([51]) for turn in range(200)]
    other = np.array([frechet(Moments.of(one), Moments.of(two)) for one, two in halves])
    assert other.min() < floor["value"] < other.max()
    sorted_by_class = Sample.of(torch.cat([x[:50], x[50:] + 3]))
    floor = metric("frechet").judge(sorted_by_class, sorted_by_class)[0].card["noise_floor"]
    assert floor["value"] < 4  # classes in turn do not make the halves differ; they would be 36 apart
