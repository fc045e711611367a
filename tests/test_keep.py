"""What a person's picture says beside its colours is kept by `restore`; masks are understood or refused by name."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from .cases import TINY, call, pixels, refused

Capsys = pytest.CaptureFixture[str]

RNG = np.random.default_rng(0)
SIDE = 24
HOLE = np.zeros((SIDE, SIDE), bool)
HOLE[8:14, 9:15] = True
COLOURS = RNG.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.fromarray((HOLE * 255).astype(np.uint8)).save("m.png")
    return tmp_path


def save(array: np.ndarray, name: str, **more: Any) -> str:
    Image.fromarray(array).save(name, **more)
    return name


def look(name: str) -> Image.Image:
    """A picture in memory, with its format."""
    return Image.open(io.BytesIO(Path(name).read_bytes()))


def restore(picture: str, out: str, *more: Any) -> Image.Image:
    assert call("restore", picture, "--mask", "m.png", "--model", "telea", "--out", out, *more) == 0
    return look(out)


@pytest.fixture(scope="module")
def filler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "filler"
    assert call("train", "ddpm", "--task", "inpainting", "--images", 32, "--out", out, *TINY) == 0
    return out


DEEP = RNG.integers(0, 65536, (SIDE, SIDE), dtype=np.uint16)
FILES = {
    "RGB.png": COLOURS,
    "L.png": COLOURS[..., 0],
    "LA.png": np.dstack([COLOURS[..., 0], COLOURS[..., 1] | 1]),
    "RGBA.png": np.dstack([COLOURS, COLOURS[..., 0] | 1]),
    "I;16.png": DEEP,
    "I;16.tif": DEEP,
    "RGB.tif": COLOURS,
    "RGBA.webp": np.dstack([COLOURS, COLOURS[..., 0] | 1]),
    "RGB.bmp": COLOURS,
}


@pytest.mark.parametrize("name", FILES)
def test_mode_depth_alpha_and_every_kept_pixel_stay(here: Path, capsys: Capsys, name: str) -> None:
    more = {"lossless": True, "exact": True} if name.endswith("webp") else {}
    save(FILES[name], name, **more)
    made = restore(name, "r" + Path(name).suffix)
    assert made.mode == name.partition(".")[0] and made.format == look(name).format
    new, old = np.asarray(made), FILES[name]
    assert np.array_equal(new[~HOLE], old[~HOLE]) and not np.array_equal(new[HOLE], old[HOLE])
    if old.ndim == 3 and old.shape[2] in (2, 4):
        assert np.array_equal(new[..., -1], old[..., -1])
    assert "warning" not in capsys.readouterr().err


def test_without_out_the_format_is_the_input_s(here: Path) -> None:
    save(COLOURS, "p.bmp")
    assert call("restore", "p.bmp", "--mask", "m.png", "--model", "telea") == 0
    assert look("restored.bmp").format == "BMP"


DIRECTORIES = [(0x8769, 0x9003, "2026:01:01 00:00:00"), (0x8825, 1, "N")]  # when and where, as telephones write


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tif"])
def test_profile_exif_and_resolution_stay_and_the_turn_is_applied_once(here: Path, ending: str) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "A camera", 6
    for directory, tag, value in DIRECTORIES:
        exif.get_ifd(directory)[tag] = value
    wide = np.repeat(COLOURS, 2, axis=1)
    save(wide, f"p.{ending}", exif=exif, icc_profile=PROFILE, dpi=(300, 300))
    save(np.repeat(HOLE * 255, 2, axis=0).astype(np.uint8), "m.png")  # upright, 24 x 48
    made = restore(f"p.{ending}", f"r.{ending}")
    assert made.size == (SIDE, 2 * SIDE)
    assert made.info["icc_profile"] == PROFILE
    assert made.getexif()[0x010F] == "A camera" and 0x0112 not in made.getexif()
    if ending != "tif":  # Pillow writes no directories into a TIFF
        assert all(made.getexif().get_ifd(directory)[tag] == value for directory, tag, value in DIRECTORIES)
    assert ending == "webp" or made.info["dpi"] == pytest.approx((300, 300), abs=0.1)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_malformed_exif_never_matters(here: Path, ending: str) -> None:
    save(COLOURS, f"p.{ending}", exif=b"Exif\x00\x00GARBAGE!!")
    assert restore(f"p.{ending}", "r.png").size == (SIDE, SIDE)


def test_jpeg_says_by_how_much_it_changed_the_kept_pixels(here: Path, capsys: Capsys) -> None:
    save(COLOURS, "p.png")
    made = np.asarray(restore("p.png", "r.jpg")).astype(int)
    said = capsys.readouterr().err
    change = np.abs(made - COLOURS)[~HOLE].max(1)
    assert (
        f"JPEG changed the kept pixels of r.jpg by {change.mean():.2f} levels on average, {change.max()} at most"
        in said
    )


@pytest.mark.parametrize(
    ("name", "words"), [("r.jpg", "cannot hold this picture"), ("r.ico", "has no ending of a format")]
)
def test_a_format_that_cannot_hold_the_picture_is_refused(here: Path, capsys: Capsys, name: str, words: str) -> None:
    save(FILES["RGBA.png"], "p.png")
    refused(capsys, "restore", "p.png", "--mask", "m.png", "--model", "telea", "--out", name, words=words)
    assert not Path(name).exists()


def test_gif_says_what_it_lost(here: Path, capsys: Capsys) -> None:
    save(COLOURS, "p.png", icc_profile=PROFILE)
    restore("p.png", "r.gif")
    said = capsys.readouterr().err
    assert "GIF changed the kept pixels" in said and "GIF keeps no colour profile" in said


def test_what_is_made_in_a_transparent_hole_is_seen(here: Path) -> None:
    alpha = np.where(HOLE, 0, 200).astype(np.uint8)
    save(np.dstack([COLOURS, alpha]), "p.png")
    made = np.asarray(restore("p.png", "r.png"))
    assert (made[HOLE, 3] == 255).all() and (made[~HOLE, 3] == 200).all()


def test_colours_under_transparency_do_not_bleed_into_the_hole(here: Path) -> None:
    grey = np.full((SIDE, SIDE, 4), 200, np.uint8)
    grey[..., 3] = 255
    grey[7, 9:15] = (255, 0, 0, 0)  # beside the hole, red that nobody sees
    save(grey, "p.png")
    made = np.asarray(restore("p.png", "r.png"))
    assert (np.abs(made[HOLE][:, :3].astype(int) - 200) <= 2).all()
    assert (made[7, 9:15] == grey[7, 9:15]).all()


def test_enlarging_keeps_alpha_and_any_shape(here: Path) -> None:
    wide = np.repeat(FILES["RGBA.png"], 2, axis=1)
    save(wide, "p.png")
    assert call("restore", "p.png", "--scale", "3", "--model", "bicubic", "--out", "r.png") == 0
    made = look("r.png")
    assert (made.mode, made.size) == ("RGBA", (6 * SIDE, 3 * SIDE))


def test_masks_with_transparency(here: Path, capsys: Capsys) -> None:
    save(COLOURS, "p.png")
    wanted = np.asarray(restore("p.png", "r.png"))
    white = np.where(HOLE[..., None], np.uint8([255, 255, 255, 255]), np.uint8([0, 0, 0, 0]))
    save(white, "m.png")
    assert np.array_equal(np.asarray(restore("p.png", "r.png")), wanted)
    assert "transparency, which counts as black" in capsys.readouterr().err
    save(np.dstack([COLOURS, np.where(HOLE, 0, 255).astype(np.uint8)]), "m.png")
    assert np.array_equal(np.asarray(restore("p.png", "r.png")), wanted)
    assert "its transparent part is taken as the hole" in capsys.readouterr().err
    other = np.dstack([COLOURS[::-1], np.where(HOLE, 0, 255).astype(np.uint8)])
    black = np.where(HOLE[..., None], np.uint8([0, 0, 0, 255]), np.uint8([0, 0, 0, 0]))
    for unclear in (other, black):
        save(unclear, "m.png")
        words = ("the mask m.png has transparency", "white (to be made) on black (kept)")
        refused(capsys, "restore", "p.png", "--mask", "m.png", "--model", "telea", words=words)


def test_a_mask_of_0_and_1_is_said(here: Path, capsys: Capsys) -> None:
    save(COLOURS, "p.png")
    save(HOLE.astype(np.uint8), "m.png")
    refused(capsys, "restore", "p.png", "--mask", "m.png", "--model", "telea", words="multiply it by 255")


def test_a_folder_with_one_mask_or_one_for_each(here: Path, capsys: Capsys) -> None:
    for folder in ("in", "masks"):
        Path(folder, "sub").mkdir(parents=True)
    for i in range(3):
        save(np.roll(COLOURS, i, axis=0), f"in/sub/photo_{i}.png")
        save((np.roll(HOLE, i, axis=0) * 255).astype(np.uint8), f"masks/sub/mask{i:02d}.png")
    assert call("restore", "in", "--mask", "m.png", "--model", "telea", "--out", "one") == 0
    assert call("restore", "in", "--mask", "masks", "--model", "telea", "--out", "each") == 0
    rolled = [pixels(here / f"each/sub/photo_{i}.png") for i in range(3)]
    assert np.array_equal(rolled[0], pixels(here / "one/sub/photo_0.png"))
    for i, picture in enumerate(rolled):
        kept = ~np.roll(HOLE, i, axis=0)
        assert np.array_equal(picture[kept], np.roll(COLOURS, i, axis=0)[kept])
    Path("in/sub/photo_1.png").write_bytes(b"broken")
    words = ("1 picture of 3 could not be restored", "photo_1.png")
    refused(capsys, "restore", "in", "--mask", "m.png", "--model", "telea", "--out", "two", words=words)
    assert len(list(Path("two").rglob("*.png"))) == 2
    refused(capsys, "restore", "in", "--mask", "m.png", "--model", "telea", "--out", "in", words="choose another")


def test_only_pictures_are_opened(here: Path, capsys: Capsys) -> None:
    Path("p.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n")
    refused(capsys, "restore", "p.png", "--mask", "m.png", "--model", "telea", words="no known picture format")


def test_integers_beyond_16_bits_are_refused(here: Path, capsys: Capsys) -> None:
    save(np.full((SIDE, SIDE), 100_000, np.int32), "p.tif")
    refused(capsys, "restore", "p.tif", "--mask", "m.png", "--model", "telea", words="32-bit pixels from 100,000")


def test_what_is_peculiar_about_a_file_is_said(here: Path, capsys: Capsys) -> None:
    frames = [Image.fromarray(np.roll(COLOURS, i, axis=0)) for i in range(3)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    Path("p.png").write_bytes(buffer.getvalue())
    restore("p.png", "r.png")
    said = capsys.readouterr().err
    assert "p.png is GIF inside, though its name ends in .png" in said and "has 3 frames, of which the first" in said


def test_a_grey_model_refuses_colour_and_takes_grey_in_any_mode(here: Path, capsys: Capsys, filler: Path) -> None:
    grey = RNG.integers(0, 256, (8, 8), dtype=np.uint8)
    mask = np.zeros((8, 8), np.uint8)
    mask[2:5, 2:5] = 255
    save(mask, "m.png")
    save(np.dstack([grey] * 3), "g.png")
    save(COLOURS[:8, :8], "c.png")
    assert call("restore", "g.png", "--mask", "m.png", "--model", filler, "--out", "r.png") == 0
    assert look("r.png").mode == "RGB"
    refused(capsys, "restore", "c.png", "--mask", "m.png", "--model", filler, words=("in colour", "as grey first"))


def test_a_model_fills_a_hole_in_a_larger_picture_window_by_window(here: Path, capsys: Capsys, filler: Path) -> None:
    save(COLOURS[..., 0], "p.png")
    assert call("restore", "p.png", "--mask", "m.png", "--model", filler, "--out", "r.png") == 0
    made = pixels(here / "r.png")
    assert np.array_equal(made[~HOLE], COLOURS[..., 0][~HOLE]) and (made[HOLE] != COLOURS[..., 0][HOLE]).mean() > 0.8
    assert "1 part of it, each around a hole" in capsys.readouterr().err
    save(np.pad(np.full((20, 20), 255, np.uint8), 2), "m.png")
    assert call("restore", "p.png", "--mask", "m.png", "--model", filler, "--out", "r.png") == 0
