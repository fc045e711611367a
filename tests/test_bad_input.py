"""Everything a person can get wrong is one line on stderr that says what came, what is allowed and what to do."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sfumato.studies import runner
from sfumato.training import checkpoint

from .cases import DATA, TINY, call, encoded, mask, picture, pixels, png_header, refused

Capsys = pytest.CaptureFixture[str]
STUDY = """
title = "tiny"
data = {{ kind = "digits", train = 64, validation = 8, test = 8 }}
tasks = ["inpainting", "outpainting"]
budget = {{ images = 64, batch = 16 }}
metrics = ["l1", "consistency"]
{top}
[[methods]]
name = "Telea"
restorer = "telea"
[[methods]]
name = "DDPM"
family = {{ kind = "ddpm", width = 4, {family} }}
"""


def study(path: Path, top: str = "", family: str = "clip = true") -> Path:
    path.write_text(STUDY.format(top=top, family=family))
    return path


@pytest.fixture(scope="module")
def filler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "filler"
    assert call("train", "ddpm", "--task", "inpainting", "--images", 32, "--out", out, *TINY) == 0
    return out


# --- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("budget.imagess = 3", ("budget.imagess", "unknown key")),
        ('budget.images = "many"', ("budget.images", "integer", "many")),
        ("budget.images = 0", ("budget.images", "greater than or equal to 1")),
        ("budget.save_every = inf", ("budget.save_every", "finite")),
        ("seeds = []", ("seeds", "at least 1")),
        ("seeds = [1, 1]", ("seeds", "same")),
        ('tasks.0.kind = "colouring"', ("tasks.0", "colouring", "known: colourisation, ", "inpainting")),
        ('tasks.0.mask = "triangle"', ("tasks.0", "mask", "triangle", "known: box")),
        ("tasks.0.region = 3", ("tasks.0.region",)),
        ('data.kind = "nowhere"', ("data", "nowhere", "known:", "digits")),
        ("data.train = 99999", ("data.train = 99999", "1297")),
        ('metrics = ["l3"]', ("metrics.0", "l3", "known:")),
        ('methods.0.restorer = "telepathy"', ("methods.0.restorer", "telepathy", "telea")),
        ('methods.0.restorer = "conditional"', ("Telea", "needs a family")),
        ('methods.1.family.kind = "gann"', ("methods.1.family", "gann", "known:", "wgan")),
        ("methods.1.family.widht = 3", ("methods.1.family", "widht", "unknown key")),
        ('methods.1.restorer = "telea"', ("DDPM", "uses no family")),
        ('methods.1.name = "telea"', ("method names", "same")),
        ('train = "both"', ("train", "each", "jointly")),
        ('plugins = ["no_such_module"]', ("plugins", "no_such_module", "install")),
        ("methods.7.name = 1", ("--set", "'7'", "0 to 1")),
        ("title.a.b = 1", ("title",)),
        ("nonsense", ("--set 'nonsense'", "path=value")),
        ("= 3", ("--set", "path=value")),
    ],
)
def test_a_wrong_setting_names_its_path(tmp_path: Path, capsys: Capsys, text: str, words: tuple[str, ...]) -> None:
    name, equals, value = (part.strip() for part in text.partition("="))
    setting = name + equals + value
    refused(capsys, "study", study(tmp_path / "s.toml"), "--out", tmp_path / "o", "--set", setting, words=words)
    assert not (tmp_path / "o" / "results").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ("cannot read", "s.toml", "give a .toml or .json")),
        (b"", ("s.toml", "title")),
        (b'title = "a', ("s.toml", "not valid TOML")),
        (b"\xff\xfe\x00", ("cannot read", "s.toml")),
        (b"tasks = 3", ("s.toml",)),
        (STUDY[: len(STUDY) // 2].encode(), ("s.toml", "not valid TOML")),
    ],
)
def test_a_broken_study_file(tmp_path: Path, capsys: Capsys, content: bytes | None, words: tuple[str, ...]) -> None:
    if content is not None:
        (tmp_path / "s.toml").write_bytes(content)
    refused(capsys, "study", tmp_path / "s.toml", "--out", tmp_path / "o", words=words)


def test_a_broken_json_study(tmp_path: Path, capsys: Capsys) -> None:
    (tmp_path / "s.json").write_text("[1, 2]")
    refused(capsys, "study", tmp_path / "s.json", words=("holds a list", "table"))
    (tmp_path / "s.json").write_text("{")
    refused(capsys, "study", tmp_path / "s.json", words="not valid JSON")


@pytest.mark.parametrize("scale", ["0", "-1", "2", "nan"])
def test_a_wrong_scale(tmp_path: Path, capsys: Capsys, scale: str) -> None:
    refused(capsys, "study", study(tmp_path / "s.toml"), "--scale", scale, words=("--scale", "(0, 1]"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ("name a family", "sfumato kinds family")),
        (["ddmp"], ("ddmp", "known: cascade, consistency, ddpm, differnet")),
        (["ddpm", "--task", "colour"], ("colour", "known: colourisation")),
        (["ddpm", "--data", "digts"], ("digts", "digits")),
        (["ddpm", "--images", "0"], ("budget.images",)),
        (["ddpm", "--seed", "-1"], ("seed",)),
        (["ddpm", "--device", "abacus"], ("abacus", "auto, cpu or cuda")),
        (["ddpm", "--task", "super_resolution", "--set", "tasks.0.scale=3"], ("multiples of 3", "8")),
        (["ddpm", "--config", "nowhere.toml"], ("nowhere.toml",)),
    ],
)
def test_wrong_words_for_train(tmp_path: Path, capsys: Capsys, arguments: list[str], words: tuple[str, ...]) -> None:
    refused(capsys, "train", *arguments, *DATA, "--out", tmp_path / "run", words=words)


def test_unknown_roots_metrics_and_runs(tmp_path: Path, capsys: Capsys, filler: Path) -> None:
    refused(capsys, "kinds", "animal", words=("animal", "known:", "family"))
    refused(capsys, "evaluate", filler, "--metrics", "l7", words=("l7", "known:", "psnr"))
    refused(capsys, "evaluate", filler, "--test", 0, words="data.test = 0")
    refused(capsys, "sample", tmp_path, words=("is not a run", "config.json is missing"))
    refused(capsys, "sample", filler, words=("inpainting", "sfumato restore"))
    refused(capsys, "report", tmp_path, words="study.json")
    refused(capsys, "check", tmp_path / "nowhere", words="nowhere")


# --- pictures and masks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ("no picture at", "PNG")),
        (b"", ("not a readable picture", "an empty file")),
        (b"hello, I am a text", ("not a readable picture", "replace or remove")),
        (encoded()[:900], ("not a readable picture",)),
        (encoded("JPEG")[:700], ("not a readable picture",)),
        (png_header(60_000, 60_000), ("make it smaller",)),
        (png_header(9_000, 9_000), ("9000 x 9000", "64,000,000")),
        (png_header(0, 4), ("not a readable picture",)),
    ],
    ids=["missing", "empty", "text", "cut-png", "cut-jpeg", "bomb", "large", "zero"],
)
def test_a_broken_picture(tmp_path: Path, capsys: Capsys, content: bytes | None, words: tuple[str, ...]) -> None:
    photo, hole = tmp_path / "photo.png", mask(tmp_path / "mask.png")
    if content is not None:
        photo.write_bytes(content)
    line = refused(capsys, "restore", photo, "--mask", hole, "--model", "telea", words=words)
    assert "photo.png" in line
    refused(capsys, "restore", hole, "--mask", photo, "--model", "telea", words=("photo.png",))


@pytest.mark.parametrize(
    ("mode", "ending", "kept"),
    [("CMYK", "jpg", "RGB"), ("P", "png", "RGBA"), ("LA", "png", "LA"), ("RGBA", "png", "RGBA"), ("1", "png", "1")],
)
def test_pictures_of_every_mode_are_read(tmp_path: Path, mode: str, ending: str, kept: str) -> None:
    photo, hole = picture(tmp_path / f"p.{ending}", mode=mode), mask(tmp_path / "m.png")
    assert call("restore", photo, "--mask", hole, "--model", "telea", "--out", tmp_path / "r.png") == 0
    with Image.open(tmp_path / "r.png") as restored:
        assert (restored.size, restored.mode) == ((8, 8), kept)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    deep = (np.arange(64, dtype=np.uint16) * 1000).reshape(8, 8)
    Image.fromarray(deep).save(tmp_path / "p.png")
    hole = mask(tmp_path / "m.png")
    assert call("restore", tmp_path / "p.png", "--mask", hole, "--model", "telea", "--out", tmp_path / "r.png") == 0
    made = np.asarray(Image.open(tmp_path / "r.png"))
    assert made.dtype == np.uint16 and np.array_equal(made[2:], deep[2:])
    assert np.all(made[:2] % 257 == 0) and made[:2].max() > 255


def test_a_picture_of_one_pixel(tmp_path: Path, capsys: Capsys, filler: Path) -> None:
    photo = picture(tmp_path / "p.png", 1, 1)
    refused(
        capsys, "restore", photo, "--mask", mask(tmp_path / "m.png", 1, 1, 1.0), "--model", "telea", words="everything"
    )
    assert call("restore", photo, "--scale", 4, "--model", "bicubic", "--out", tmp_path / "r.png") == 0
    hole = mask(tmp_path / "h.png", 1, 2, 0.5)
    tall = picture(tmp_path / "t.png", 1, 2)
    assert call("restore", tall, "--mask", hole, "--model", "telea", "--out", tmp_path / "r.png") == 0
    refused(capsys, "restore", tall, "--mask", hole, "--model", filler, words=("1 x 2", "8 x 8", "enlarge it first"))


def test_masks_that_cannot_be_meant(tmp_path: Path, capsys: Capsys) -> None:
    photo = picture(tmp_path / "p.png")
    command = ["restore", photo, "--model", "telea", "--out", tmp_path / "r.png", "--mask"]
    refused(capsys, *command, mask(tmp_path / "m.png", 9, 8), words=("9 x 8", "8 x 8", "same size"))
    refused(capsys, *command, mask(tmp_path / "m.png", share=0.0), words=("asks for nothing", "--invert"))
    refused(capsys, *command, mask(tmp_path / "m.png", share=1.0), words=("asks for everything", "sfumato sample"))
    refused(capsys, *command, mask(tmp_path / "m.png", share=1.0), "--invert", words="asks for nothing")
    refused(capsys, *command, tmp_path / "none.png", words=("no picture at", "none.png"))
    assert not (tmp_path / "r.png").exists()


@pytest.mark.parametrize(
    ("value", "share", "word"),
    [(150, 0.25, "grey"), (255, 0.75, "--invert"), (255, 0.25, "")],
    ids=["grey", "most", "fine"],
)
def test_masks_that_deserve_a_warning(tmp_path: Path, capsys: Capsys, value: int, share: float, word: str) -> None:
    photo, hole = picture(tmp_path / "p.png"), mask(tmp_path / "m.png", share=share, value=value)
    assert call("restore", photo, "--mask", hole, "--model", "telea", "--out", tmp_path / "r.png") == 0
    err = capsys.readouterr().err
    assert (word in err and err.startswith("warning: ") and len(err.splitlines()) == 1) if word else err == ""


def test_a_jpeg_mask_works_and_warns(tmp_path: Path, capsys: Capsys) -> None:
    photo = picture(tmp_path / "p.png", 64, 64)
    array = np.zeros((64, 64), dtype=np.uint8)
    array[np.add.outer((np.arange(64) - 30) ** 2, (np.arange(64) - 30) ** 2) < 200] = 255
    Image.fromarray(array).save(tmp_path / "m.jpg", quality=20)
    assert call("restore", photo, "--mask", tmp_path / "m.jpg", "--model", "telea", "--out", tmp_path / "r.png") == 0
    assert "JPEG" in capsys.readouterr().err
    far = np.add.outer((np.arange(64) - 30) ** 2, (np.arange(64) - 30) ** 2) > 400
    assert (pixels(tmp_path / "r.png")[far] == pixels(photo)[far]).all()


def test_wrong_words_for_restore(tmp_path: Path, capsys: Capsys) -> None:
    photo, hole = picture(tmp_path / "p.png"), mask(tmp_path / "m.png")
    refused(capsys, "restore", photo, "--model", "telea", words=("--mask", "--scale"))
    refused(capsys, "restore", photo, "--mask", hole, "--scale", 2, "--model", "telea", words="give one of --mask")
    refused(capsys, "restore", photo, "--mask", hole, "--model", "telepathy", words=("telepathy", "known:", "telea"))
    refused(capsys, "restore", photo, "--mask", hole, "--model", "conditional", words="needs a trained model")
    refused(capsys, "restore", photo, "--mask", hole, "--model", "bicubic", words=("cannot undo", "Masking"))
    refused(capsys, "restore", photo, "--scale", 2, "--model", "telea", words=("cannot undo", "BlockMean"))
    refused(capsys, "restore", photo, "--scale", 1, "--model", "bicubic", words=("--scale 1", "2 or more"))
    refused(capsys, "restore", photo, "--scale", 10**6, "--model", "bicubic", words="--scale")
    wide, large = picture(tmp_path / "w.png", 5, 3), tmp_path / "large.png"
    assert call("restore", wide, "--scale", 2, "--model", "bicubic", "--out", large) == 0
    assert pixels(large).shape == (6, 10, 3)
    for out in ("r.xyz", "r"):
        refused(capsys, "restore", photo, "--mask", hole, "--model", "telea", "--out", tmp_path / out, words=".png")
    refused(capsys, "restore", photo, "--mask", hole, "--model", tmp_path, words="is not a run")


# --- folders, disk, numbers -----------------------------------------------------------------------------------------


def test_a_folder_that_holds_something_else(tmp_path: Path, capsys: Capsys, filler: Path) -> None:
    command = ["train", "ddpm", "--task", "inpainting", "--images", 64, "--seed", 3, "--out", filler, *TINY]
    before = (filler / "model.safetensors").read_bytes()
    refused(capsys, *command, words=("holds another run", "config.json differs", "--out"))
    assert (filler / "model.safetensors").read_bytes() == before
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "love.txt").write_text("dear")
    refused(capsys, *command[: -len(TINY) - 1], tmp_path / "letters", *TINY, words=("not empty", "--out"))
    refused(capsys, "study", study(tmp_path / "s.toml"), "--out", filler, words=("not empty", "--out"))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "spec.json", "ledger.json"])
def test_a_damaged_run(tmp_path: Path, capsys: Capsys, filler: Path, name: str) -> None:
    for path in filler.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    photo, hole = picture(tmp_path / "p.png"), mask(tmp_path / "m.png")
    command = ["restore", photo, "--mask", hole, "--model", tmp_path]
    (tmp_path / name).write_bytes((filler / name).read_bytes()[:-20])
    refused(capsys, *command, words=name)
    (tmp_path / name).unlink()
    refused(capsys, *command, words=(f"{name} is missing",))


def test_weights_of_another_run(tmp_path: Path, capsys: Capsys, filler: Path) -> None:
    for path in filler.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    values = json.loads((tmp_path / "config.json").read_text())
    values["family"]["width"] = 8
    (tmp_path / "config.json").write_text(json.dumps(values))
    refused(capsys, "evaluate", tmp_path, words=("does not fit", "bring the right file back"))


def test_a_huge_learning_rate_in_train(tmp_path: Path, capsys: Capsys) -> None:
    rate = ["--set", "family.optimizer={lr=1e30, clip=1e30, warmup=0}"]
    command = ["train", "ddpm", "--task", "inpainting", "--images", 640, "--out", tmp_path / "run", *TINY, *rate]
    refused(capsys, *command, words=("the loss denoiser.denoising became", "learning rate", "optimizer.clip"))
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_huge_learning_rate_in_a_study(tmp_path: Path, capsys: Capsys) -> None:
    file = study(tmp_path / "s.toml", family="optimizer = { lr = 1e30, clip = 1e30, warmup = 0 }")
    assert call("study", file, "--out", tmp_path / "o", "--device", "cpu", "--set", "budget.images=640") == 0
    found = [json.loads(line) for line in (tmp_path / "o" / "results.jsonl").read_text().splitlines()]
    status = {(result["method"], result["task"]): result["status"] for result in found}
    assert status == {
        ("Telea", "inpainting"): "ok",
        ("Telea", "outpainting"): "ok",
        ("DDPM", "inpainting"): "diverged",
        ("DDPM", "outpainting"): "diverged",
    }
    assert all("became" in result["cause"] for result in found if result["status"] == "diverged")
    assert "diverged" in capsys.readouterr().out
    assert "became" in (tmp_path / "o" / "report.html").read_text()


def test_an_interrupted_study_repeats_nothing(tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    file, out, real = study(tmp_path / "s.toml"), tmp_path / "o", runner.measure
    measured: list[str] = []

    def stop(restorer: Any, task: Any, *rest: Any, **named: Any) -> Any:
        if len(measured) == 3:
            raise KeyboardInterrupt
        measured.append(task.name)
        return real(restorer, task, *rest, **named)

    with monkeypatch.context() as patched:
        patched.setattr(runner, "measure", stop)
        assert call("study", file, "--out", out, "--device", "cpu") == 130
    err = capsys.readouterr().err
    assert sum(line.startswith("sfumato: ") for line in err.splitlines()) == 1 and "Traceback" not in err
    files = [path for path in out.rglob("*") if path.is_file() and path.parent.name in ("results", "inpainting")]
    files += list(out.rglob("model.safetensors"))
    before = {path: path.stat().st_mtime_ns for path in files}
    assert len(list((out / "results").glob("*.json"))) == 3
    assert call("study", file, "--out", out, "--device", "cpu") == 0
    assert {path: path.stat().st_mtime_ns for path in files} == before, "a finished cell was made again"
    assert len((out / "results.jsonl").read_text().splitlines()) == 4
    changed = study(tmp_path / "other.toml", top='train = "jointly"')
    refused(capsys, "study", changed, "--out", out, words=("another run", "study.json differs in train"))
    damaged = next(iter(sorted((out / "results").glob("*.json"))))
    damaged.write_text(damaged.read_text()[:50])
    line = refused(capsys, "study", file, "--out", out, words=("is not a result", "remove it to measure"))
    assert damaged.name in line
    refused(capsys, "report", out, words=(damaged.name, "is not a result"))
    damaged.unlink()
    (out / "results.jsonl").write_text("")  # an export only: the report reads the cells themselves
    assert call("report", out) == 0


@pytest.mark.parametrize("command", ["train", "sample", "study"])
def test_no_space_left(tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("sfumato.files.os.fsync", full)
    if command == "study":
        arguments: list[Any] = ["study", study(tmp_path / "s.toml")]
    elif command == "train":
        arguments = ["train", "ddpm", "--images", 32, *TINY]
    else:
        photo, hole = picture(tmp_path / "p.png"), mask(tmp_path / "m.png")
        arguments = ["restore", photo, "--mask", hole, "--model", "telea"]
    refused(capsys, *arguments, "--out", tmp_path / "o.png", words=("cannot write", "No space left", "free some space"))
    assert not list(tmp_path.rglob("*.tmp")), "rubbish was left behind"


def test_a_read_only_place(tmp_path: Path, capsys: Capsys) -> None:
    (tmp_path / "file").write_text("")
    refused(capsys, "train", "ddpm", "--out", tmp_path / "file" / "run", *TINY, words="file")
    photo, hole = picture(tmp_path / "p.png"), mask(tmp_path / "m.png")
    command = ["restore", photo, "--mask", hole, "--model", "telea", "--out", "/dev/full/r.png"]
    refused(capsys, *command, words="cannot write")


def test_weights_that_do_not_fit_on_the_disk(tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save_file", full)
        command = ["train", "ddpm", "--images", 32, *TINY, "--out", tmp_path / "run"]
        refused(capsys, *command, words=("cannot write", "model.safetensors", "No space left"))
    assert call(*command) == 0  # there is space again


@pytest.mark.parametrize("family", ["ddpm", "wgan", "regression"])
def test_a_network_that_no_memory_holds(tmp_path: Path, capsys: Capsys, family: str) -> None:
    command = ["train", family, "--set", "family.width=4000000", "--images", 16, "--out", tmp_path / "r"]
    refused(capsys, *command, words=("GiB of weights", "lower the width"))
    assert not (tmp_path / "r").exists()
