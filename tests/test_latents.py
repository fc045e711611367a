"""Latent vectors looked at, images rated, images made smaller: the commands on tiny models."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sfumato.config import load
from sfumato.data.digits import Digits
from sfumato.errors import ConfigError
from sfumato.kinds import build, parse
from sfumato.maths.ranks import auroc
from sfumato.metrics.base import Metric
from sfumato.studies import runner
from sfumato.studies.results import gather
from sfumato.studies.study import Study
from tests.cases import call

TINY = ["--data", "digits", "--set", "data.test=16", "--images", 6000, "--set", "budget.batch=16"]


pytestmark = pytest.mark.xdist_group("latents")  # one process trains for all


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs")
    for family, more in (
        ("vae", []),
        ("gan", []),
        ("vq_vae", ["--set", "family.codes=8"]),
        ("differnet", ["--images", 500]),  # each image is seen through two networks
        ("nice", []),
    ):
        assert call("train", family, *TINY, "--set", "family.width=4", *more, "--out", place / family) == 0
    return place


@pytest.mark.parametrize("family", ["vae", "gan", "vq_vae"])
def test_rows_between_two_draws_end_in_them(runs: Path, tmp_path: Path, family: str) -> None:
    assert call("latent", "interpolate", runs / family, "--out", tmp_path / "i.png", "--rows", 2, "--steps", 4) == 0
    with Image.open(tmp_path / "i.png") as picture:
        width, height = picture.size
    assert width == pytest.approx(2 * height, rel=0.05)


def test_images_stand_above_what_becomes_of_them(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for family in ("vae", "vq_vae"):
        assert call("latent", "reconstruct", runs / family, "-n", 4, "--out", tmp_path / f"{family}.png") == 0
    with Image.open(tmp_path / "vae.png") as opened:
        picture = np.asarray(opened.convert("L"))
    test = Digits(Digits.Config(test=16)).load().test.images
    assert picture.max() == test[:4].max(), "the first row is the test images themselves"
    assert call("latent", "reconstruct", runs / "gan", "--out", tmp_path / "g.png") == 2
    assert "finds no latent vectors" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("family", "by"), [("vae", "likelihood"), ("vae", "reconstruction"), ("vae", "search"), ("differnet", "rating")]
)
def test_a_digit_turned_over_is_odder(runs: Path, tmp_path: Path, family: str, by: str) -> None:
    digits = Digits(Digits.Config()).load().test.images[:8]
    np.savez(tmp_path / "odd.npz", images=(255 - digits).permute(0, 2, 3, 1).numpy())
    out = tmp_path / "a.json"
    arguments = ["anomaly", runs / family, "digits:test", "--odd", f"{tmp_path}/odd.npz:images", "-n", 8]
    assert call(*arguments, "--by", by, "--json", out) == 0
    told = json.loads(out.read_text())
    assert told["by"] == by and len(told["scores"]) == len(told["odd"]) == 8
    assert told["auroc"] > 0.9
    assert told["auroc"] == auroc(*(torch.tensor(list(told[part].values())) for part in ("scores", "odd")))


def test_a_model_that_cannot_rate_says_how_it_can(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("anomaly", runs / "gan", "digits:test", "--by", "likelihood") == 2
    assert "search" in capsys.readouterr().err


def test_the_way_there_and_back_through_a_flow_tells_nothing(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("anomaly", runs / "nice", "digits:test", "--by", "reconstruction") == 2
    assert "likelihood" in capsys.readouterr().err


def test_smaller_images_are_means_of_blocks(tmp_path: Path) -> None:
    whole, half = (Digits(Digits.Config(train=4, shrink=shrink)).load() for shrink in (1, 2))
    rows, columns = whole.size
    means = whole.train.images.double().view(4, 1, rows // 2, 2, columns // 2, 2).mean((3, 5))
    assert half.size == (rows // 2, columns // 2)
    np.testing.assert_allclose(half.train.images.numpy(), means.numpy(), atol=0.5)
    with pytest.raises(ConfigError, match="shrink = 3"):
        Digits(Digits.Config(shrink=3 if rows % 3 else 5)).load()


def test_a_study_has_figures_of_reconstructions(tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "title": "t",
        "data": {"kind": "digits", "train": 64, "validation": 8, "test": 20},
        "tasks": ["generation"],
        "budget": {"images": 64, "batch": 16},
        "metrics": [{"kind": "reconstruction", "features": {"kind": "lite0", "layer": "b4"}}, "bits_per_dimension"],
        "methods": [
            {"name": "a", "family": {"kind": "vae", "width": 4}},
            {"name": "b", "family": {"kind": "vae", "width": 4, "likelihood": "bernoulli"}},
        ],
    }
    runner.run(load(Study, values), tmp_path, device="cpu")
    labels = {r.method: set(r.scores) for r in gather(tmp_path)}
    assert labels["a"] == {"rFD-lite0-b4", "rPSNR", "bits/dim"} or "bits/dim" in labels["a"]
    assert "bits/dim" not in labels["b"] and "rPSNR" in labels["b"], "a law without a density has no such figure"


def test_perfect_reconstructions_have_no_distance() -> None:
    from sfumato.families.abilities import Decodes, Encodes
    from sfumato.families.base import Family

    class Mirror(Family, Decodes, Encodes, abstract=True):
        def build(self) -> None: ...
        def players(self, stage: Any) -> Any: ...
        def draw(self, *_: Any) -> Any: ...
        def latent(self, n: int, rng: Any) -> Any: ...
        def decode(self, z: Any, condition: Any) -> Any:
            return z

        def encode(self, x: Any, condition: Any) -> Any:
            return x

    data = Digits(Digits.Config(test=20)).load()
    family = Mirror(parse(Metric, "l1"), data.spec)
    metric = build(parse(Metric, {"kind": "reconstruction", "features": {"kind": "lite0", "layer": "b4"}}))
    rfd, psnr = metric.measure_model(family, data.test, seed=0, batch=8)
    assert rfd.label.startswith("rFD") and rfd.value == pytest.approx(0.0, abs=1e-3) and psnr.value > 70
