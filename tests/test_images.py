"""Pictures in and out: every level, every mode, and every way in which a file can be wrong."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sfumato.errors import DataError, ShapeError
from sfumato.images import (
    LARGEST,
    encode,
    from_pil,
    grid,
    open_picture,
    read_picture,
    to_float,
    to_pil,
    to_uint8,
    to_unit,
    write_picture,
)

RNG = np.random.default_rng(0)


def pixels(channels: int = 3, height: int = 5, width: int = 7) -> Tensor:
    return torch.from_numpy(RNG.integers(0, 256, (channels, height, width), dtype=np.uint8))


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds hardly any data: what a decompression bomb looks like from outside."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 100)
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (body, data, b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_all_256_levels_survive() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    x = to_float(levels)
    assert x.dtype == torch.float32 and float(x.min()) == -1 and float(x.max()) == 1
    assert torch.equal(to_uint8(x), levels)
    assert torch.equal(to_uint8(x + 0.003), levels) and torch.equal(to_uint8(x - 0.003), levels)
    torch.testing.assert_close(to_unit(levels).double(), levels.double() / 255)


def test_out_of_range_is_clamped_not_wrapped() -> None:
    assert to_uint8(torch.tensor([-9.0, -1.01, 1.01, 9.0]).view(1, 1, 2, 2)).flatten().tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif", ".PNG"])
def test_lossless_files(tmp_path: Path, channels: int, ending: str) -> None:
    made = pixels(channels)
    write_picture(made, tmp_path / f"a{ending}")
    assert torch.equal(read_picture(tmp_path / f"a{ending}", channels), made)
    assert [path.name for path in tmp_path.iterdir()] == [f"a{ending}"]


def test_two_channels_are_shown_as_red_and_green() -> None:
    made = pixels(2)
    shown = from_pil(to_pil(made))
    assert torch.equal(shown[:2], made) and not shown[2].any()


def test_four_channels_cannot_be_shown() -> None:
    with pytest.raises(ShapeError, match="4 channels"):
        to_pil(pixels(4))


def test_one_pixel(tmp_path: Path) -> None:
    made = pixels(3, 1, 1)
    write_picture(made, tmp_path / "a.png")
    assert torch.equal(read_picture(tmp_path / "a.png"), made)


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bits_are_scaled(tmp_path: Path, ending: str) -> None:
    levels = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    Image.fromarray(levels).save(tmp_path / f"a.{ending}")
    expected = [round(int(v) / 257) for v in levels[0]]  # Pillow's own conversion would give 255 for all but two
    assert read_picture(tmp_path / f"a.{ending}", 1).flatten().tolist() == expected
    assert read_picture(tmp_path / f"a.{ending}", 3)[2].flatten().tolist() == expected


def test_cmyk() -> None:
    inks = Image.new("CMYK", (2, 1))
    inks.putpixel((0, 0), (0, 255, 255, 0))
    assert from_pil(inks)[:, 0, 0].tolist() == [255, 0, 0] and from_pil(inks)[:, 0, 1].tolist() == [255, 255, 255]


def test_palette(tmp_path: Path) -> None:
    coloured = Image.new("P", (2, 1))
    coloured.putpalette([10, 20, 30, 200, 100, 50])
    coloured.putpixel((1, 0), 1)
    coloured.save(tmp_path / "a.png")
    made = read_picture(tmp_path / "a.png")
    assert made[:, 0].T.tolist() == [[10, 20, 30], [200, 100, 50]]
    coloured.save(tmp_path / "b.png", transparency=0)
    assert read_picture(tmp_path / "b.png")[:, 0].T.tolist() == [[255, 255, 255], [200, 100, 50]]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_over_white(mode: str) -> None:
    for alpha in (0, 100, 255):
        level = 40
        picture = Image.new(mode, (1, 1), (level,) * (len(mode) - 1) + (alpha,))
        expected = 255 + (level - 255) * alpha / 255
        assert from_pil(picture, 1).item() == pytest.approx(expected, abs=1)
        assert from_pil(picture, 3)[0].item() == pytest.approx(expected, abs=1)


def test_grey_of_colours_and_colours_of_grey() -> None:
    colour = Image.new("RGB", (1, 1), (255, 0, 0))
    assert from_pil(colour, 1).item() == 76  # ITU-R 601: 0.299 red
    assert from_pil(Image.new("L", (1, 1), 9), 3).flatten().tolist() == [9, 9, 9]
    assert from_pil(Image.new("1", (1, 1), 1), 3).flatten().tolist() == [255, 255, 255]


def test_exif_turns_apply(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 255, 255], [255, 255, 255]], np.uint8))
    exif = picture.getexif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    picture.save(tmp_path / "a.png", exif=exif)
    made = read_picture(tmp_path / "a.png", 1)
    assert made.shape == (1, 3, 2) and made[0].tolist() == [[255, 0], [255, 255], [255, 255]]


def test_float_tiff_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((2, 2), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match="floating-point"):
        read_picture(tmp_path / "a.tif")


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "gif"])
def test_truncated(tmp_path: Path, ending: str) -> None:
    noise = Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    noise.save(tmp_path / f"a.{ending}")
    whole = (tmp_path / f"a.{ending}").read_bytes()
    for share in (0.02, 0.5, 0.9):
        (tmp_path / f"a.{ending}").write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(DataError, match="not a readable picture") as caught:
            read_picture(tmp_path / f"a.{ending}")
        assert f"a.{ending}" in str(caught.value)


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(DataError, match="an empty file"):
        read_picture(tmp_path / "a.png")


def test_a_picture_without_pixels(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_header(0, 5))
    with pytest.raises(DataError, match="not a readable picture"):
        read_picture(tmp_path / "a.png")


@pytest.mark.parametrize(
    "content", [b"hello", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff\xe0", b"BM", b"\0" * 999]
)
def test_not_a_picture(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match="not a readable picture"):
        read_picture(tmp_path / "a.png")


def test_missing_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(DataError, match="no picture at"):
            read_picture(path)


@pytest.mark.parametrize("width", [LARGEST // 8000 + 1, 20_000, 65_000])
def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    (tmp_path / "a.png").write_bytes(png_header(width, 8000))

    def decoded(*args: object) -> None:
        raise AssertionError("the bomb went off")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded)
    with pytest.raises(DataError, match=r"a\.png") as caught:
        open_picture(tmp_path / "a.png")
    assert "bomb went off" not in str(caught.value)


def test_the_ending_of_a_file_does_not_matter_for_reading(tmp_path: Path) -> None:
    made = pixels()
    write_picture(made, tmp_path / "a.png")
    os.rename(tmp_path / "a.png", tmp_path / "a.jpg")
    assert torch.equal(read_picture(tmp_path / "a.jpg"), made)


@pytest.mark.parametrize("name", ["a.xyz", "a", "a.png.txt"])
def test_unknown_endings(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"end it in \.png"):
        write_picture(pixels(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.psd", "a.cur", "a.xpm", "a.fli", "a.xbm", "a.hdf"])
def test_endings_that_can_be_read_but_not_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"end it in \.png"):
        write_picture(pixels(), tmp_path / name)


def test_a_full_disk_keeps_the_old_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = pixels()
    write_picture(first, tmp_path / "a.png")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="No space left on device"):
        write_picture(pixels(), tmp_path / "a.png")
    assert torch.equal(read_picture(tmp_path / "a.png"), first)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_encode() -> None:
    made = pixels()
    assert torch.equal(from_pil(Image.open(io.BytesIO(encode(made)))), made)


def test_grid() -> None:
    made = torch.stack([torch.full((1, 2, 2), level, dtype=torch.uint8) for level in (10, 20, 30)])
    sheet = grid(made, columns=2)
    assert sheet[0].tolist() == [
        [10, 10, 255, 20, 20],
        [10, 10, 255, 20, 20],
        [255] * 5,
        [30, 30, 255, 255, 255],
        [30, 30, 255, 255, 255],
    ]
    assert grid(made, columns=3, gap=0, scale=3).shape == (1, 6, 18)
    assert grid(made).shape == (1, 5, 5)
    with pytest.raises(ShapeError, match="at least one picture"):
        grid(made[:0])
