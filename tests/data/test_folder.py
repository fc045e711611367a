"""Folders of pictures: every mode and shape, splits that do not move, copies, and every kind of bad file."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sfumato import images
from sfumato.config import load
from sfumato.data.base import Dataset
from sfumato.data.folder import Folder, draw, files, preflight, square
from sfumato.errors import ConfigError, DataError

PARTS = ("train", "validation", "test")
# Pillow leaves the file of a broken picture open until its exception is gone; the interpreter then closes it.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")


def picture(seed: int = 0, width: int = 12, height: int = 9) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def fill(folder: Path, n: int, first: int = 0, ending: str = ".png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(first, first + n):
        picture(seed).save(folder / f"{seed:03}{ending}")
    return folder


def dataset(path: Path, **settings: Any) -> Dataset:
    return Folder(Folder.Config(path=path, **{"size": 8, **settings})).load()


def rows(data: Dataset) -> dict[bytes, str]:
    """Which part each picture is in."""
    return {row.numpy().tobytes(): part for part in PARTS for row in getattr(data, part).images}


def png() -> bytes:
    buffer = io.BytesIO()
    picture(3, 64, 64).save(buffer, "PNG")
    return buffer.getvalue()


# Splits


def test_without_folders_eight_in_ten_train(tmp_path: Path) -> None:
    data = dataset(fill(tmp_path, 200))
    counts = [len(getattr(data, part)) for part in PARTS]
    assert sum(counts) == 200 and 140 <= counts[0] <= 180 and all(8 <= n <= 34 for n in counts[1:])
    assert len(rows(data)) == 200 and data.train.labels is None and data.classes == 0
    assert data.name == tmp_path.name and data.train.images.dtype == torch.uint8 and data.spec.size == (8, 8)


def test_adding_renaming_and_settings_move_no_picture(tmp_path: Path) -> None:
    before = rows(dataset(fill(tmp_path, 100)))
    order = dataset(tmp_path).train.images
    fill(tmp_path, 50, first=100)
    (tmp_path / "000.png").rename(tmp_path / "zzz.png")
    after = dataset(tmp_path)
    assert before.items() <= rows(after).items() and len(rows(after)) == 150
    kept = [row for row in after.train.images if row.numpy().tobytes() in before]
    assert torch.equal(torch.stack(kept), order)  # nor does any change its turn
    for settings in ({"size": 4}, {"channels": 1}, {"fit": "pad"}):
        other = dataset(tmp_path, **settings)
        assert [len(getattr(other, part)) for part in PARTS] == [len(getattr(after, part)) for part in PARTS]


def test_the_share_of_a_digest_is_fixed() -> None:
    drawn = [
        draw(digest + "f" * 56, ())
        for digest in ("00000000", "cccccccc", "cccccccd", "e6666666", "e6666667", "ffffffff")
    ]
    assert drawn == ["train", "train", "validation", "validation", "test", "test"]
    assert draw("f" * 64, ("train", "test")) == "train" and draw("d" * 64, ("train", "test")) == "validation"


def test_folders_of_parts_are_honoured(tmp_path: Path) -> None:
    for i, part in enumerate(PARTS):
        fill(tmp_path / part, 5 + i, first=100 * i)
    data = dataset(tmp_path)
    assert [len(getattr(data, part)) for part in PARTS] == [5, 6, 7]
    expected = {square(images.from_pil(picture(seed), 3), 8, "crop", 3).numpy().tobytes() for seed in range(200, 207)}
    assert {row.numpy().tobytes() for row in data.test.images} == expected


def test_a_missing_part_is_taken_from_train_alone(tmp_path: Path) -> None:
    fill(tmp_path / "train", 60)
    fill(tmp_path / "test", 5, first=100)
    data = dataset(tmp_path)
    assert len(data.test) == 5 and len(data.train) + len(data.validation) == 60 and 1 <= len(data.validation) <= 15


def test_classes_are_the_sorted_folder_names_of_all_parts(tmp_path: Path) -> None:
    for i, name in enumerate(("train/dog", "train/cat/deep", "validation/cat", "test/dog")):
        fill(tmp_path / name, 3, first=10 * i)
    data = dataset(tmp_path)
    assert data.classes == 2 and data.validation.labels is not None and data.validation.labels.tolist() == [0, 0, 0]
    assert data.test.labels is not None and data.test.labels.tolist() == [1, 1, 1]
    assert data.train.labels is not None and sorted(data.train.labels.tolist()) == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("names", [("a",), ("a", ""), ("a", "b", "")])
def test_one_folder_or_loose_pictures_are_no_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    for i, name in enumerate(names):
        fill(tmp_path / name, 40, first=100 * i)
    assert dataset(tmp_path).classes == 0


def test_labels_follow_their_pictures(tmp_path: Path) -> None:
    for i in range(40):
        folder = tmp_path / ("dark" if i % 2 else "light")
        folder.mkdir(exist_ok=True)
        Image.new("L", (9, 9), i if i % 2 else 255 - i).save(folder / f"{i}.png")
    data = dataset(tmp_path)
    for part in PARTS:
        split = getattr(data, part)
        assert (split.labels == (split.images[:, 0, 0, 0] > 127)).all()


def test_limits(tmp_path: Path) -> None:
    assert len(dataset(fill(tmp_path, 60), train=3).train) == 3
    with pytest.raises(ConfigError, match=r"data\.test = 50, but .* such images; ask for 1 to"):
        dataset(tmp_path, test=50)


# Sizes and modes


@pytest.mark.parametrize(("width", "height"), [(12, 9), (1, 1), (1, 300), (300, 1), (8, 8), (200, 100)])
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_shape_becomes_square(width: int, height: int, fit: Any, channels: int) -> None:
    assert square(images.from_pil(picture(0, width, height), 3), 8, fit, channels).shape == (channels, 8, 8)


def test_the_three_fits_show_what_they_say() -> None:
    halves = np.zeros((20, 40, 3), np.uint8)
    halves[:, :10] = halves[:, 30:] = 255  # white ends, black middle
    pixels = images.from_pil(Image.fromarray(halves), 3)
    assert square(pixels, 10, "crop", 1)[0, :, 1:-1].max() < 9  # the middle alone, but for the filter's reach
    stretched = square(pixels, 20, "stretch", 1)[0]
    assert stretched[:, 0].min() == 255 and stretched[:, 10].max() == 0
    padded = square(pixels, 20, "pad", 1)[0]
    assert padded[:5].max() == 0 and padded[15:].max() == 0 and padded[8, 0] == 255


def test_shrinking_is_antialiased() -> None:
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    grey = square(images.from_pil(Image.fromarray(board), 3), 8, "crop", 1).float()
    assert (grey - 127.5).abs().max() < 8


def test_every_mode_is_read(tmp_path: Path) -> None:
    rgb = picture(1, 20, 20)
    rgb.save(tmp_path / "rgb.jpg")
    rgb.convert("CMYK").save(tmp_path / "cmyk.tif")
    rgb.convert("P").save(tmp_path / "palette.gif")
    rgb.convert("L").save(tmp_path / "grey.webp")
    rgb.convert("1").save(tmp_path / "bits.BMP")
    Image.fromarray((np.arange(400).reshape(20, 20) * 160).astype(np.uint16)).save(tmp_path / "deep.png")
    clear = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    clear.save(tmp_path / "clear.png")
    found = preflight(tmp_path, 8)
    assert not found.broken and len(found.pictures) == 7
    assert set(found.modes) >= {"RGB", "CMYK", "P", "1", "RGBA"} and any(mode.startswith("I") for mode in found.modes)
    clear_pixels, deep_pixels = (images.read_picture(tmp_path / name) for name in ("clear.png", "deep.png"))
    assert square(clear_pixels, 8, "crop", 3).min() == 255  # transparency lies over white
    deep = square(deep_pixels, 8, "crop", 3)[0].float()
    assert deep[0].mean() < 40 and 220 < deep[-1].mean() < 255  # 16 bits are scaled, not cut off


# Bad input


@pytest.fixture
def good(tmp_path: Path) -> Iterator[Path]:
    yield fill(tmp_path / "good", 40)


BAD = {
    "empty.png": (lambda: b"", "an empty file"),
    "cut.png": (lambda: png()[:2000], "not a readable picture"),
    "text.jpg": (lambda: b"hello", "no known picture format"),
    "float.tif": (None, "floating-point pixels"),
}


def spoil(folder: Path, name: str) -> None:
    content, _ = BAD[name]
    if content is None:
        Image.fromarray(np.zeros((9, 9), np.float32)).save(folder / name)
    else:
        (folder / name).write_bytes(content())


@pytest.mark.parametrize("name", BAD)
def test_a_broken_file_is_named_and_counted(good: Path, name: str) -> None:
    spoil(good, name)
    with pytest.raises(
        DataError, match=rf"good: 1 of 41 pictures cannot be read \({name}\); the first: .*{name}"
    ) as caught:
        dataset(good)
    line = str(caught.value)
    assert BAD[name][1] in line and line.endswith('or set data.on_broken = "skip"') and "\n" not in line
    assert len(rows(dataset(good, on_broken="skip"))) == 40
    assert BAD[name][1] in preflight(good).broken[0][1]


def test_all_broken_files_are_counted_before_any_is_refused(good: Path) -> None:
    for name in BAD:
        spoil(good, name)
    with pytest.raises(
        DataError, match=r"4 of 44 pictures cannot be read \(cut\.png, empty\.png, float\.tif, text\.jpg\)"
    ):
        dataset(good)


def test_a_huge_picture_is_refused_undecoded(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "LARGEST", 200)
    picture(7, 100, 100).save(good / "huge.png")
    with pytest.raises(DataError, match=r"1 of 41 .*huge\.png has 100 x 100 pixels; at most 200 are read"):
        dataset(good)


def test_nothing_readable_is_refused_even_with_skip(tmp_path: Path) -> None:
    spoil(tmp_path, "empty.png")
    with pytest.raises(DataError, match=r"1 of 1 pictures cannot be read \(empty\.png\)") as caught:
        dataset(tmp_path, on_broken="skip")
    assert "on_broken" not in str(caught.value)
    assert "0 pictures" in str(preflight(tmp_path))


def test_no_folder_an_empty_one_and_one_of_other_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no folder at .*nowhere; give the path of a folder with pictures"):
        dataset(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"holds no pictures \(it is empty\); put \.png"):
        dataset(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "README").write_text("x")
    with pytest.raises(
        DataError, match=r"holds no pictures \(1 \.txt, 1 without ending\)|\(1 without ending, 1 \.txt\)"
    ):
        dataset(tmp_path)
    with pytest.raises(DataError, match=r"no folder at .*notes\.txt"):
        dataset(tmp_path / "notes.txt")


def test_other_files_are_counted_and_hidden_ones_left_alone(good: Path) -> None:
    (good / "list.csv").write_text("x")
    (good / "._000.png").write_bytes(b"a resource fork")
    (good / ".git").mkdir()
    (good / ".git" / "a.png").write_bytes(b"x")
    (good / "link").symlink_to(good, target_is_directory=True)
    assert preflight(good).ignored == {".csv": 1, ".png": 1, "linked folder": 1}
    assert len(files(good)[0]) == 40


def test_too_few_for_three_parts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"1 train, 0 validation, 0 test; add pictures, or make folders|0 train"):
        dataset(fill(tmp_path, 1))


def test_pictures_beside_the_parts_are_refused(tmp_path: Path) -> None:
    for part in ("train", "test", "val"):
        fill(tmp_path / part, 7, first=len(part) * 10)
    with pytest.raises(
        DataError, match=r"7 pictures lie outside train, validation and test \(val/030\.png, .* and 2 more\)"
    ):
        dataset(tmp_path)
    assert len(preflight(tmp_path).outside) == 7


def test_a_test_folder_alone_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "test", 3)
    with pytest.raises(DataError, match="has a folder test but none called train; add it, or rename test"):
        dataset(tmp_path)


def test_wrong_settings_are_refused(tmp_path: Path) -> None:
    for wrong in ({"size": 0}, {"fit": "squash"}, {"channels": 4}, {"sizes": 8}):
        with pytest.raises(ConfigError, match=f"settings: {next(iter(wrong))}"):
            load(Folder.Config, {"path": str(tmp_path), **wrong})


# Copies


def test_copies_stay_or_go(good: Path) -> None:
    (good / "copy.png").write_bytes((good / "000.png").read_bytes())
    picture(1).save(good / "copy.bmp")  # the same pixels in another format
    kept, dropped = (dataset(good, duplicates=law) for law in ("keep", "drop"))
    assert sum(len(getattr(kept, part)) for part in PARTS) == 42
    assert sum(len(getattr(dropped, part)) for part in PARTS) == 40
    assert [[p.name for p in group] for group in preflight(good).duplicates] in (
        [["000.png", "copy.png"], ["001.png", "copy.bmp"]],
        [["001.png", "copy.bmp"], ["000.png", "copy.png"]],
    )
    assert not preflight(good).leaks


def test_a_copy_in_two_parts_is_a_leak(tmp_path: Path) -> None:
    for i, part in enumerate(PARTS):
        fill(tmp_path / part, 5, first=10 * i)
    picture(20).save(tmp_path / "train" / "again.png")
    with pytest.raises(
        DataError, match=r"1 picture lies in more than one part, the first as test/020.png = train/again.png"
    ):
        dataset(tmp_path)
    data = dataset(tmp_path, duplicates="drop")
    assert [len(getattr(data, part)) for part in PARTS] == [5, 5, 5]  # the test part keeps its picture
    assert [p.name for p in preflight(tmp_path).leaks[0]] == ["020.png", "again.png"]


# Preflight


def test_the_report_says_what_there_is(tmp_path: Path) -> None:
    fill(tmp_path / "b", 60)
    fill(tmp_path / "a", 3, first=60, ending=".bmp")
    picture(99, 40, 5).save(tmp_path / "a" / "wide.png")
    picture(98, 1, 1).save(tmp_path / "a" / "dot.png")
    picture(98, 1, 1).save(tmp_path / "b" / "dot.png")
    spoil(tmp_path, "empty.png")
    (tmp_path / "notes.txt").write_text("x")
    found = preflight(tmp_path, size=9)
    assert str(found).splitlines() == found.lines()
    text = str(found)
    parts = ", ".join(f"{n} {part}" for part, n in found.parts.items())
    assert f"{tmp_path}: 66 pictures ({parts})" in text and sum(found.parts.values()) == 66
    assert "width: 1 to 40 pixels, median 12\nheight: 1 to 9 pixels, median 9\n" in text
    assert "modes: 66 RGB\nclasses: 5 a, 61 b\nignored files: 1 .txt\n" in text
    assert "problem: 1 of 67 pictures cannot be read (empty.png); the first: " in text
    assert "problem: 1 picture is there more than once (a/dot.png = b/dot.png)" in text
    assert "problem: 3 pictures have a side below 9 pixels: enlarged (a/dot.png, a/wide.png, b/dot.png)" in text


def test_a_good_folder_has_no_problems(good: Path) -> None:
    assert preflight(str(good), size=9).problems() == []


def test_turned_pictures_are_measured_upright(tmp_path: Path) -> None:
    turned = picture(0, 12, 9)
    exif = turned.getexif()
    exif[0x0112] = 6  # a quarter turn
    turned.save(tmp_path / "turned.jpg", exif=exif)
    assert (preflight(tmp_path).pictures[0].width, preflight(tmp_path).pictures[0].height) == (9, 12)
