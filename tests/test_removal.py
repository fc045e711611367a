"""Removal: what is found is taken out, nothing else moves, and the file says what was done."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sfumato.config import Strict
from sfumato.errors import ConfigError, WeightsError
from sfumato.kinds import kinds_of
from sfumato.removal import Settings, faded, grown, remove, shrunk, unpacked
from sfumato.segmenters.base import Segmenter
from sfumato.segmenters.people import FILES, People, around, squares, weights, without_specks
from tests.cases import call

Capsys = pytest.CaptureFixture[str]
RED = (200, 30, 20)


class Reds(Segmenter):
    """Whatever is red."""

    class Config(Strict):
        kind: Literal["reds"] = "reds"

    def mask(self, pixels: Tensor) -> Tensor:
        return (pixels[0].int() - pixels[1].int()) > 100


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(kinds_of(Segmenter), "reds", Reds)
    return tmp_path


def picture(path: Path, boxes: list[tuple[int, int, int, int]], **save: Any) -> np.ndarray:
    """A green slope with red boxes (left, top, width, height)."""
    x = np.zeros((80, 120, 3), np.uint8)
    x[..., 1] = np.linspace(90, 160, 120)[None]
    x[..., 2] = np.linspace(60, 120, 80)[:, None]
    for left, top, wide, tall in boxes:
        x[top : top + tall, left : left + wide] = RED
    Image.fromarray(x).save(path, **save)
    return x


def test_what_is_found_is_taken_out_and_nothing_else_moves(here: Path, capsys: Capsys) -> None:
    x = picture(here / "p.png", [(20, 20, 12, 30), (90, 50, 10, 10)])
    assert call("remove", "p.png", "--what", "reds", "--out", "o.png", "--preview") == 0
    out = capsys.readouterr()
    assert (
        "2 regions removed (12 x 30 at 20, 20; 10 x 10 at 90, 50)" in out.out.replace("\n", " ")
        and "a guess" in out.err
    )
    made = np.asarray(Image.open(here / "o.png"))
    hole = grown(torch.from_numpy(x[..., 0] == 200), 3).numpy()
    assert np.array_equal(made[~hole], x[~hole])
    assert made[..., 0].max() < 60, "a trace of red is left"
    with Image.open(here / "o-preview.png") as preview:
        assert preview.size[0] == 3 * 120


def test_a_png_holds_its_mask_and_settings(here: Path) -> None:
    x = picture(here / "p.png", [(20, 20, 12, 30)], dpi=(300, 300))
    assert (
        call("remove", "p.png", "--what", "reds", "--model", "telea", "--dilate", 4, "--feather", 1, "--out", "o.png")
        == 0
    )
    with Image.open(here / "o.png") as image:
        image.load()
        info = image.info
    about = json.loads(info["sfumato:removal"])
    assert (
        about["what"] == {"kind": "reds"}
        and about["model"] == "telea"
        and (about["dilate"], about["feather"]) == (4, 1)
    )
    assert torch.equal(unpacked(info["sfumato:mask"]), grown(torch.from_numpy(x[..., 0] == 200), 4))
    assert round(info["dpi"][0]) == 300


def test_the_fill_fades_in_over_the_ring_and_never_over_what_was_found(here: Path) -> None:
    found = torch.zeros(40, 40, dtype=torch.bool)
    found[15:25, 12:22] = True
    hole = grown(found, 4)
    assert int(hole.sum()) == 18 * 18 and bool((shrunk(hole, 4) == found).all())
    assert not bool((shrunk(hole, 4) < found).any())
    with pytest.raises(ConfigError, match="0 <= feather <= dilate"):
        Settings(dilate=2, feather=3).widths((40, 40))
    assert Settings().widths((600, 800)) == (8, 4) and Settings(dilate=0).widths((10, 10)) == (0, 0)


def test_nobody_is_an_exit_code_of_its_own(here: Path, capsys: Capsys) -> None:
    picture(here / "p.png", [])
    assert call("remove", "p.png", "--what", "reds", "--out", "o.png") == 3
    assert "nothing found" in capsys.readouterr().out and not (here / "o.png").exists()


def test_a_folder_goes_on_where_one_picture_has_nothing(here: Path) -> None:
    (here / "in").mkdir()
    picture(here / "in" / "a.png", [])
    picture(here / "in" / "b.jpg", [(30, 30, 20, 20)])
    assert call("remove", "in", "--what", "reds", "--out", "out") == 0
    assert [path.name for path in (here / "out").iterdir()] == ["b.jpg"]
    assert call("remove", "in", "--what", "reds", "--out", "in") == 2


def test_a_mask_or_a_box_says_what(here: Path, capsys: Capsys) -> None:
    x = picture(here / "p.png", [(40, 20, 20, 30)])
    Image.fromarray(((x[..., 0] == 200) * 255).astype(np.uint8)).save(here / "m.png")
    for how in (["--mask", "m.png"], ["--box", "34,14,32,42"]):
        assert call("remove", "p.png", *how, "--out", "o.png") == 0
        made = np.asarray(Image.open(here / "o.png"))
        assert made[..., 0].max() < 60 and np.array_equal(made[:10], x[:10])
    capsys.readouterr()
    for how, word in (
        (["--box", "1,2,3"], "LEFT,TOP,WIDTH,HEIGHT"),
        (["--box", "100,0,50,50"], "not inside 120 x 80"),
        (["--box", "1,1,5,5", "--mask", "m.png"], "not both"),
        (["--what", "cats"], "cats"),
    ):
        assert call("remove", "p.png", *how, "--out", "x.png") == 2
        error = capsys.readouterr().err
        assert word in error and error.count("\n") == 1, error


def test_weights_are_named_when_they_are_missing_or_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=r"pip download --no-deps mediapipe==0\.10\.21"):
        weights(None)
    wheel = tmp_path / "mediapipe.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite", b"another")
    with pytest.raises(WeightsError, match="There is no item named"):
        weights(wheel)
    with zipfile.ZipFile(wheel, "w") as file:
        for name in FILES:
            file.writestr(f"mediapipe/modules/{name}", b"another")
    with pytest.raises(WeightsError, match="has SHA-256"):
        People(People.Config(weights=wheel))
    wheel.write_bytes(b"no zip")
    with pytest.raises(WeightsError, match="no weights that find people"):
        weights(wheel)
    assert not (tmp_path / ".cache").exists()


def test_views_cover_the_picture() -> None:
    seen = np.zeros((50, 70), bool)
    for top, left, tall, wide in squares(50, 70, 32):
        assert 0 <= top and top + tall <= 50 and 0 <= left and left + wide <= 70
        seen[top : top + tall, left : left + wide] = True
    assert seen.all()
    assert around(10, 10, 100, 50, 70) == (0, 0, 50, 70) and around(25, 35, 5, 50, 70) == (20, 30, 10, 10)


def test_specks_are_no_people() -> None:
    mask = torch.zeros(200, 300, dtype=torch.bool)
    mask[20:120, 20:60] = mask[150:160, 200:210] = mask[190, 290] = True
    left = without_specks(mask)
    assert int(left.sum()) == 4100 and not bool(left[190, 290]) and not bool(without_specks(mask & False).any())


def test_the_same_in_python(here: Path) -> None:
    picture(here / "p.png", [(20, 20, 12, 30)])
    removed = remove(here / "p.png", here / "o.png", Reds(Reds.Config()), "telea", Settings())
    assert removed is not None and int(removed.found.sum()) == 360 and removed.pixels.shape == (3, 80, 120)


def test_options_that_do_not_go_together_are_one_line(here: Path, capsys: Capsys) -> None:
    picture(here / "p.png", [(20, 20, 12, 30)])
    for how, word in (
        (["--what", "grab_cut"], "box"),
        (["--box", "1,1,5,5", "--weights", "x.whl"], "--weights are for finding people"),
        (["--what", "reds", "--dilate", 100], "dilate less"),
        (["--what", "reds", "--dilate", 1, "--feather", 2], "feather <= dilate"),
    ):
        assert call("remove", "p.png", *how, "--out", "x.png") == 2
        error = capsys.readouterr().err
        assert word in error and error.count("\n") == 1 and not (here / "x.png").exists(), error


def test_what_cannot_be_seen_tells_nothing(here: Path) -> None:
    """Grey that is seen beside red that is not: no red comes into the fill."""
    x = np.full((60, 80, 4), 200, np.uint8)
    x[:, 40:] = (255, 0, 0, 0)
    x[..., 3] = np.where(np.arange(80) < 40, 255, 0)
    x[20:40, 25:45, :3] = (10, 10, 250)
    x[20:40, 25:40, 3] = 255
    Image.fromarray(x).save(here / "p.png")
    mask = np.zeros((60, 80), np.uint8)
    mask[20:40, 25:40] = 255
    Image.fromarray(mask).save(here / "m.png")
    assert call("remove", "p.png", "--mask", "m.png", "--out", "o.png") == 0
    with Image.open(here / "o.png") as image:
        made = np.asarray(image)
    inside = made[20:40, 25:40, :3].astype(int)
    assert (abs(inside - 200) < 12).all(), "hidden colours came into the fill"
    assert np.array_equal(made[:, 46:], x[:, 46:]) and (made[:, 41:, 3] == 0).all()


def test_the_feather_is_a_mean_of_erosions() -> None:
    hole = torch.zeros(40, 50, dtype=torch.bool)
    hole[0:20, 10:45] = True
    expected = torch.stack([shrunk(hole, k).float() for k in range(5)]).mean(0)
    torch.testing.assert_close(faded(hole, 4), expected)
    assert torch.equal(faded(hole, 0), hole.float())
