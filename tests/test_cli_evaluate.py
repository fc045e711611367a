"""`sfumato evaluate MADE REAL`, `explain` and `stats` on the command line: what they print and write, and every refusal."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from sfumato import commands, display
from sfumato.evaluation import vectors

from .cases import call, png_header, refused

Capsys = pytest.CaptureFixture[str]
FAST = ["--features", "lite0", "--set", "features.layer=b4", "--set", "features.size=16", "--device", "cpu"]


def fill(place: Path, n: int, seed: int = 0, size: int = 8) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for i in range(n):
        Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(place / f"{i:03d}.png")
    return place


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two folders of pictures, a cache of its own, and a wide window."""
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(display, "console", Console(width=200))
    monkeypatch.setattr(display, "errors", Console(stderr=True, width=200))
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "made", 12, 1), fill(tmp_path / "test", 12, 2)
    return tmp_path


def scores(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["scores"]
    return found


def test_table_json_and_page(data: Path, capsys: Capsys) -> None:
    assert (
        call("evaluate", "made", "test", *FAST, "--metrics", "fd,kid,prdc,l1", "--json", "s/all.json", "-o", "o") == 0
    )
    printed = capsys.readouterr()
    found = scores(data / "o" / "evaluation.json")
    assert len(found) == 7 and "made against test" in printed.out
    for score in found:
        (line,) = [row for row in printed.out.splitlines() if row.strip().startswith(f"{score['label']} ")]
        assert ("↓" if score["better"] == "lower" else "↑") in line and line.split()[-1] == str(score["n"])
        assert " to " in line
    warnings = [line for line in printed.err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == len(set(warnings)) == 2
    assert "page: o/evaluation.html" in printed.out
    assert sorted(path.name for path in (data / "o").iterdir()) == [
        "evaluation.html",
        "evaluation.json",
        "gallery.json",
    ]
    assert (data / "s" / "all.json").read_text() == (data / "o" / "evaluation.json").read_text()


def test_containers_and_sources_on_the_command_line(data: Path) -> None:
    with zipfile.ZipFile(data / "made.zip", "w") as archive:
        for path in sorted((data / "made").iterdir()):
            archive.write(path, path.name)
    arrays = [np.asarray(Image.open(path)) for path in sorted((data / "made").iterdir())]
    np.savez(data / "made.npz", pixels=np.stack(arrays))
    values = []
    for name in ("made", "made.zip", "made.npz", "made.npz:pixels"):
        assert call("evaluate", name, "test", *FAST, "--metrics", "kid", "--out", "o") == 0
        values.append(scores(data / "o" / "evaluation.json")[0]["value"])
    assert len(set(values)) == 1
    assert call("evaluate", "digits:train", "digits:test", *FAST, "--metrics", "kid", "-n", 8, "--n-real", 8) == 0


def test_statistics_on_the_command_line(data: Path, capsys: Capsys) -> None:
    assert call("stats", "test", "--out", "s/test.safetensors", *FAST) == 0
    assert "12 images, FD-lite0-b4-16px: s/test.safetensors" in capsys.readouterr().out
    for real, out in (("test", "a"), ("s/test.safetensors", "b")):
        assert call("evaluate", "made", real, *FAST, "--metrics", "fd", "--out", out) == 0
    assert scores(data / "a" / "evaluation.json")[0]["value"] == scores(data / "b" / "evaluation.json")[0]["value"]
    wrong = ["evaluate", "made", "s/test.safetensors", *FAST, "--metrics"]
    refused(capsys, *wrong, "fd", "--set", "features.layer=b7", words=("made with other features", "sfumato stats"))
    refused(capsys, *wrong, "ssim", words=("compares image with image", "give the images"))
    refused(capsys, "evaluate", "s/test.safetensors", "test", *FAST, words="is not a set of images")
    content = (data / "s" / "test.safetensors").read_bytes()
    (data / "s" / "test.safetensors").write_bytes(content[:-50])
    refused(capsys, *wrong, "fd", words=("test.safetensors holds no statistics", "make them again"))


@pytest.mark.parametrize("out", ["s.pt", "s", "made"])
def test_statistics_of_no_known_ending(data: Path, capsys: Capsys, out: str) -> None:
    refused(capsys, "stats", "test", "--out", out, *FAST, words=(".safetensors", ".npz", out))


def test_explaining(data: Path, capsys: Capsys) -> None:
    evaluate = ["evaluate", "made", "test", *FAST, "--metrics", "fd,kid"]
    assert call(*evaluate, "--out", "a") == 0
    assert call(*evaluate, "--out", "b", "--size", 4, "-n", 8) == 0
    capsys.readouterr()
    assert call("explain", "a", "b/evaluation.json", "--json", "x.json", "--device", "cpu") == 0
    printed = capsys.readouterr().out
    for word in ("FD-lite0-b4", "KD-lite0-b4", "number of made images", "preparation", "4, lanczos"):
        assert word in printed
    told = json.loads((data / "x.json").read_text())
    assert len(told) == 2
    for part in told:
        assert part["gap"] == part["second"]["value"] - part["first"]["value"]
        assert sum(factor["points"] for factor in part["factors"]) == pytest.approx(part["gap"], rel=1e-9)
        assert part["unexplained"] == 0 and {f["name"] for f in part["factors"]} == {
            "number of made images",
            "preparation",
        }
    assert call("explain", "a", "b", "--no-recompute") == 0
    assert "leave out --no-recompute" in capsys.readouterr().out
    shutil.rmtree(data / "made")
    assert call("explain", "a", "b", "--device", "cpu") == 0
    assert "points need the images, but nothing at made" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no evaluation at"),
        ("{}", ("is no evaluation", "sfumato evaluate MADE REAL")),
        ("[1]", "holds a list"),
        ("{", "not valid JSON"),
        ('{"request": 1, "scores": 2}', "request"),
    ],
)
def test_what_explain_refuses(data: Path, capsys: Capsys, content: str | None, words: Any) -> None:
    assert call("evaluate", "made", "test", *FAST, "--metrics", "kid", "--out", "a") == 0
    if content is not None:
        (data / "e.json").write_text(content)
    for pair in (("e.json", "a"), ("a", "e.json")):
        assert "e.json" in refused(capsys, "explain", *pair, words=words)
    assert call("evaluate", "made", "test", *FAST, "--metrics", "l1", "--out", "b") == 0
    refused(capsys, "explain", "a", "b", words=("share no metric", "KD-lite0-b4", "L1", "compute one for both"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere", "test"], ("nothing at nowhere", "give a folder", "digits:test")),
        (["made", "nowhere"], ("nothing at nowhere",)),
        (["empty", "test"], ("empty holds no pictures",)),
        (["made", "folders"], ("folders holds no pictures",)),
        (["one", "test"], ("1 image of one is measured", "at least 2")),
        (["made", "one"], ("1 image of one is measured", "at least 2")),
        (["made", "test", "--n", "13"], ("13 images of made", "which has 12", "1 to 12")),
        (["made", "test", "--n-real", "99"], ("99 images of test", "1 to 12")),
        (["made", "test", "-n", "0"], ("'-n'", "greater than or equal to 1")),
        (["made", "test", "-n", "many"], ("'-n'", "integer")),
        (["made", "test", "-n", "1"], ("1 image",)),
        (["made", "test", "--metrics", "kdi"], ("kdi", "known:", "short names: fid")),
        (["made", "test", "--metrics", ","], ("metrics", "at least 1")),
        (["made", "test", "--metrics", "diversity"], ("needs a model", "use it in a study")),
        (["made", "test", "--metrics", "auth"], ("training images", "--train")),
        (["made", "test", "--metrics", "auth", "--train", "nowhere"], ("nothing at nowhere",)),
        (["made", "test", "--metrics", "is"], ("classifies", "features.layer", '"head"')),
        (["made", "test", "--metrics", "l1", "-n", "5"], ("5 images", "12", "one true image for each")),
        (["made", "test", "--metrics", "l1", "--masks", "masks"], ("mask of 000.png is 4 x 4", "8 x 8")),
        (["made", "test", "--metrics", "l1", "--masks", "one"], ("12 images", "one 1")),
        (["made", "test", "--features", "lite1"], ("lite1", "known: alexnet")),
        (["made", "test", "--set", "features.layer=b5"], ("features.layer", "'b4'", "b5")),
        (["made", "test", "--set", "filtre=box"], ("filtre", "unknown key")),
        (["made", "test", "--size", "5000"], ("size", "4096")),
        (["made", "test", "--device", "abacus"], ("abacus", "auto, cpu or cuda")),
        (["mixed", "test"], ("2 sizes", "--size", "--mixed")),
        (["broken", "test"], ("3 of 5 pictures", "empty.png", "huge.png", "text.jpg", "--skip-broken")),
        (["masks/000.png", "test"], ("000.png is not a set of images",)),
        (["no.zip", "test"], ("no.zip is not a readable zip file",)),
        (["float.npz", "test"], ("float.npz:images are float64", "uint8")),
        (["made"], ("--features", "needs REAL")),
        ([], ("Missing argument",)),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_what_evaluate_refuses(data: Path, capsys: Capsys, arguments: list[str], words: tuple[str, ...]) -> None:
    (data / "folders" / "sub").mkdir(parents=True), (data / "empty").mkdir()
    fill(data / "one", 1), fill(data / "masks", 12, size=4), fill(data / "broken", 2)
    fill(data / "mixed", 6), fill(data / "mixed" / "b", 3, size=4)
    (data / "broken" / "empty.png").write_bytes(b"")
    (data / "broken" / "huge.png").write_bytes(png_header(100_000, 100_000))
    (data / "broken" / "text.jpg").write_text("dear")
    (data / "no.zip").write_text("no zip")
    np.savez(data / "float.npz", images=np.zeros((3, 8, 8, 3)))
    refused(capsys, "evaluate", *FAST, *arguments, "--out", "o", words=words)
    assert not (data / "o").exists()


def test_unreadable_files_may_be_left_out(data: Path, capsys: Capsys) -> None:
    (data / "made" / "bad.png").write_bytes(b"x")
    assert call("evaluate", "made", "test", *FAST, "--metrics", "fd", "--skip-broken", "--out", "o") == 0
    assert "warning: 1 unreadable files of made were left out" in capsys.readouterr().err
    assert "1 unreadable files left out" in (data / "o" / "evaluation.html").read_text()


@pytest.mark.parametrize(("features", "word"), [("inception", "pt_inception-2015-12-05-6726825d.pth")])
def test_missing_weights_say_which_file_and_where(
    data: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch, features: str, word: str
) -> None:
    import pooch

    def offline(*_: Any, **__: Any) -> None:
        raise ConnectionError("no network")

    monkeypatch.setenv("XDG_CACHE_HOME", str(data / "home"))
    monkeypatch.setattr(pooch, "retrieve", offline)
    command = ["evaluate", "made", "test", "--metrics", "fid", "--features", features, "--device", "cpu"]
    refused(capsys, *command, words=("cannot fetch", word, "https://", str(data / "home"), "features.path"))
    path = ["--set", "features.path=w.pth"]
    refused(capsys, *command, *path, words=("no weights at w.pth", word, "https://"))
    (data / "w.pth").write_bytes(b"truncated")
    refused(capsys, *command, *path, words=("w.pth (9 bytes)", "SHA-256", "not 6726825d", "truncated", word))
    alexnet = ["evaluate", "made", "test", "--metrics", "lpips", "--device", "cpu"]
    monkeypatch.setenv("TORCH_HOME", str(data / "home"))
    refused(capsys, *alexnet, words=("no weights at", "alexnet-owt", "https://download.pytorch.org"))


@pytest.mark.parametrize("out", ["file", "file/o"])
def test_a_place_that_cannot_be_written(data: Path, capsys: Capsys, out: str) -> None:
    (data / "file").write_text("in the way")
    command = ["evaluate", "made", "test", *FAST, "--metrics", "kid"]
    refused(capsys, *command, "--out", out, words=("cannot write", out))
    refused(capsys, *command, "--json", "file/s.json", words="cannot write file/s.json")
    refused(capsys, "stats", "test", "--out", "file/s.safetensors", *FAST, words="cannot write file/s.safetensors")


def test_a_full_disk(data: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sfumato.files.os.fsync", full)
    command = ["evaluate", "made", "test", *FAST, "--metrics", "kid", "--out", "o"]
    refused(capsys, *command, words=("cannot write o/evaluation.json", "No space left", "free some space"))
    refused(capsys, "stats", "test", "--out", "s.safetensors", *FAST, words=("cannot write", "No space left"))
    assert not list(data.rglob("*.tmp")) and not (data / "s.safetensors").exists()


def test_ctrl_c_keeps_finished_chunks(data: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "CHUNK", 4)
    command = ["evaluate", "made", "test", *FAST, "--metrics", "kid", "--out", "o"]
    real, count = vectors.remember, []

    def stop(*arguments: Any) -> None:
        real(*arguments)
        count.append(1)
        if len(count) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(vectors, "remember", stop)
        assert call(*command) == 130
    err = capsys.readouterr().err
    assert sum(line.startswith("sfumato: ") for line in err.splitlines()) == 1 and "Traceback" not in err
    kept = {path: path.stat().st_ino for path in (data / "cache").rglob("*.safetensors")}
    assert len(kept) == 2 and not (data / "o").exists()
    assert call(*command) == 0
    assert {path: path.stat().st_ino for path in kept} == kept, "a finished chunk was made again"
    assert len(list((data / "cache").rglob("*.safetensors"))) == 6


def test_a_name_with_markup_is_shown_as_it_is(data: Path, capsys: Capsys) -> None:
    name = "[red]ü 日本[red] <b>"
    fill(data / name, 4)
    assert call("evaluate", name, "test", *FAST, "--metrics", "fd", "--out", "o") == 0
    assert name in capsys.readouterr().out


def test_commands_leave_out_what_was_not_given() -> None:
    assert commands.present({"a": None, "b": 0, "c": False}) == {"b": 0, "c": False}
