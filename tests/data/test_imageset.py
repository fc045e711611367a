"""Image sets: the same pixels from every container, hostile files refused by name, and decoding ahead changes nothing."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor

from sfumato.data import imageset
from sfumato.data.imageset import Entry, ImageSet, from_array, from_folder, from_tensor, from_zip, shown
from sfumato.errors import DataError

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (6, 10, 8, 3), dtype=np.uint8)


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue()


def folder(path: Path, arrays: np.ndarray = X) -> Path:
    path.mkdir(parents=True)
    for i, array in enumerate(arrays):
        (path / f"{i:03d}.png").write_bytes(png(array))
    return path


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def stacked(images: ImageSet) -> Tensor:
    return torch.stack(images.pick(range(len(images))))


def expected(arrays: np.ndarray = X) -> Tensor:
    return torch.from_numpy(arrays.transpose(0, 3, 1, 2).copy())


# --- containers -----------------------------------------------------------------------------------------------------


def test_every_container_gives_the_same_pixels(tmp_path: Path) -> None:
    members = {f"{i:03d}.png": png(array) for i, array in enumerate(X)}
    by_folder, by_zip = from_folder(folder(tmp_path / "f")), from_zip(zipped(tmp_path / "z.zip", members))
    for images in (by_folder, by_zip, from_array(X, "npz"), from_tensor(expected())):
        assert torch.equal(stacked(images), expected())
        assert images.sizes == {"10 x 8": 6} and len(images) == 6
    assert by_folder.digest == by_zip.digest
    assert from_array(X, "a").digest == from_tensor(expected(), "b").digest


@pytest.mark.parametrize("layout", ["NHWC", "NCHW", "NHW", "NHW1", "N1HW"])
def test_layouts_of_arrays(layout: str) -> None:
    grey = X[..., 0]
    array = {"NHWC": X, "NCHW": X.transpose(0, 3, 1, 2), "NHW": grey, "NHW1": grey[..., None], "N1HW": grey[:, None]}
    found = stacked(from_array(array[layout], "x"))
    assert torch.equal(found, expected() if layout in ("NHWC", "NCHW") else torch.from_numpy(grey.copy())[:, None])


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (X / 255.0, ("x are float64", "save uint8", "* 255")),
        (X.astype(np.int64), ("int64", "save uint8")),
        (X > 3, ("bool", "save uint8")),
        (X[0, :, :, 0], ("shape (10, 8)", "N x H x W")),
        (X[None], ("shape (1, 6, 10, 8, 3)",)),
        (X[..., :2], ("shape (6, 10, 8, 2)", "C = 1 (grey) or 3 (RGB)")),
        (np.concatenate([X, X[..., :1]], 3), ("shape (6, 10, 8, 4)", "C = 1 (grey) or 3 (RGB)")),
        (X[:0], ("at least one image",)),
        (np.uint8(3)[()], ("shape ()",)),
        (np.array(["a"]), ("save uint8",)),
    ],
)
def test_wrong_arrays(array: np.ndarray, words: tuple[str, ...]) -> None:
    with pytest.raises(DataError) as caught:
        from_array(np.asarray(array), "x")
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    "pixels", [torch.rand(2, 3, 8, 8), torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(2, 2, 8, 8).byte()]
)
def test_wrong_tensors(pixels: Tensor) -> None:
    with pytest.raises(DataError, match="uint8 N x C x H x W"):
        from_tensor(pixels)


# --- what pictures come as -----------------------------------------------------------------------------------------


def test_names_may_hold_anything_and_hidden_files_do_not_count(tmp_path: Path) -> None:
    place = tmp_path / "ü ñ 日本 [b]"
    names = ["a b.png", "ж.PNG", "[red]x[red].png", "%s {0}.png"]
    for sub in (place, place / "sub dir", place / ".git"):
        sub.mkdir()
        for name in names:
            (sub / name).write_bytes(png(X[0]))
    (place / "._a.png").write_bytes(b"rubbish")
    (place / "folder.png").mkdir()
    (place / "notes.txt").write_text("no picture")
    (place / "circle").symlink_to(place)
    found = from_folder(place)
    assert sorted(e.name for e in found.entries) == sorted([*names, *(f"sub dir/{name}" for name in names)])
    members = {"__MACOSX/a.png": b"x", "a/._b.png": b"x", "ü/日.PNG": png(X[0]), "b.txt": b""}
    assert [e.name for e in from_zip(zipped(tmp_path / "z.zip", members)).entries] == ["ü/日.PNG"]


def saved(path: Path, picture: Image.Image, **options: Any) -> Tensor:
    picture.save(path, **options)
    (only,) = from_folder(path.parent).pick([0])
    return only


def test_modes_become_rgb(tmp_path: Path) -> None:
    rgb, grey = Image.fromarray(X[0]), X[0, :, :, 0]
    assert torch.equal(saved(tmp_path / "a.png", rgb), expected()[0])
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    assert torch.equal(saved(tmp_path / "a.png", deep), torch.from_numpy(grey.copy()).expand(3, -1, -1))
    assert torch.equal(
        saved(tmp_path / "a.png", Image.fromarray(grey)), torch.from_numpy(grey.copy()).expand(3, -1, -1)
    )
    for ending, mode in (("tif", "CMYK"), ("png", "1"), ("png", "P")):
        (tmp_path / "a.png").unlink(missing_ok=True)
        picture = rgb.convert(mode)
        found = saved(tmp_path / f"a.{ending}", picture)
        assert np.array_equal(found.permute(1, 2, 0).numpy(), np.asarray(picture.convert("RGB")))
        (tmp_path / f"a.{ending}").unlink()
    clear = Image.fromarray(np.dstack([X[0], np.zeros((10, 8), np.uint8)]))
    assert (saved(tmp_path / "a.png", clear) == 255).all()  # fully transparent, over white


def test_turned_animated_and_tiny(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # lay it on its side
    for name, picture, options in (
        ("turned.jpg", Image.fromarray(X[0]), {"exif": exif}),
        ("moving.gif", Image.fromarray(X[0, ..., 0]), {"save_all": True, "append_images": [Image.new("L", (8, 10))]}),
        ("tiny.png", Image.fromarray(X[0, :1, :1]), {}),
    ):
        picture.save(tmp_path / name, **options)
    moving, tiny, turned = from_folder(tmp_path).entries
    assert [e.shape for e in (moving, tiny, turned)] == [(3, 10, 8), (3, 1, 1), (3, 8, 10)]
    assert all(e.decode().shape == e.shape for e in (moving, tiny, turned))
    assert np.array_equal(moving.decode()[0].numpy(), X[0, ..., 0])  # of an animation, the first frame
    told = from_folder(tmp_path).about()
    assert any("3 sizes" in line for line in told["warnings"]) and any("JPEG" in line for line in told["warnings"])


# --- what cannot be read --------------------------------------------------------------------------------------------


def huge() -> bytes:
    """A PNG that promises 100,000 x 100,000 pixels."""
    head = bytearray(png(X[0]))
    head[16:24] = struct.pack(">II", 100_000, 100_000)
    head[29:33] = struct.pack(">I", zlib.crc32(bytes(head[12:29])))
    return bytes(head)


BROKEN = {
    "empty.png": b"",
    "huge.png": huge(),
    "svg.png": b"<svg/>",
    "text.jpg": b"no picture",
    "truncated.png": png(X[0])[:60],
    "zeros.tif": bytes(100),
    "zip.gif": b"PK\x05\x06" + bytes(18),
}


def test_unreadable_files_are_named_counted_and_refused_or_left_out(tmp_path: Path) -> None:
    place = folder(tmp_path / "f")
    for name, content in BROKEN.items():
        (place / name).write_bytes(content)
    (place / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(DataError) as caught:
        from_folder(place)
    text = str(caught.value)
    for word in (str(place), "8 of 14 pictures", "dangling.png, empty.png, huge.png", "and 3 more", "--skip-broken"):
        assert word in text, (word, text)
    found = from_folder(place, "skip")
    assert len(found) == 6 and set(found.broken) == {*BROKEN, "dangling.png"}
    assert torch.equal(stacked(found), expected())
    told = found.about()
    assert told["left_out"] == 8 and any("8 unreadable files" in line for line in told["warnings"])


@pytest.mark.parametrize("on_broken", ["refuse", "skip"])
def test_nothing_but_broken_files(tmp_path: Path, on_broken: Any) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"1 of 1 pictures cannot be read \(a.png\)"):
        from_folder(tmp_path, on_broken)


def test_folders_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "only" / "folders").mkdir(parents=True)
    for place in (tmp_path / "only", tmp_path / "only" / "folders"):
        with pytest.raises(DataError, match="holds no pictures"):
            from_folder(place)
    with pytest.raises(DataError, match="no folder at"):
        from_folder(tmp_path / "nowhere")


def flagged(content: bytes, local: int, central: int, value: int) -> bytes:
    """A zip file with a byte of every header set."""
    changed = bytearray(content)
    for mark, offset in ((b"PK\x03\x04", local), (b"PK\x01\x02", central)):
        place = content.find(mark)
        while place >= 0:
            changed[place + offset] = value
            place = content.find(mark, place + 4)
    return bytes(changed)


def test_hostile_zip_files(tmp_path: Path) -> None:
    good = zipped(tmp_path / "good.zip", {f"{i}.png": png(array) for i, array in enumerate(X)}).read_bytes()
    cases = {
        "truncated": (good[: len(good) // 2], "not a readable zip file"),
        "empty": (b"", "not a readable zip file"),
        "text": (b"hello", "not a readable zip file"),
        "encrypted": (flagged(good, 6, 8, 1), "6 of 6 pictures.*password"),
        "method": (flagged(good, 8, 10, 99), "6 of 6 pictures.*compression method is not supported"),
        "nested": (zipped(tmp_path / "n.zip", {"in.zip": good}).read_bytes(), "holds no pictures"),
        "bare": (zipped(tmp_path / "b.zip", {}).read_bytes(), "holds no pictures"),
        "flipped": (good[:90] + bytes([good[90] ^ 255]) + good[91:], "1 of 6 pictures cannot be read"),
    }
    for name, (content, words) in cases.items():
        path = tmp_path / f"{name}.zip"
        path.write_bytes(content)
        with pytest.raises(DataError, match=words) as caught:
            from_zip(path)
        assert str(path) in str(caught.value)


def test_a_zip_bomb_and_paths_that_lead_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    inside = zipped(tmp_path / "in" / "up.zip", {"../../up.png": png(X[0]), "/abs.png": png(X[1])})
    from_zip(inside)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["in", "up.zip"], "something was unpacked"
    monkeypatch.setattr(imageset, "KEPT", 1000)
    bomb = zipped(tmp_path / "bomb.zip", {"a.png": png(X[0]), "z.png": bytes(2000)})
    with pytest.raises(DataError, match=r"z\.png, which unpacks to more"):
        from_zip(bomb)


# --- subsets, sizes, digests ----------------------------------------------------------------------------------------


def test_subsets_are_fixed_sorted_and_bounded() -> None:
    images = from_tensor(torch.arange(50, dtype=torch.uint8).reshape(50, 1, 1, 1))
    some = images.subset(20)
    places = stacked(some).flatten().tolist()
    assert places == sorted(set(places)) and len(places) == 20 and places != list(range(20))
    assert stacked(images.subset(20)).flatten().tolist() == places
    assert images.subset(None) is images
    assert some.about()["of"] == 50 and "of" not in images.about()
    for n in (0, 51, -1):
        with pytest.raises(DataError, match=f"{n} images of tensor are asked for, which has 50; ask for 1 to 50"):
            images.subset(n)


@pytest.mark.parametrize("how", ["lanczos", "bicubic", "bilinear", "box", "nearest"])
def test_resizing_is_pillow_s_and_is_said(how: Any) -> None:
    images = from_array(X, "x")
    small = images.resized(5, how)
    wanted = [ImageOps.fit(Image.fromarray(a), (5, 5), Image.Resampling[how.upper()]) for a in X]
    assert torch.equal(stacked(small), expected(np.stack([np.asarray(w) for w in wanted])))
    assert small.sizes == {"5 x 5": 6} and small.preparation == f"cut square, {how} to 5"
    assert small.digest != images.digest
    square = from_array(X[:, :8], "x")
    same = square.resized(8, how)  # the same pixels, and the card says that this was asked for
    assert torch.equal(stacked(same), stacked(square)) and same.preparation == f"cut square, {how} to 8"
    assert images.resized(None, how) is images
    assert stacked(from_array(X[..., 0], "grey").resized(4, how)).shape == (6, 1, 4, 4)


def test_the_digest_is_that_of_contents_in_their_order() -> None:
    images = from_array(X, "x")
    assert from_array(X, "another name", "test").digest == images.digest
    changed = X.copy()
    changed[3, 2, 2, 1] ^= 1
    others = [
        from_array(X[::-1], "x"),
        from_array(X[:5], "x"),
        from_array(changed, "x"),
        from_array(X[:, :, ::-1], "x"),
    ]
    others += [images.resized(4), images.resized(4, "box"), images.resized(5)]
    assert len({images.digest, *(part.digest for part in others)}) == 8
    assert from_array(X[..., 0], "x").digest != from_array(X[..., 0].transpose(0, 2, 1), "x").digest


# --- decoding ahead -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [1, 4, 6, 100])
def test_parts_are_all_images_in_order(at_once: int) -> None:
    groups = list(from_array(X, "x").parts(at_once))
    assert [len(entries) for entries, _ in groups] == [min(at_once, 6 - i) for i in range(0, 6, at_once)]
    assert torch.equal(torch.cat([torch.stack(pictures) for _, pictures in groups]), expected())


def test_a_failure_while_decoding_ahead_comes_out_and_leaving_early_is_quiet() -> None:
    def fail() -> Tensor:
        raise DataError("gone")

    images = from_array(X, "x")
    entries = [*images.entries[:5], Entry("bad", fail, "0", (3, 10, 8), "png")]
    parts = replace(images, entries=entries).parts(1)
    for _ in range(3):
        next(parts)
    parts.close()
    with pytest.raises(DataError, match="gone"):
        list(replace(images, entries=entries).parts(2))


def test_pixels_beyond_what_is_kept_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imageset, "KEPT", 3 * X[0].size)
    place = folder(tmp_path / "f")
    images = from_folder(place)
    for i in range(3):
        (place / f"{i:03d}.png").unlink()  # these are in memory
    assert torch.equal(stacked(images), expected())
    (place / "005.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"005\.png"):
        images.pick([5])


def test_counts_in_words() -> None:
    assert shown({"png": 3}) == "png"
    assert shown({"png": 3000, "jpg": 2}) == "png (3,000), jpg (2)"
    assert shown({str(i): 1 for i in range(9)}).endswith(" and 3 more")
