"""The commands, each called in this process on digits so few that a training takes a second."""

import json
from pathlib import Path

import numpy as np
import pytest

import sfumato
from sfumato.images import read_picture

from .cases import TINY, call, mask, picture, pixels, refused

COMMANDS = ["train", "sample", "restore", "evaluate", "study", "report", "kinds", "check"]


@pytest.fixture(scope="module")
def filler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DDPM that fills and enlarges digits."""
    out = tmp_path_factory.mktemp("runs") / "filler"
    tasks = ["--task", "inpainting", "--task", "super_resolution", "--set", "tasks.1.scale=2"]
    assert call("train", "ddpm", *tasks, "--images", 64, "--out", out, *TINY) == 0
    return out


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A WGAN that generates digits."""
    out = tmp_path_factory.mktemp("runs") / "maker"
    assert call("train", "wgan", "--images", 64, "--out", out, *TINY) == 0
    return out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(command, "--help") == 0
    text = capsys.readouterr().out
    assert f"{command} [OPTIONS]" in text and len(text.splitlines()) > 6


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--help") == 0
    text = capsys.readouterr().out
    assert all(f"\n  {command}" in text for command in COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--version") == 0
    assert capsys.readouterr().out == f"sfumato {sfumato.__version__}\n"


def test_train_writes_a_run(filler: Path) -> None:
    names = {path.name for path in filler.iterdir()}
    assert {"model.safetensors", "config.json", "spec.json", "card.md", "ledger.json", "losses.jsonl"} <= names
    assert not [name for name in names if "checkpoint" in name or name.endswith(".tmp")]
    card = (filler / "card.md").read_text()
    assert "ddpm" in card and "never evidence" in card and "inpainting, super_resolution" in card
    assert json.loads((filler / "ledger.json").read_text())["images"] == 64


def test_the_same_command_again_trains_nothing(maker: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in maker.iterdir()}
    assert call("train", "wgan", "--images", 64, "--out", maker, *TINY) == 0
    assert {path.name: path.stat().st_mtime_ns for path in maker.iterdir()} == before


def test_train_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.toml").write_text('data = "digits"\ntasks = ["outpainting"]\nfamily = "ddpm"\n')
    assert call("train", "--config", tmp_path / "run.toml", "--images", 32, "--out", tmp_path / "run", *TINY) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["tasks"][0]["kind"] == "outpainting" and config["budget"]["images"] == 32
    assert config["family"]["width"] == 4 and config["data"]["train"] == 64


def test_sample(maker: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("sample", maker, "-n", 4, "--out", tmp_path / "a.png") == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "a.png")
    assert call("sample", maker, "-n", 4, "--out", tmp_path / "b.png") == 0
    assert call("sample", maker, "-n", 4, "--seed", 1, "--out", tmp_path / "c.png") == 0
    first, same, other = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert first == same != other
    assert pixels(tmp_path / "a.png").shape[1::-1] == (129, 129)  # two by two of 8 x 8, enlarged 8 times, a gap of 1


def test_sample_by_other_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = tmp_path / "nice", tmp_path / "o.npz"
    assert call("train", "nice", "--images", 64, "--out", run, *TINY) == 0
    images = {}
    for set_ in ("temperature=0.0", "temperature=1.0"):
        assert call("sample", run, "-n", 4, "--out", out, "--set", set_) == 0
        with np.load(out) as file:
            images[set_] = file["images"]
    cold, warm = images["temperature=0.0"], images["temperature=1.0"]
    assert (cold == cold[:1]).all() and not (warm == warm[:1]).all()
    refused(capsys, "sample", run, "--out", out, "--set", "heat=1", words="heat")
    refused(capsys, "sample", run, "--out", out, "--set", "width=64", words=("does not fit", "family.width=64"))


def test_restore_with_a_run(filler: Path, tmp_path: Path) -> None:
    photo, hole = picture(tmp_path / "p.png", mode="L"), mask(tmp_path / "m.png")
    out = tmp_path / "deeper" / "r.png"
    assert call("restore", photo, "--mask", hole, "--model", filler, "--out", out) == 0
    made, given = pixels(out), pixels(photo)
    assert (made[2:] == given[2:]).all(), "known pixels changed"
    assert call("restore", photo, "--mask", hole, "--model", filler, "--out", tmp_path / "again.png") == 0
    assert (tmp_path / "again.png").read_bytes() == out.read_bytes()


def test_enlarge_with_a_run(filler: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = picture(tmp_path / "s.png", 4, 4, "L")
    assert call("restore", small, "--scale", 2, "--model", filler, "--out", tmp_path / "r.png") == 0
    assert pixels(tmp_path / "r.png").shape[1::-1] == (8, 8)
    large = picture(tmp_path / "l.png", 13, 9, "L")
    assert call("restore", large, "--scale", 2, "--model", filler, "--out", tmp_path / "r.png") == 0
    assert pixels(tmp_path / "r.png").shape[1::-1] == (26, 18)
    refused(capsys, "restore", small, "--scale", 4, "--model", filler, words=("enlarge by 4", "super_resolution-x2"))


@pytest.mark.parametrize("size", [(17, 9), (1, 5), (64, 64), (8, 8)])
@pytest.mark.parametrize("model", ["telea", "navier_stokes", "mean_fill"])
def test_classical_fill_of_any_size(tmp_path: Path, model: str, size: tuple[int, int]) -> None:
    photo, hole = picture(tmp_path / "p.png", *size), mask(tmp_path / "m.png", *size, share=0.4)
    assert call("restore", photo, "--mask", hole, "--model", model, "--out", tmp_path / "r.png") == 0
    made, given, holes = (pixels(tmp_path / name) for name in ("r.png", "p.png", "m.png"))
    assert made.shape == given.shape and (made[holes == 0] == given[holes == 0]).all()


def test_invert_means_the_other_way_round(tmp_path: Path) -> None:
    photo, hole = picture(tmp_path / "p.png"), mask(tmp_path / "m.png", share=0.75)
    assert call("restore", photo, "--mask", hole, "--invert", "--model", "telea", "--out", tmp_path / "r.png") == 0
    made, given = pixels(tmp_path / "r.png"), pixels(photo)
    assert (made[:6] == given[:6]).all() and (made[6:] != given[6:]).any()


@pytest.mark.parametrize("model", ["bicubic", "nearest"])
def test_classical_enlarging(tmp_path: Path, model: str) -> None:
    small = picture(tmp_path / "s.png", 5, 5)
    assert call("restore", small, "--scale", 3, "--model", model, "--out", tmp_path / "r.png") == 0
    assert pixels(tmp_path / "r.png").shape[1::-1] == (15, 15)
    if model == "nearest":
        assert np.asarray(read_picture(tmp_path / "r.png"))[:, ::3, ::3].tolist() == read_picture(small).tolist()


def test_evaluate(filler: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "scores.json"
    assert call("evaluate", filler, "--metrics", "l1, ssim,consistency", "--test", 6, "--json", out) == 0
    text = capsys.readouterr().out
    assert "inpainting" in text and "super_resolution-x2" in text and "L1" in text
    scores = json.loads(out.read_text())
    assert [r["task"] for r in scores if r["method"] == "ddpm"] == ["inpainting", "super_resolution-x2"]
    methods = {result["method"] for result in scores}
    assert {"ddpm", "Gaussian (mean)", "Telea", "Biharmonic", "Mean fill", "Bicubic", "Nearest"} <= methods
    assert "on 6 test images" in text and "L1 (levels of 255)" in text and (filler / "evaluation/report.html").is_file()
    assert all(set(result["scores"]) == {"L1", "SSIM", "|Ax-y|"} for result in scores)
    assert all(score["n"] == 6 and score["card"] for result in scores for score in result["scores"].values())


def test_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("kinds") == 0
    families = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("family "))
    assert {"ddpm", "gaussian", "regression", "wgan"} <= set(families.replace(",", "").split())
    assert call("kinds", "family") == 0
    text = capsys.readouterr().out
    assert "critic_turns = None  # Turns of the critic" in text


def test_check_looks_at_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(3):
        picture(tmp_path / f"{i}.png")
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    assert call("check", tmp_path) == 0
    text = capsys.readouterr().out
    assert "broken.png" in text and "3 pictures" in text


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    from sfumato.cli import main
    from sfumato.errors import WeightsError

    with pytest.raises(WeightsError):
        main(["--debug", "sample", str(tmp_path)])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], "No such command"),
        (["train", "--imges", "3"], "No such option"),
        (["study"], "Missing argument"),
        (["restore"], "Missing argument"),
        (["sample", "x", "-n", "0"], "Invalid value"),
    ],
)
def test_a_usage_error_is_one_line(arguments, words, capsys):
    refused(capsys, *arguments, words=words)


def test_samples_as_a_folder_and_as_an_npz(maker: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("sample", maker, "-n", 5, "--out", tmp_path / "five") == 0
    assert call("sample", maker, "-n", 3, "--out", tmp_path / "three.npz") == 0
    with np.load(tmp_path / "three.npz") as file:
        images = file["images"]
    pictures = [pixels(path) for path in sorted((tmp_path / "five").iterdir())]
    assert len(pictures) == 5 and images.shape[0] == 3 and images.dtype == np.uint8
    for one, two in zip(images, pictures, strict=False):
        assert np.abs(one.reshape(two.shape).astype(int) - two).max() <= 1  # the sums of another batch size round apart
    refused(
        capsys, "sample", maker, "-n", 5000, "--out", tmp_path / "s.png", words=("too many for one picture", "folder")
    )
