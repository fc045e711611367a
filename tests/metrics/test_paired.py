"""Metrics that compare each made image with its true one: any batch size, the hole or the whole, and what is undefined."""

import json
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from sfumato.errors import ShapeError
from sfumato.images import to_float
from sfumato.kinds import build, discover, parse
from sfumato.metrics.base import Metric, PairedMetric, Score, region_mean
from sfumato.tasks.base import Observation, Operator
from sfumato.tasks.down_sampling import BlockMean
from sfumato.tasks.operators import Identity, Masking, Nothing

PAIRED = [  # those of one answer; metrics of several have tests of their own
    name
    for name, kind in discover(Metric).items()
    if issubclass(kind, PairedMetric) and build(kind.Config()).draws == 1
]
REGIONAL = [name for name in PAIRED if "region" in discover(Metric)[name].Config.model_fields]
each = pytest.mark.parametrize("name", PAIRED)


def metric(name: str, **settings: Any) -> Metric:
    return build(parse(Metric, {"kind": name, **settings}))


def observed(true: Tensor, operator: Operator) -> Observation:
    return Observation(operator.forward(to_float(true)), operator, torch.ones_like(operator.known))


def case(n: int = 6, size: int = 8, channels: int = 3, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    made, true = torch.randint(0, 256, (2, n, channels, size, size), generator=rng).to(torch.uint8)
    known = (torch.rand(n, 1, size, size, generator=rng) < 0.6).float()
    return made, true, known


def measure(made: Tensor, true: Tensor, known: Tensor, name: str, *batches: int, **settings: Any) -> Score:
    measured = metric(name, **settings)
    for m, t, k in zip(*(part.split(list(batches) or [len(made)]) for part in (made, true, known)), strict=True):
        measured.update(m, t, observed(t, Masking(k)))
    return measured.compute()


@each
def test_the_batch_size_does_not_matter(name: str) -> None:
    whole, cut = measure(*case(), name), measure(*case(), name, 1, 3, 2)
    assert cut.samples == whole.samples and cut.n == whole.n == 6
    assert (cut.value, cut.low, cut.high) == pytest.approx((whole.value, whole.low, whole.high), rel=1e-12)


@each
def test_the_order_does_not_matter(name: str) -> None:
    whole, turned = measure(*case(), name), measure(*(part.flip(0) for part in case()), name)
    assert turned.samples == whole.samples[::-1]
    assert turned.value == pytest.approx(whole.value, rel=1e-12)


@each
def test_a_score_is_the_mean_of_its_samples(name: str) -> None:
    score = measure(*case(), name)
    mean = sum(score.samples) / 6
    sd = math.sqrt(sum((v - mean) ** 2 for v in score.samples) / 5)
    assert score.value == pytest.approx(mean, rel=1e-5)
    assert score.high - score.value == pytest.approx(2.570582 * sd / math.sqrt(6), rel=3e-4)
    assert score.value - score.low == pytest.approx(score.high - score.value)
    assert score.resampled == "images" and score.card["undefined_images"] == 0
    assert Score(**json.loads(score.to_json())) == score


@each
def test_the_order_of_merit_is_right(name: str) -> None:
    if not discover(Metric)[name].truth_is_best:  # type: ignore[attr-defined]
        pytest.skip("the true picture is not its best: it asks something else")
    _, true, known = case()
    near = (true.int() + 1).clamp(0, 255).to(torch.uint8)
    far = (true.int() + 60).clamp(0, 255).to(torch.uint8)
    if name == "seam":  # what is made alike stays smooth; only what was made is brighter here
        near, far = (torch.where(known == 1, true, made) for made in (near, far))
    losses = [measure(made, true, known, name).loss() for made in (true, near, far)]
    assert losses == sorted(losses) and len(set(losses)) == 3


@pytest.mark.parametrize("name", ["l1", "mse", "psnr"])
def test_the_hole_sees_only_the_hole_and_all_sees_all(name: str) -> None:
    made, true, known = case()
    mixed = torch.where(known == 1, true, made)  # right where known
    assert measure(mixed, true, known, name).samples == measure(made, true, known, name).samples
    hole, everything = measure(mixed, true, known, name), measure(mixed, true, known, name, region="all")
    share = 1 - known.mean(dim=(1, 2, 3))
    for h, a, s in zip(hole.samples, everything.samples, share.tolist(), strict=True):
        expected = h - 10 * math.log10(s) if name == "psnr" else h * s
        assert a == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", REGIONAL)
def test_known_pixels_flatter(name: str) -> None:
    made, true, known = case(size=16)
    mixed = torch.where(known == 1, true, made)
    hole, everything = measure(mixed, true, known, name), measure(mixed, true, known, name, region="all")
    assert (everything.value > hole.value) == (hole.better == "higher")
    assert hole.label != everything.label and everything.label.endswith("(whole)")
    assert hole.card["region"] == "hole" and everything.card["region"] == "all"


@pytest.mark.parametrize("name", REGIONAL)
def test_images_without_a_hole_are_left_out_and_counted(name: str) -> None:
    made, true, known = case()
    known[2] = 1.0
    score = measure(made, true, known, name)
    rest = [0, 1, 3, 4, 5]
    assert score.n == 5 and score.card["undefined_images"] == 1
    assert score.value == pytest.approx(measure(made[rest], true[rest], known[rest], name).value, rel=1e-12)
    assert measure(made, true, known, name, region="all").n == 6


@pytest.mark.parametrize("name", REGIONAL)
def test_nothing_to_look_at(name: str) -> None:
    made, true, known = case()
    with pytest.raises(ShapeError, match="no image to look at"):
        measure(made, true, torch.ones_like(known), name)


@each
def test_nothing_was_given(name: str) -> None:
    with pytest.raises(ShapeError, match="no image to look at"):
        metric(name).compute()


@each
def test_one_image_has_no_interval(name: str) -> None:
    score = measure(*(part[:1] for part in case()), name)
    assert score.n == 1 and score.low is None and score.high is None and len(score.samples) == 1


@each
@pytest.mark.parametrize(
    "wrong",
    [
        lambda made: made.float(),
        lambda made: made.to(torch.int16),
        lambda made: made[:, :1],
        lambda made: made[:2],
        lambda made: made[..., :4],
    ],
    ids=["float", "int16", "channels", "images", "columns"],
)
def test_wrong_shapes_and_types(name: str, wrong: Any) -> None:
    if wrong(torch.zeros(3, 3, 8, 8, dtype=torch.uint8)).shape[-1] == 4 and not discover(Metric)[name].same_size:
        pytest.skip("textures may be made larger than their exemplar")
    made, true, known = case()
    for pair in ((wrong(made), true), (made, wrong(true))):
        with pytest.raises(ShapeError, match="two uint8 batches of one shape"):
            metric(name).update(*pair, observed(true, Masking(known)))


def test_differences_do_not_wrap() -> None:
    black, white = torch.zeros(1, 3, 4, 4).byte(), torch.full((1, 3, 4, 4), 255).byte()
    known = torch.zeros(1, 1, 4, 4)
    assert measure(black, white, known, "l1").value == measure(white, black, known, "l1").value == 255.0
    assert measure(black, white, known, "mse").value == 255.0**2
    assert measure(black, white, known, "psnr").value == pytest.approx(0.0)


def test_region_mean_by_hand() -> None:
    error = torch.arange(8.0).view(1, 2, 2, 2)
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).view(1, 1, 2, 2).double()
    assert float(region_mean(error, weight)) == (0 + 3 + 4 + 7) / 4
    assert math.isnan(float(region_mean(error, weight * 0)))


