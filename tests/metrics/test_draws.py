"""Metrics of several answers, and the plane of perception and distortion, by hand arithmetic on 2 x 2 pictures."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from sfumato.errors import ConfigError
from sfumato.kinds import build, parse
from sfumato.metrics.base import Metric, Score
from sfumato.studies.statistics import dominated
from sfumato.tasks.base import Observation
from sfumato.tasks.operators import Masking

TRUE = torch.tensor([[[10, 10], [10, 10]], [[200, 200], [200, 200]]], dtype=torch.uint8)[:, None]
HOLE = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]]).expand(2, 1, 2, 2)  # the right column has to be made


def answers(*levels: tuple[int, int]) -> Tensor:
    """[K, 2, 1, 2, 2]: for each answer, what it says in the holes of both pictures."""
    made = TRUE.repeat(len(levels), 1, 1, 1, 1)
    for answer, pair in zip(made, levels, strict=True):
        for image, level in zip(answer, pair, strict=True):
            image[:, :, 1] = level
    return made


def measure(config: dict, made: Tensor, true: Tensor = TRUE, batch: int = 2) -> list[Score]:
    metric: Metric = build(parse(Metric, config))
    for start in range(0, 2, batch):
        part = slice(start, start + batch)
        operator = Masking(HOLE[part])
        x = true[part].float()
        seen = Observation(operator.forward(x), operator, 1 - operator.known)
        metric.update(made[:, part] if made.ndim == 5 else made[part], true[part], seen)
    return metric.scores()


THREE = answers((10, 200), (20, 190), (50, 100))


def test_diversity_is_the_mean_over_all_pairs() -> None:
    # First picture: |10 - 20|, |10 - 50|, |20 - 50|; second: |200 - 190|, |200 - 100|, |190 - 100|.
    (score,) = measure({"kind": "diversity", "draws": 3}, THREE)
    assert score.samples == pytest.approx([(10 + 40 + 30) / 3, (10 + 100 + 90) / 3], rel=1e-5)
    assert score.value == pytest.approx((80 / 3 + 200 / 3) / 2, rel=1e-12)
    assert (score.label, score.better, score.unit) == ("diversity (L1)", "higher", "levels of 255")
    assert score.card["draws"] == 3 and score.card["distance"]["kind"] == "l1"


def test_diversity_looks_where_its_distance_looks() -> None:
    whole = {"kind": "l1", "region": "all"}
    (score,) = measure({"kind": "diversity", "draws": 3, "distance": whole}, THREE)
    assert score.value == pytest.approx(140 / 3 / 2, rel=1e-12)  # half of the pixels are given and never differ
    assert score.card["region"] == "all"
    (score,) = measure({"kind": "diversity", "draws": 2, "distance": {"kind": "mse"}}, THREE[1:])
    assert score.value == pytest.approx((30**2 + 90**2) / 2, rel=1e-12)


def test_one_answer_again_and_again_is_not_diverse() -> None:
    (score,) = measure({"kind": "diversity", "draws": 4}, answers(*[(77, 5)] * 4))
    assert score.value == 0


def test_best_of_takes_the_best_answer_to_each_picture() -> None:
    (score,) = measure({"kind": "best_of", "draws": 3}, answers((15, 100), (50, 190), (0, 0)))
    assert score.samples == [5, 10] and score.value == 7.5
    assert (score.label, score.better, score.card["draws"]) == ("L1 best of 3", "lower", 3)


def test_best_is_the_highest_where_higher_is_better() -> None:
    (score,) = measure({"kind": "best_of", "draws": 2, "metric": {"kind": "psnr"}}, answers((15, 100), (50, 190)))
    expected = [10 * math.log10(255**2 / error**2) for error in (5, 10)]
    assert score.value == pytest.approx(sum(expected) / 2, rel=1e-12)
    assert (score.label, score.better, score.unit) == ("PSNR best of 2", "higher", "dB")


@pytest.mark.parametrize("kind", ["diversity", "best_of"])
def test_batches_do_not_matter(kind: str) -> None:
    config = {"kind": kind, "draws": 3}
    assert measure(config, THREE) == measure(config, THREE, batch=1)


@pytest.mark.parametrize(("kind", "slot"), [("diversity", "distance"), ("best_of", "metric")])
def test_only_a_paired_metric_of_one_answer_fits(kind: str, slot: str) -> None:
    for inner in ("frechet", "best_of"):
        with pytest.raises(ConfigError, match="paired metric of one answer"):
            build(parse(Metric, {"kind": kind, slot: {"kind": inner}}))
    with pytest.raises(ValidationError, match="draws"):
        parse(Metric, {"kind": kind, "draws": 1})


def test_perception_and_distortion_are_the_two_metrics_own_figures() -> None:
    made = answers((20, 100))[0]
    config = {"perception": {"kind": "psnr"}, "distortion": {"kind": "mse", "region": "all"}}
    perception, distortion = measure({"kind": "perception_distortion", **config}, made)
    psnr, mse = (measure(part, made)[0] for part in config.values())
    assert distortion.value == mse.value == pytest.approx((10**2 + 100**2) / 2 / 2, rel=1e-12)
    assert perception.value == psnr.value
    assert (perception.label, distortion.label) == ("perception (PSNR)", "distortion (MSE (whole))")
    assert (perception.better, distortion.better) == ("higher", "lower")
    assert distortion.card == {**mse.card, "plane": "distortion"} and perception.card["plane"] == "perception"
    assert distortion.samples == mse.samples and (distortion.low, distortion.high) == (mse.low, mse.high)


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(1, 3), (2, 2), (3, 1)], [False, False, False]),  # a curve: nobody is beaten
        ([(1, 1), (2, 2), (1, 2), (2, 1)], [False, True, True, True]),
        ([(1, 1), (1, 1)], [False, False]),  # equal ones do not beat each other
        ([(1, 1), (1, 1), (1, 2)], [False, False, True]),
        ([(math.nan, 0), (1, 1), (0, math.nan)], [False, False, False]),  # what is not known beats nothing
        ([(5, 5)], [False]),
        ([], []),
    ],
)
def test_dominated(points: list[tuple[float, float]], expected: list[bool]) -> None:
    assert dominated(points) == expected
