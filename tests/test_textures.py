"""`sfumato texture`, in Python and on the command line, and PNG files that are written in strips."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import sfumato
from sfumato.errors import ConfigError, DataError
from sfumato.images import read_picture, write_picture
from sfumato.streams import stream
from sfumato.strips import write_strips
from sfumato.textures import size_of
from tests.cases import call, mask, picture, refused

FIELD = ["--method", "gaussian_field", "--device", "cpu"]
TEXTO = ["--method", "texto", "--set", "turns=5", "--set", "scales=2", "--set", "targets=30", "--device", "cpu"]


@pytest.mark.parametrize("channels", [1, 3])
def test_strips_are_the_picture_that_pillow_reads(tmp_path: Path, channels: int) -> None:
    x = torch.randint(0, 256, (channels, 37, 23), generator=stream(0, "x"), dtype=torch.uint8)
    write_strips(iter(x.split([10, 20, 7], 1)), (37, 23), tmp_path / "a.png")
    assert torch.equal(read_picture(tmp_path / "a.png", channels), x)


def test_strips_that_end_early_leave_nothing(tmp_path: Path) -> None:
    def broken():  # type: ignore[no-untyped-def]
        yield torch.zeros(3, 4, 5, dtype=torch.uint8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_strips(broken(), (8, 5), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="cannot write"):
        write_strips(iter([torch.zeros(3, 4, 5, dtype=torch.uint8)]), (4, 5), Path("/proc/none/a.png"))


def test_a_texture_of_another_size_kept_and_made_again(tmp_path: Path) -> None:
    exemplar = picture(tmp_path / "e.png", 30, 20)
    kept, first, again = tmp_path / "kept", tmp_path / "a.png", tmp_path / "b.png"
    assert call("texture", exemplar, *TEXTO, "--size", "51x33", "-o", first, "--save", kept) == 0
    assert read_picture(first).shape[1:] == (33, 51)
    assert call("texture", kept, "--size", "51x33", "-o", again) == 0
    assert first.read_bytes() == again.read_bytes()
    assert call("texture", kept, "--size", "51x33", "-o", again, "--seed", 1) == 0
    assert first.read_bytes() != again.read_bytes()
    assert (kept / "card.md").is_file()


def test_a_large_picture_is_written_in_strips_and_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exemplar, kept = picture(tmp_path / "e.png", 16, 16), tmp_path / "kept"
    assert call("texture", exemplar, *FIELD, "-o", tmp_path / "x.png", "--save", kept) == 0
    assert call("texture", kept, "--size", "300x700", "-o", tmp_path / "whole.png") == 0
    monkeypatch.setattr("sfumato.texture_commands.LARGE", 1)
    assert call("texture", kept, "--size", "300x700", "-o", tmp_path / "strips.png") == 0
    assert torch.equal(read_picture(tmp_path / "whole.png"), read_picture(tmp_path / "strips.png"))


def test_a_sheet_and_a_strip_of_methods(tmp_path: Path) -> None:
    exemplar = picture(tmp_path / "e.png", 20, 16, "L")
    assert call("texture", exemplar, *FIELD, "--sheet", 4, "--size", "10x8", "-o", tmp_path / "s.png") == 0
    assert read_picture(tmp_path / "s.png").shape[1:] == (20, 24)
    assert call("texture", exemplar, "--compare", "gaussian_field,random_patch", "-o", tmp_path / "c.png") == 0
    assert read_picture(tmp_path / "c.png").shape[1:] == (16, 68)


def test_a_map_of_where_parts_come_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exemplar, out, places = picture(tmp_path / "e.png", 40, 40), tmp_path / "o.png", tmp_path / "p.png"
    assert call("texture", exemplar, "--method", "random_patch", "-o", out, "--sources", places) == 0
    shown = read_picture(places)
    assert shown.shape == (3, 33, 33)
    said = capsys.readouterr().out
    share = int(said.split("from; ")[1].split("%")[0])
    assert (
        abs(share - 100 * float((shown[2] > 100).float().mean())) < 1
    )  # bright is copied: blue is 127 there, 45 elsewhere
    assert 10 < share < 100
    more = ["--sources", places, "--sheet", 4]
    refused(capsys, "texture", exemplar, *FIELD, *more, "-o", out, words="explains one picture")


def test_tileable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exemplar = picture(tmp_path / "e.png", 24, 24)
    assert call("texture", exemplar, *FIELD, "--tileable", "--size", "40x30", "-o", tmp_path / "t.png") == 0
    words = ("multiples of 2", "40 x 30")
    refused(capsys, "texture", exemplar, *TEXTO, "--tileable", "--size", "41x30", "-o", tmp_path / "t.png", words=words)
    words = ("cannot make a picture that meets itself", "gpdm")
    refused(capsys, "texture", exemplar, "--method", "efros_leung", "--tileable", "-o", tmp_path / "t.png", words=words)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--method", "ddpm"], ("learns from many pictures", "texto")),
        (["--method", "textoo"], "did you mean 'texto'"),
        (["--size", "10by10"], "write WIDTHxHEIGHT"),
        (["--size", "0x10"], "is no size"),
        (["--size", "9999999x9999999"], "is no size"),
        (["--size", "99999x99999"], "the picture at most"),
        (["--method", ""], "names one method"),
        (["--method", "quilting,gpnn"], "--compare shows several"),
        (["--compare", " , "], "--compare shows several"),
        (["--set", "kind=quilting"], "name the method with --method"),
        (["--sources", "s.txt"], "no picture format"),
        (["--sources", "s.png", "--size", "4"], "parts of 8 x 8 are looked for"),
        (["--set", "turn=5"], "unknown key"),
        (["--set", "turns=0"], "greater than"),
        (["--compare", "texto,quilting", "--sheet", "2"], "--compare shows methods as they are"),
        (["--mask", "none.png"], "none.png; give the path"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], words: str | tuple[str, ...]
) -> None:
    refused(capsys, "texture", picture(tmp_path / "e.png", 16, 16), *more, "-o", tmp_path / "o.png", words=words)
    assert not (tmp_path / "o.png").exists()


def test_nothing_is_learnt_for_what_cannot_be_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exemplar, kept = picture(tmp_path / "e.png", 16, 16), tmp_path / "kept"
    for more in (["-o", tmp_path / "o.txt"], ["--tileable", "--size", "33"], ["-o", exemplar], ["--sources", exemplar]):
        refused(capsys, "texture", exemplar, *TEXTO, "--save", kept, *more)
        assert not kept.exists()
    same = tmp_path / "o.png"
    refused(capsys, "texture", exemplar, "-o", same, "--sources", same, words="give them two names")
    assert call("texture", exemplar, *FIELD, "-o", same, "--save", kept) == 0
    refused(capsys, "texture", kept, "--method", "texto", "-o", same, words="has what was learnt")
    refused(capsys, "texture", exemplar, *TEXTO, "-o", same, "--save", kept, words="--save")
    picture(exemplar, 20, 16)
    refused(capsys, "texture", exemplar, *FIELD, "-o", same, "--save", kept, words="another run")


def test_a_folder_of_exemplars_is_learnt_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for name, level in (("a", 10), ("b", 250)):
        write_picture(torch.full((3, 16, 16), level, dtype=torch.uint8), many / f"{name}.png")
    out = tmp_path / "o.png"
    assert call("texture", many, "--method", "random_patch", "--size", "64", "-o", out) == 0
    assert read_picture(out).unique().tolist() == [10, 250]
    method = ["--method", "random_patch", "--size", "64", "-o", out, "--set"]
    assert call("texture", many, *method, "pictures=1") == 0
    assert read_picture(out).unique().tolist() == [10], "the first alone, as asked for"
    refused(
        capsys, "texture", many, *method, "pictures=3", words=("pictures = 3 exemplars are asked for", "there are 2")
    )


def test_what_may_surprise_in_the_files_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deep, where = tmp_path / "deep.png", tmp_path / "where.png"
    Image.fromarray(np.full((16, 16), 30_000, dtype=np.uint16)).save(deep)
    strokes = np.zeros((16, 16, 4), dtype=np.uint8)
    strokes[2:14, 2:14] = 255
    Image.fromarray(strokes).save(where)
    assert call("texture", deep, *FIELD, "--mask", where, "-o", tmp_path / "o.png") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "deep.png has 16 bits a colour, of which 8 are read" in said
    assert "has transparency, which counts as black" in said


def test_exemplars_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = picture(tmp_path / "small.png", 3, 3)
    refused(capsys, "texture", small, "-o", tmp_path / "o.png", words=("too small for texto", "larger picture"))
    refused(capsys, "texture", tmp_path / "none.png", "-o", tmp_path / "o.png", words="no picture at")
    refused(
        capsys,
        "texture",
        tmp_path,
        "-o",
        tmp_path / "o.png",
        *FIELD,
        "--mask",
        tmp_path / "none.png",
        words="no picture",
    )
    black = mask(tmp_path / "m.png", 3, 3, value=0)
    words = "nothing of"
    refused(capsys, "texture", small, *FIELD, "--mask", black, "-o", tmp_path / "o.png", words=words)


def test_in_python() -> None:
    x = np.random.default_rng(0).integers(0, 256, (20, 24), dtype=np.uint8)
    made = sfumato.texture(x, "gaussian_field", size=(10, 50))
    assert made.shape == (1, 10, 50)
    assert made.dtype == torch.uint8
    colour = np.stack([x, x, x], 2)
    assert torch.equal(sfumato.texture(colour, "gaussian_field")[0], sfumato.texture(x, "gaussian_field")[0])
    with pytest.raises(ConfigError, match="alpha channel"):
        sfumato.texture(x, mask="m.png")


def test_a_picture_file_with_a_mask_in_python(tmp_path: Path) -> None:
    x = torch.zeros(3, 20, 20, dtype=torch.uint8)
    x[:, :10], x[0, 10:] = 40, 200
    write_picture(x, tmp_path / "e.png")
    made = sfumato.texture(tmp_path / "e.png", "random_patch", mask=mask(tmp_path / "m.png", 20, 20, share=0.5))
    assert int(made.max()) == 40


def test_sizes_are_widths_and_heights() -> None:
    assert size_of("1280x768") == (768, 1280)
    assert size_of(" 8 X 9 ") == (9, 8)
    with pytest.raises(ConfigError, match="WIDTHxHEIGHT"):
        size_of("1x2x3")