def test_consistency_of_a_mask_is_the_mean_over_known_pixels() -> None:
    made, true, known = case()
    score = measure(made, true, known, "consistency")
    gap = (made.double() - true.double()).abs()
    expected = [float(gap[i][:, known[i, 0] == 1].mean()) for i in range(6)]
    assert score.samples == pytest.approx(expected, rel=1e-5)
    assert measure(torch.where(known == 1, true, made), true, known, "consistency").value == pytest.approx(0, abs=1e-4)


def test_consistency_of_a_smaller_image_is_the_mean_over_its_pixels() -> None:
    made, true, _ = case()
    measured = metric("consistency")
    measured.update(made, true, observed(true, BlockMean(6, (8, 8), 2)))
    blocks = (made.double() - true.double()).view(6, 3, 4, 2, 4, 2).mean(dim=(3, 5)).abs()
    assert measured.compute().samples == pytest.approx(blocks.mean(dim=(1, 2, 3)).tolist(), rel=1e-4)


@each
def test_where_nothing_was_observed_pairs_mean_nothing(name: str) -> None:
    _, true, known = case()
    assert metric(name).applies(observed(true, Masking(known)))
    assert not metric(name).applies(observed(true, Nothing(6, (8, 8))))


def test_consistency_asks_nothing_of_what_was_noisy() -> None:
    _, true, _ = case()
    exact = observed(true, Identity(6, (8, 8)))
    assert metric("consistency").applies(exact)
    assert not metric("consistency").applies(Observation(exact.y, exact.operator, exact.weight, noise=0.1))


@pytest.mark.parametrize("name", REGIONAL)
def test_images_without_a_hole_are_no_evidence(name: str) -> None:
    # A paired test on the samples would count each of them as one more image with exactly the mean difference.
    made, true, known = case()
    known[2:] = 1.0
    assert len(measure(made, true, known, name).samples) == 2
