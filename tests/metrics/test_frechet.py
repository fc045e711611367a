"""The Frechet metric: its card, its warning, and replicates that every method shares. Features are plain pixels here."""

import json

import pytest
import torch
from torch import Tensor

from sfumato.errors import ShapeError
from sfumato.kinds import build, parse
from sfumato.maths.gaussians import frechet_distance
from sfumato.maths.moments import Moments
from sfumato.metrics import distribution
from sfumato.metrics.base import Metric, Score
from sfumato.metrics.frechet import Frechet
from sfumato.tasks.base import Observation
from sfumato.tasks.operators import Nothing


def moments(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    found = Moments.of(x)
    return found.mean, found.covariance


class PixelFeatures:
    """Four numbers an image, to see the metric without a network."""

    label, digest, dim = "FD-pixels", "0" * 64, 4

    def about(self) -> dict[str, object]:
        return {"name": self.label, "dimensions": self.dim, "sha256": self.digest, "resize": "none"}

    def __call__(self, pixels: Tensor) -> Tensor:
        return pixels[:, :, :2, :2].flatten(1)[:, :4].float() / 255


@pytest.fixture(autouse=True)
def _pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribution, "extractor", lambda config, device: PixelFeatures())


def images(seed: int, n: int = 60, low: int = 0, high: int = 256) -> Tensor:
    return torch.randint(low, high, (n, 1, 8, 8), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def measure(made: Tensor, true: Tensor, batch: int = 1000, replicates: int | None = 20) -> Score:
    measured = Frechet(Frechet.Config(replicates=replicates))
    for m, t in zip(made.split(batch), true.split(batch), strict=True):
        operator = Nothing(len(m), (8, 8))
        measured.update(m, t, Observation(operator.forward(m.float()), operator, torch.ones_like(operator.known)))
    return measured.compute()


def test_the_value_is_the_formula_s() -> None:
    made, true = images(0), images(1, high=128)
    parts = (*moments(PixelFeatures()(made)), *moments(PixelFeatures()(true)))
    assert measure(made, true).value == pytest.approx(frechet_distance(*parts), rel=1e-12)
    assert measure(true, true).value == pytest.approx(0, abs=1e-9)


def test_batch_size_and_order_do_not_matter() -> None:
    made, true = images(0), images(1, high=128)
    whole = measure(made, true)
    assert measure(made, true, batch=7) == whole
    turned = measure(made.flip(0), true)  # a law has no order; only the replicates draw other pairs
    assert turned.value == pytest.approx(whole.value, rel=1e-9)


def test_the_card() -> None:
    score = measure(images(0), images(1))
    assert score.label == "FD-pixels" and score.better == "lower" and score.n == 60
    assert score.card["features"] == {"name": "FD-pixels", "dimensions": 4, "sha256": "0" * 64, "resize": "none"}
    assert score.card["made"] == {"n": 60, "size": "8 x 8"}
    assert score.card["real"] == {"n": 60, "size": "8 x 8", "name": "the true images of the same observations"}
    assert "20 bootstrap replicates" in score.card["interval"]
    assert Score(**json.loads(score.to_json())) == score


@pytest.mark.parametrize(("n", "warned"), [(39, True), (40, False), (5, True)])
def test_too_few_images_are_warned_of(n: int, warned: bool) -> None:
    card = measure(images(0, n), images(1, n)).card
    assert any("for 4 features" in line for line in card["warnings"]) == warned
    assert f"{n} images: below 2,048" in card["warnings"][0]
    if warned:
        assert f"{n} images for 4 features" in card["warnings"][1]


def test_replicates_and_interval() -> None:
    score = measure(images(0), images(1, high=200))
    assert len(score.samples) == 20 and score.resampled == "replicates"
    half = 2.093 * float(torch.tensor(score.samples).std())  # Student, 19 degrees of freedom
    assert score.high == pytest.approx(score.value + half, rel=1e-3)
    assert score.low == pytest.approx(max(score.value - half, 0), rel=1e-2, abs=1e-9)
    assert len(measure(images(0), images(1), replicates=None).samples) == 100


def test_replicates_draw_the_same_images_for_every_method() -> None:
    # Two methods with equal images have equal replicates; a near copy has nearly equal ones, a shuffled copy has not.
    made, true = images(0), images(1, high=200)
    near = made.clone()
    near[0, 0, 0, 0] ^= 1
    base, other, turned = (torch.tensor(measure(m, true).samples) for m in (made, near, made.flip(0)))
    assert float((base - other).abs().max()) < 0.01 * float(base.std())
    assert float((base - turned).abs().max()) > 0.5 * float(base.std())


def test_a_replicate_is_the_distance_of_the_drawn_images() -> None:
    made, true = images(0), images(1, high=200)
    drawn = distribution.draws(60, 20)
    assert drawn.shape == (20, 60) and int(drawn.min()) >= 0 and int(drawn.max()) == 59
    assert torch.equal(drawn, distribution.draws(60, 20)) and len({tuple(row) for row in drawn.tolist()}) == 20
    features = PixelFeatures()
    for index, sample in zip(drawn, measure(made, true).samples, strict=True):
        parts = (*moments(features(made)[index]), *moments(features(true)[index]))
        assert sample == pytest.approx(frechet_distance(*parts), rel=1e-5)


def test_the_global_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    measure(images(0), images(1))
    assert torch.equal(torch.get_rng_state(), state)


def test_no_and_too_few_images() -> None:
    with pytest.raises(ShapeError, match="none were given"):
        Frechet(Frechet.Config()).compute()
    with pytest.raises(ShapeError, match="at least 2"):
        measure(images(0, 1), images(1, 1))


def test_it_applies_where_pairs_do_not() -> None:
    operator = Nothing(2, (8, 8))
    nothing = Observation(operator.forward(torch.zeros(2, 1, 8, 8)), operator, torch.ones_like(operator.known))
    assert build(parse(Metric, "frechet")).applies(nothing) and not Frechet.paired
