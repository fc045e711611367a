"""Any .npz: layouts, splits that do not move, and every way in which the arrays can be wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sfumato.data.npz import Npz
from sfumato.data.pictures import InMemory, MemoryMap, Pictures, Some
from sfumato.errors import ConfigError, DataError

RNG = np.random.default_rng(0)


def images(n: int = 40, *shape: int) -> np.ndarray:
    return RNG.integers(0, 256, (n, *(shape or (6, 6, 3))), dtype=np.uint8)


def save(folder: Path, **arrays: Any) -> Npz:
    np.savez_compressed(folder / "set.npz", **arrays)
    return Npz(Npz.Config(path=folder / "set.npz"))


@pytest.mark.parametrize(
    ("shape", "channels"), [((6, 6), 1), ((6, 6, 1), 1), ((6, 6, 3), 3), ((1, 6, 6), 1), ((3, 6, 6), 3), ((3, 3, 3), 3)]
)
def test_layouts(tmp_path: Path, shape: tuple[int, ...], channels: int) -> None:
    made = images(20, *shape)
    data = save(tmp_path, images=made, test_images=made).load()
    assert data.test.images.shape == (20, channels, shape[1], shape[1]) and data.test.images.dtype == torch.uint8
    rows = (
        made[:, None]
        if len(shape) == 2
        else made
        if shape[0] in (1, 3) and shape[2] > 3
        else made.transpose(0, 3, 1, 2)
    )
    assert np.array_equal(data.test.images.numpy(), rows)


def test_with_test_images_the_last_tenth_validates_in_order(tmp_path: Path) -> None:
    made, labels, tests = images(40), np.arange(40) % 4, images(7)
    data = save(
        tmp_path, images=made, labels=labels, test_images=tests, test_labels=np.arange(7) % 3, other=labels
    ).load()
    assert [len(part) for part in (data.train, data.validation, data.test)] == [36, 4, 7]
    assert np.array_equal(torch.cat([data.train.images, data.validation.images]).permute(0, 2, 3, 1).numpy(), made)
    assert data.validation.labels is not None and data.validation.labels.tolist() == [0, 1, 2, 3]
    assert (
        data.classes == 4
        and data.name == "set"
        and data.train.labels is not None
        and data.train.labels.dtype == torch.int64
    )


def test_given_validation_images_are_used(tmp_path: Path) -> None:
    made = images(40)
    data = save(tmp_path, images=made, test_images=images(7), validation_images=made[:5] // 2).load()
    assert len(data.train) == 40 and np.array_equal(data.validation.images.permute(0, 2, 3, 1).numpy(), made[:5] // 2)


def test_without_test_images_the_split_is_a_fixed_shuffle(tmp_path: Path) -> None:
    made = np.tile(np.arange(50, dtype=np.uint8)[:, None, None], (1, 4, 4))
    source = save(tmp_path, images=made, labels=np.arange(50))
    parts = [getattr(source.load(), part) for part in ("train", "validation", "test")]
    numbers = [part.images[:, 0, 0, 0].tolist() for part in parts]
    assert [len(some) for some in numbers] == [40, 5, 5]
    assert sorted(number for some in numbers for number in some) == list(range(50))
    assert numbers[2] != list(range(45, 50))
    again = source.load()
    assert [getattr(again, part).images[:, 0, 0, 0].tolist() for part in ("train", "validation", "test")] == numbers
    assert all(part.labels.tolist() == some for part, some in zip(parts, numbers, strict=True))


def test_at_most_5000_are_set_aside(tmp_path: Path) -> None:
    data = save(tmp_path, images=np.zeros((60_000, 1, 1), np.uint8)).load()
    assert [len(part) for part in (data.train, data.validation, data.test)] == [50_000, 5_000, 5_000]


def test_three_images_are_enough_and_two_are_not(tmp_path: Path) -> None:
    data = save(tmp_path, images=images(3)).load()
    assert [len(part) for part in (data.train, data.validation, data.test)] == [1, 1, 1]
    with pytest.raises(DataError, match="too few images to set some aside; give 3 or more, or the keys"):
        save(tmp_path, images=images(2)).load()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": images(), "y": [1]}, r"has no key images \(it has: pictures, y\); save"),
        ({}, r"has no key images \(it has: none at all\)"),
        ({"images": images() / 255.0}, r"set\.npz: images are float64; save uint8 from 0 to 255"),
        ({"images": images().astype(np.int64)}, "images are int64; save uint8"),
        ({"images": images(4, 6)}, r"images have shape \(4, 6\); N x H x W"),
        ({"images": images(4, 6, 6, 4)}, r"images have shape \(4, 6, 6, 4\); .* with C = 1 .grey. or 3"),
        ({"images": images(4, 2, 6, 6, 3)}, r"images have shape \(4, 2, 6, 6, 3\)"),
        ({"images": images()[:0]}, r"images have shape \(0, 6, 6, 3\), so there is no pixel"),
        ({"images": images(4, 0, 0)}, r"images have shape \(4, 0, 0\), so there is no pixel"),
        (
            {"images": images(), "test_images": images(5, 6, 8, 3)},
            r"shapes \(3, 6, 6\), \(3, 6, 6\), \(3, 6, 8\); give all",
        ),
        (
            {"images": images(), "test_images": images(5, 8, 8, 3)},
            r"shapes \(3, 6, 6\), \(3, 6, 6\), \(3, 8, 8\); give all",
        ),
        ({"images": images(), "test_images": images(5, 6, 6)}, r"shapes .*\(1, 6, 6\); give all"),
        ({"images": images(), "labels": np.arange(39)}, r"labels have shape \(39,\); 40 images need 40 labels"),
        ({"images": images(), "labels": np.zeros((40, 1), int)}, r"labels have shape \(40, 1\)"),
        ({"images": images(), "labels": np.zeros(40)}, "labels are float64; save whole numbers from 0"),
        ({"images": images(), "labels": np.arange(40) - 1}, "labels go down to -1; number the classes from 0"),
        ({"images": images(), "test_labels": [1]}, "has test_labels but no test_images; save both or neither"),
        ({"images": np.array([{}], dtype=object)}, "holds pickled objects, which could run code"),
        ({"images": images(), "labels": np.array(["cat"] * 40)}, "labels are <U3; save whole numbers"),
    ],
)
def test_wrong_arrays_give_one_line(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        save(tmp_path, **arrays).load()
    assert "\n" not in str(caught.value) and str(tmp_path / "set.npz") in str(caught.value)


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "sprung",)

    with pytest.raises(DataError, match="pickled objects"):
        save(tmp_path, images=np.array([Trap()], dtype=object)).load()
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[: len(content) // 2], "BadZipFile"),
        (lambda content: b"", "an empty file"),
        (lambda content: b"PK but no more", "cannot be read"),
        (lambda content: b"plain text", "cannot be read"),
        (lambda content: content[:200] + bytes(200) + content[400:], "cannot be read"),
    ],
)
def test_broken_files_give_one_line(tmp_path: Path, damage: Any, message: str) -> None:
    source = save(tmp_path, images=images())
    path = tmp_path / "set.npz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=message) as caught:
        source.load()
    assert "\n" not in str(caught.value) and "save uint8 arrays again" in str(caught.value)


def test_a_lone_array_and_no_file(tmp_path: Path) -> None:
    with (tmp_path / "one.npz").open("wb") as file:
        np.save(file, images())
    with pytest.raises(DataError, match=r"is one array, not an \.npz archive"):
        Npz(Npz.Config(path=tmp_path / "one.npz")).load()
    with pytest.raises(DataError, match=r"no file at .*none\.npz; give the path of an \.npz file"):
        Npz(Npz.Config(path=tmp_path / "none.npz")).load()


def test_limits(tmp_path: Path) -> None:
    save(tmp_path, images=images())
    assert len(Npz(Npz.Config(path=tmp_path / "set.npz", train=3)).load().train) == 3
    with pytest.raises(ConfigError, match=r"data\.train = 33, but set has 32 such images"):
        Npz(Npz.Config(path=tmp_path / "set.npz", train=33)).load()


@pytest.mark.parametrize(
    ("shape", "channels"), [((6, 10), 1), ((6, 10, 1), 1), ((6, 10, 3), 3), ((1, 6, 10), 1), ((3, 6, 10), 3)]
)
@pytest.mark.parametrize("ending", [".npz", ".npy"])
def test_images_need_not_be_square(tmp_path: Path, shape: tuple[int, ...], channels: int, ending: str) -> None:
    made = images(20, *shape)
    data = (save(tmp_path, images=made) if ending == ".npz" else saved_array(tmp_path, made)).load()
    assert data.spec.size == (6, 10) and data.spec.channels == channels
    found = torch.cat([data.train.images, data.validation.images, data.test.images])
    assert found.shape == (20, channels, 6, 10)
    rows = made.reshape(20, 6, 10, channels).transpose(0, 3, 1, 2) if shape[0] == 6 else made
    assert {row.tobytes() for row in found.numpy()} == {row.tobytes() for row in np.ascontiguousarray(rows)}


def saved_array(folder: Path, array: np.ndarray) -> Npz:
    np.save(folder / "set.npy", array)
    return Npz(Npz.Config(path=folder / "set.npy"))


def origin(pictures: Pictures) -> Pictures:
    while isinstance(pictures, Some):
        pictures = pictures.whole
    return pictures


def test_an_npy_file_stays_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = images(50, 6, 10, 3)
    source = saved_array(tmp_path, made)
    with monkeypatch.context() as patch:
        patch.setattr(MemoryMap, "read", lambda *_: pytest.fail("something was read"))
        data = source.load()
        assert data.spec.model_dump() == {"channels": 3, "size": (6, 10), "classes": 0, "condition": 0}
        cut = Npz(Npz.Config(path=tmp_path / "set.npy", train=3)).load()
    parts = (data.train, data.validation, data.test)
    assert [len(part) for part in parts] == [40, 5, 5] and len(cut.train) == 3 and data.name == "set"
    assert all(part.labels is None and not part.pictures.in_memory for part in (*parts, cut.train))
    wholes = [origin(part.pictures) for part in (*parts, cut.train)]
    assert all(isinstance(whole, MemoryMap) and isinstance(whole.array, np.memmap) for whole in wholes)
    assert torch.equal(cut.train.images, data.train.images[:3])


def test_an_npy_file_is_split_as_an_npz_file(tmp_path: Path) -> None:
    made = images(50)
    mapped, loaded = saved_array(tmp_path, made).load(), save(tmp_path, images=made).load()
    for part in ("train", "validation", "test"):
        assert isinstance(getattr(loaded, part).pictures, InMemory)
        assert torch.equal(getattr(mapped, part).images, getattr(loaded, part).images)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (images() / 255.0, r"set\.npy: images are float64; save uint8 from 0 to 255"),
        (images(4, 6), r"images have shape \(4, 6\); N x H x W"),
        (images(4, 6, 6, 4), r"images have shape \(4, 6, 6, 4\); .* with C = 1 .grey. or 3"),
        (images()[:0], r"images have shape \(0, 6, 6, 3\), so there is no pixel"),
        (images(2), "too few images to set some aside; give 3 or more"),
        (np.array([{}], dtype=object), "holds pickled objects, which could run code"),
    ],
)
def test_a_wrong_npy_file_gives_one_line(tmp_path: Path, array: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        saved_array(tmp_path, array).load()
    assert "\n" not in str(caught.value) and str(tmp_path / "set.npy") in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[: len(content) // 2], "cannot be read"),
        (lambda content: b"", "an empty file"),
        (lambda content: b"plain text", "does not begin as a .npy file does"),
    ],
)
def test_a_broken_npy_file_gives_one_line(tmp_path: Path, damage: Any, message: str) -> None:
    source = saved_array(tmp_path, images())
    path = tmp_path / "set.npy"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=message) as caught:
        source.load()
    assert "\n" not in str(caught.value) and "save a uint8 array again" in str(caught.value)


def test_an_archive_called_npy_and_no_file(tmp_path: Path) -> None:
    with (tmp_path / "set.npy").open("wb") as file:
        np.savez(file, images=images())
    with pytest.raises(DataError, match=r"is an archive, not one array; give it a name that ends in \.npz"):
        Npz(Npz.Config(path=tmp_path / "set.npy")).load()
    with pytest.raises(DataError, match=r"no file at .*none\.npy; give the path of a \.npy file"):
        Npz(Npz.Config(path=tmp_path / "none.npy")).load()
