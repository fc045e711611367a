"""The models that come with the package: small, whole, credited, and what answers where no model is named."""

from pathlib import Path

import pytest
import torch

import sfumato
from sfumato import zoo
from sfumato.errors import ConfigError
from sfumato.images import write_picture
from sfumato.restorers.answerer import chosen
from sfumato.restorers.fitting import able
from sfumato.restorers.picture import restore_picture
from sfumato.streams import stream

from .cases import call, mask, picture, pixels

MOST = 3_000_000  # bytes of weights


@pytest.mark.parametrize("name", zoo.names())
def test_a_packaged_model_is_small_and_credited(name: str) -> None:
    folder = zoo.folder(name)
    assert {path.name for path in folder.iterdir()} == {
        "card.md", "config.json", "ledger.json", "model.safetensors", "spec.json"
    }  # fmt: skip
    assert (folder / "model.safetensors").stat().st_size < MOST
    card = (folder / "card.md").read_text()
    assert card.count("- Trained on ") > 20 and "CC-BY" in card and "GPL-2" not in card
    assert not any(word in (folder / "config.json").read_text() for word in ("/tmp", "/home", "/root", "/work"))


def test_there_is_one_that_fills_photographs_at_64_pixels() -> None:
    runs = [sfumato.load_run(zoo.folder(name)).run for name in zoo.names()]
    assert any(run.spec.size == (64, 64) and able(run, lambda operator: operator.hides) for run in runs)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="no model 'nothing' comes with sfumato; there are: "):
        zoo.folder("nothing")


def test_it_answers_where_no_model_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo, hole = picture(tmp_path / "p.png", 90, 70), mask(tmp_path / "m.png", 90, 70, 0.2)
    assert call("restore", photo, "--mask", hole, "--out", tmp_path / "a.png") == 0
    name = chosen(None, fills=True, scale=None).run
    assert name is not None
    assert (pixels(tmp_path / "a.png")[14:] == pixels(photo)[14:]).all()
    capsys.readouterr()
    assert call("models", "list") == 0
    listed = capsys.readouterr().out
    for each in zoo.names():
        assert each in listed and call("models", "card", each) == 0
    assert "never evidence" in capsys.readouterr().out
    assert call("restore", photo, "--scale", 2, "--out", tmp_path / "b.png") == 0
    assert pixels(tmp_path / "b.png").shape == (140, 180, 3)


def test_it_has_learnt() -> None:
    """A slope with a hole is continued: the error is a small part of what a flat fill leaves."""
    across = torch.linspace(40, 220, 64)
    slope = torch.stack([across.expand(64, 64), across.flip(0).expand(64, 64), across[:, None].expand(64, 64)])
    x = slope.round().to(torch.uint8)
    hole = torch.zeros(64, 64, dtype=torch.uint8)
    hole[20:44, 20:44] = 255
    made = restore_picture(x, mask=hole).pixels.float()
    inside = hole > 0
    error = float((made - x.float())[:, inside].abs().mean())
    flat = float((x.float()[:, inside] - x.float()[:, ~inside].mean(1, keepdim=True)).abs().mean())
    assert error < 0.4 * flat, (error, flat)


def test_half_precision_is_half_as_large_and_nearly_the_same(tmp_path: Path) -> None:
    data = torch.randint(0, 256, (32, 3, 8, 8), generator=stream(0, "noise"), dtype=torch.uint8)
    settings = {"family.width": 4, "budget.batch": 8}
    model = sfumato.train("regression", data, task="inpainting", images=32, settings=settings, progress=False)
    model.save(tmp_path / "whole")
    model.save(tmp_path / "small", half=True)
    again = sfumato.load_run(tmp_path / "small")
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (tmp_path / "small", tmp_path / "whole")]
    assert sizes[0] < 0.75 * sizes[1]
    assert all(value.dtype == torch.float32 for value in again.family.parameters())
    hole = torch.zeros(8, 8, dtype=torch.uint8)
    hole[2:5, 2:6] = 255
    write_picture(data[0], tmp_path / "p.png")
    whole, half = (run.restore(data[0], mask=hole).int() for run in (model, again))
    assert int((whole - half).abs().max()) <= 1
