"""Sources: what MADE and REAL may be called, which part or key, and a line for everything that is not images."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from sfumato.errors import DataError, SfumatoError
from sfumato.evaluation.sources import find

from ..cases import TINY, call
from . import folder, pixels

X = pixels(6)
WANTED = torch.from_numpy(X.transpose(0, 3, 1, 2).copy())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    for task in ("generation", "inpainting"):
        assert call("train", "wgan", "--task", task, "--images", 32, "--out", out / task, *TINY) == 0
    return out


def saved(path: Path, **arrays: np.ndarray) -> str:
    np.savez(path, **arrays)
    return str(path)


def test_folder_zip_npz_and_npy(tmp_path: Path) -> None:
    place = folder(tmp_path / "f", X)
    with zipfile.ZipFile(tmp_path / "Z.ZIP", "w") as archive:
        for path in place.iterdir():
            archive.write(path, path.name)
    np.save(tmp_path / "x.npy", X)
    names = [str(place), str(tmp_path / "Z.ZIP"), saved(tmp_path / "x.npz", images=X), str(tmp_path / "x.npy")]
    for name in names:
        found = find(name)
        assert torch.equal(torch.stack(found.pick(range(6))), WANTED)
        assert found.name.removesuffix(":images") == name  # an npz says which of its arrays
        few = find(name, 4)
        assert len(few) == 4 and few.of == 6
        assert torch.equal(torch.stack(few.pick(range(4))), torch.stack(find(names[0], 4).pick(range(4))))


def test_a_source_and_its_parts() -> None:
    for part in ("train", "validation", "test"):
        found = find(f"digits:{part}", 10)
        assert found.split == part and len(found) == 10 and found.name == f"digits:{part}"
    assert find("digits", 10).digest == find("digits:test", 10).digest


@pytest.mark.parametrize(("name", "split"), [("train", "train"), ("test", "test"), ("val", "val"), ("cats", "")])
def test_a_folder_says_its_split(tmp_path: Path, name: str, split: str) -> None:
    folder(tmp_path / name, X)
    assert find(str(tmp_path / name)).split == split
    assert find(f"{tmp_path}:{name}").split == split
    assert find(f"{tmp_path}:{name}").about()["split"] == (split or "not said")


def test_keys_of_an_npz_file(tmp_path: Path) -> None:
    labels, objects = np.zeros(6), np.array([{1: 2}], dtype=object)
    assert len(find(saved(tmp_path / "a.npz", anything=X))) == 6
    for key in ("images", "arr_0", "samples", "test_images"):
        assert len(find(saved(tmp_path / "b.npz", labels=labels, meta=objects, **{key: X}))) == 6
    two = saved(tmp_path / "c.npz", train_images=X[:4], test_pixels=X)
    assert len(find(f"{two}:train_images")) == 4 and find(f"{two}:train_images").split == "train"
    assert len(find(f"{two}:test_pixels")) == 6 and find(f"{two}:test_pixels").split == "test"
    for name in (two, f"{two}:elsewhere"):
        with pytest.raises(DataError, match=r"c\.npz has the keys train_images, test_pixels; name one"):
            find(name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "nowhere",
            ("nothing at", "nowhere", "give a folder, a .zip, .npz or .npy", "sources: cifar10, crops, digits"),
        ),
        ("nowhere:test", ("nothing at", "nowhere:test")),
        ("digits:all", ("digits:all", "train, validation and test", "digits:test")),
        ("digits:TEST", ("digits:TEST", "digits:test")),
        ("f:nowhere", ("has no folder nowhere",)),
        ("note.txt", ("note.txt is not a set of images", "give a folder")),
        ("one.png", ("one.png is not a set of images",)),
        ("pickle.npz", ("pickled objects, which could run code", "np.savez_compressed")),
        ("pickle.npy", ("pickled objects, which could run code",)),
        ("raw.npz", ("raw.npz cannot be read",)),
        ("raw.npy", ("raw.npy cannot be read",)),
        ("truncated.npz", ("truncated.npz cannot be read",)),
        ("truncated.npy", ("truncated.npy cannot be read",)),
        ("empty.npz", ("empty.npz cannot be read",)),
        ("empty.npy", ("empty.npy cannot be read",)),
        ("flipped.npz", ("flipped.npz cannot be read",)),
        ("float.npz", ("float.npz:images are float64", "save uint8")),
        ("header.npy", ("header.npy cannot be read",)),
        ("large.npy", ("large.npy cannot be read",)),
        ("statistics.npz", ("statistics.npz",)),
        ("weights.safetensors", ("is not a set of images",)),
    ],
)
def test_what_is_no_set_of_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder(tmp_path / "f", X)
    (tmp_path / "note.txt").write_text("dear")
    (tmp_path / "one.png").write_bytes((tmp_path / "f" / "0000.png").read_bytes())
    objects = np.array([{1: 2}], dtype=object)
    saved(tmp_path / "pickle.npz", images=objects)
    np.save(tmp_path / "pickle.npy", objects, allow_pickle=True)
    np.save(tmp_path / "good.npy", X)
    good = {"npz": Path(saved(tmp_path / "good.npz", images=X)), "npy": tmp_path / "good.npy"}
    for ending, path in good.items():
        content = path.read_bytes()
        (tmp_path / f"truncated.{ending}").write_bytes(content[: len(content) // 2])
        (tmp_path / f"empty.{ending}").write_bytes(b"")
        (tmp_path / f"raw.{ending}").write_bytes(pickle.dumps(X))
    content = good["npz"].read_bytes()
    (tmp_path / "flipped.npz").write_bytes(content[:600] + bytes([content[600] ^ 255]) + content[601:])
    header = good["npy"].read_bytes()
    (tmp_path / "header.npy").write_bytes(header.replace(b"(6, 8, 8, 3)", b"(6, 1<<9, 3)"))
    (tmp_path / "large.npy").write_bytes(header.replace(b"(6, 8, 8, 3), }      ", b"(6, 8, 8, 300000), } "))
    saved(tmp_path / "float.npz", images=X / 255)
    saved(tmp_path / "statistics.npz", mu=np.zeros(3), sigma=np.eye(3))
    (tmp_path / "weights.safetensors").write_bytes(bytes(8))
    with pytest.raises(SfumatoError) as caught:
        find(name)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


def test_a_run_draws_without_any_file(runs: Path) -> None:
    run = runs / "generation"
    before = sorted(run.rglob("*"))
    drawn = find(str(run), 20, seed=1)
    assert len(drawn) == 20 and drawn.formats == {"model": 20} and drawn.split == ""
    assert sorted(run.rglob("*")) == before
    told = drawn.about()
    assert (told["model"], told["seed"], told["trained_on"]) == ("wgan", 1, "digits")
    assert find(str(run), 20, seed=1).digest == drawn.digest
    assert find(str(run), 20, seed=2).digest != drawn.digest


def test_the_data_of_a_run(runs: Path) -> None:
    found = find(f"{runs / 'generation'}:test")
    assert found.split == "test" and len(found) == 8  # as the run's own settings say
    with pytest.raises(DataError, match="train, validation and test"):
        find(f"{runs / 'generation'}:all")


def test_a_run_that_cannot_draw(runs: Path) -> None:
    with pytest.raises(SfumatoError, match="trained for inpainting, not for generation"):
        find(str(runs / "inpainting"), 4)
