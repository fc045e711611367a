"""Latent vectors looked at, images rated, images made smaller: the commands on tiny models."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import sfumato
from sfumato.config import load
from sfumato.data.digits import Digits
from sfumato.errors import ConfigError
from sfumato.images import to_uint8
from sfumato.kinds import build, parse
from sfumato.latents.spaces import space_of
from sfumato.maths.ranks import auroc
from sfumato.metrics.base import Metric
from sfumato.studies import runner
from sfumato.studies.results import gather
from sfumato.studies.study import Study
from tests.cases import call, refused

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
        ("stylegan2", ["--images", 4000, "--set", "family.path_length=0"]),
        ("told", ["--images", 2000, "--set", "family.labels=true"]),
    ):
        assert (
            call(
                "train",
                "gan" if family == "told" else family,
                *TINY,
                "--set",
                "family.width=4",
                *more,
                "--out",
                place / family,
            )
            == 0
        )
    return place


@pytest.mark.parametrize("family", ["vae", "gan", "vq_vae"])
def test_rows_between_two_draws_end_in_them(runs: Path, tmp_path: Path, family: str) -> None:
    assert call("latent", "interpolate", runs / family, "--out", tmp_path / "i.png", "--rows", 2, "--steps", 4) == 0
    with Image.open(tmp_path / "i.png") as picture:
        width, height = picture.size
    assert width == pytest.approx(2 * height, rel=0.05)


DECODE = ["vae", "gan", "vq_vae", "nice", "stylegan2"]


def opened(path: Path) -> tuple[int, int, int]:
    """Rows of images, columns, frames; digits are 8 x 8, enlarged eight times and a pixel apart."""
    with Image.open(path) as picture:
        return (picture.height + 1) // 65, (picture.width + 1) // 65, getattr(picture, "n_frames", 1)


@pytest.mark.parametrize("family", DECODE)
def test_every_family_that_decodes_adds_mixes_and_projects(
    runs: Path, tmp_path: Path, family: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = runs / family
    assert call("latent", "arithmetic", run, "0,1", "2-4", "5", "--out", tmp_path / "a.png") == 0
    assert opened(tmp_path / "a.png") == (3 + 3, 4, 1), "three groups, and nine results in rows of four"
    assert call("latent", "mix", run, "--rows", "0-1", "--columns", "2-4", "--out", tmp_path / "m.png") == 0
    assert opened(tmp_path / "m.png") == (9, 4, 1), "for each of three parts two rows below a head"
    assert call("latent", "interpolate", run, "--rows", 3, "--steps", 4, "--out", tmp_path / "i.gif") == 0
    assert opened(tmp_path / "i.gif") == (1, 3, 6), "there and back"
    capsys.readouterr()
    arguments = ["latent", "project", run, "--test", 2, "--steps", 12, "--out", tmp_path / "p.png"]
    assert call(*arguments, "--keep", tmp_path / "codes.safetensors") == 0
    told = capsys.readouterr().out.splitlines()
    found = [re.search(r"distance (\S+) after 12 steps \((\S+) before\), PSNR (\S+) dB", line) for line in told[:2]]
    assert all(match and float(match[1]) < float(match[2]) for match in found), told
    assert opened(tmp_path / "p.png") == (2, 7, 1)
    codes = load_file(tmp_path / "codes.safetensors")["code"]
    space = space_of(sfumato.load_run(run).family)
    with torch.no_grad():
        again = to_uint8(space.image(codes, space.condition(2)))
    shown = np.asarray(Image.open(tmp_path / "p.png").convert("L"))[::65, 6 * 65 :: 8][:2, :8]
    assert np.abs(shown.astype(int) - again[:, 0, 0].numpy().astype(int)).max() <= 1, "the codes kept are those shown"


def test_a_draw_s_code_gives_the_image_that_sample_draws(runs: Path) -> None:
    for family in ("gan", "vae", "nice", "told"):
        run = sfumato.load_run(runs / family)
        space = space_of(run.family)
        with torch.no_grad():
            made = to_uint8(space.picture(*space.draws([4, 2], 0)))
        torch.testing.assert_close(made.int(), run.sample(5)[[4, 2]].int(), atol=1, rtol=0)


def test_a_third_of_a_code_comes_from_the_other(runs: Path) -> None:
    for family in ("gan", "stylegan2"):
        space = space_of(sfumato.load_run(runs / family).family)
        own, other = space.draws([0], 0)[0], space.draws([1], 0)[0]
        parts = [space.parted(own, other, part) == other for part in ("coarse", "middle", "fine")]
        assert bool(torch.stack(parts).sum(0).eq(1).all()), "the three thirds are all of it, and apart"


def test_a_walk_ends_where_it_began(runs: Path, tmp_path: Path) -> None:
    arguments = ["latent", "walk", runs / "stylegan2", "-n", 4, "--stops", 2, "--steps", 5, "--out"]
    assert call(*arguments, tmp_path / "w.webp") == 0
    with Image.open(tmp_path / "w.webp") as film:
        frames = []
        for i in range(film.n_frames):
            film.seek(i)
            frames.append(np.asarray(film.convert("L")).astype(int))
    assert len(frames) == 10
    steps = [np.abs(a - b).mean() for a, b in zip(frames, [*frames[1:], frames[0]], strict=True)]
    assert max(steps) < 3 * np.mean(steps) + 1, "no jump, at the end neither"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["arithmetic", "0,x", "1", "2"], "'0,x' are no numbers of draws"),
        (["mix", "--part", "cheese"], "part 'cheese' is not one of coarse, middle, fine or all"),
        (["mix", "--rows", "4-2"], "'4-2' are no numbers of draws"),
        (["mix", "--rows", "\u00b2"], "are no numbers of draws"),
        (["mix", "--rows", "0-99999999999"], "are no numbers of draws"),
        (["mix", "--class", "1"], "was trained without labels; leave the class out"),
        (["walk", "--set", "truncation=0.5"], "truncation"),
        (["walk", "--out", "w.mp4"], "w.mp4 cannot move; end it in .gif, .webp, .apng"),
        (["project"], "nothing to project; name pictures, or --test 4"),
        (["project", "nowhere.png"], "no picture at nowhere.png"),
        (["project", "SMALL"], "has 4 x 4 pixels and the model draws 8 x 8; give a larger one"),
    ],
)
def test_what_cannot_be_done_with_codes(
    runs: Path, tmp_path: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    small = tmp_path / "small.png"
    Image.new("L", (4, 4)).save(small)
    first, *rest = [str(small) if a == "SMALL" else a for a in arguments]
    refused(capsys, "latent", first, runs / "gan", *rest, words=words)


def test_classes_that_codes_do_not_say_are_chosen(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["arithmetic", runs / "told", "0", "1", "2", "--out", tmp_path / "a.png"]
    refused(capsys, "latent", *asked, words="have classes that their codes do not say; choose one: --class 3")
    assert call("latent", *asked, "--class", 3) == 0
    for command in ("mix", "walk"):
        assert call("latent", command, runs / "told", "--out", tmp_path / f"{command}.gif") == 0
    assert call("latent", "project", runs / "told", "--test", 2, "--steps", 2, "--out", tmp_path / "p.png") == 0
    assert call("sample", runs / "told", "-n", 4, "--out", tmp_path / "s.png") == 0
    assert call("latent", "walk", runs / "stylegan2", "--set", "truncation=0.5", "--out", tmp_path / "w.gif") == 0


def test_a_model_without_codes_says_so(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(
        capsys,
        "latent",
        "walk",
        runs / "differnet",
        words="decodes no latent vectors; a gan, vae, flow or stylegan2 does",
    )


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
