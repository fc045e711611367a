"""Pairs: two folders matched by name, split by name, and every way in which they do not fit."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sfumato.data.base import Dataset, Split
from sfumato.data.folder import square
from sfumato.data.pairs import Pairs
from sfumato.errors import ConfigError, DataError
from sfumato.images import from_pil

PARTS = ("train", "validation", "test")


def paint(path: Path, red: int, width: int = 12, height: int = 9) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (red, 0, 0)).save(path)


def fill(folder: Path, names: list[str], first: int = 0, ending: str = ".png") -> tuple[Path, Path]:
    """Two folders: input i has red i, its target red 100 + i."""
    for i, name in enumerate(names, first):
        paint(folder / "inputs" / f"{name}.png", i)
        paint(folder / "targets" / f"{name}{ending}", 100 + i)
    return folder / "inputs", folder / "targets"


def dataset(inputs: Path, targets: Path, **settings: Any) -> Dataset:
    return Pairs(Pairs.Config(inputs=inputs, targets=targets, **{"size": 8, **settings})).load()


def reds(split: Split) -> list[tuple[int, int]]:
    images, labels, inputs = split.read(slice(None))
    assert labels is None and inputs is not None
    return list(zip(inputs[:, 0, 0, 0].tolist(), images[:, 0, 0, 0].tolist(), strict=True))


def everything(data: Dataset) -> dict[tuple[int, int], str]:
    return {pair: part for part in PARTS for pair in reds(getattr(data, part))}


def test_few_pairs_all_train(tmp_path: Path) -> None:
    data = dataset(*fill(tmp_path, [f"{i}" for i in range(9)]))
    assert [len(getattr(data, part)) for part in PARTS] == [9, 0, 0] and data.name == "pairs"
    assert sorted(reds(data.train)) == [(i, 100 + i) for i in range(9)]
    for part in PARTS:
        split = getattr(data, part)
        assert split.pictures.shape == split.inputs.shape == (3, 8, 8) and split.images.dtype == torch.uint8
    assert data.spec.model_dump() == {"channels": 3, "size": (8, 8), "classes": 0, "condition": 0}


def test_pairs_stay_together_and_are_split_by_name(tmp_path: Path) -> None:
    names = [f"{i:03}" for i in range(100)]
    inputs, targets = fill(tmp_path, names)
    data = dataset(inputs, targets)
    parts = everything(data)
    assert sorted(parts) == [(i, 100 + i) for i in range(100)]
    counts = [len(getattr(data, part)) for part in PARTS]
    assert sum(counts) == 100 and 65 <= counts[0] <= 92 and all(2 <= n <= 24 for n in counts[1:])
    assert everything(dataset(inputs, targets)) == parts
    fill(tmp_path, ["another", "and/one/more"], first=100)
    more = everything(dataset(inputs, targets))
    assert len(more) == 102 and {pair: more[pair] for pair in parts} == parts


def test_what_a_picture_shows_does_not_move_it(tmp_path: Path) -> None:
    names = [f"{i:03}" for i in range(30)]
    before = dataset(*fill(tmp_path / "a", names))
    after = dataset(*fill(tmp_path / "b", names, first=50))
    for part in PARTS:
        shifted = [(x - 50, y - 50) for x, y in reds(getattr(after, part))]
        assert shifted == reds(getattr(before, part))


def test_names_match_without_their_endings_and_with_their_folders(tmp_path: Path) -> None:
    inputs, targets = fill(tmp_path, ["a", "b/a", "b/c.d"], ending=".bmp")
    assert sorted(reds(dataset(inputs, targets).train)) == [(0, 100), (1, 101), (2, 102)]


@pytest.mark.parametrize("side", ["inputs", "targets"])
def test_a_missing_partner_is_named(tmp_path: Path, side: str) -> None:
    inputs, targets = fill(tmp_path, ["a", "b"])
    paint(tmp_path / side / "lone.png", 7)
    paint(tmp_path / side / "lonely.png", 7)
    with pytest.raises(DataError) as caught:
        dataset(inputs, targets)
    text = str(caught.value)
    assert text.startswith("2 pictures have no partner, the first is ") and "\n" not in text
    assert str(tmp_path / side / "lone") in text and text.endswith("; give both folders the same names")


def test_a_name_that_comes_twice(tmp_path: Path) -> None:
    inputs, targets = fill(tmp_path, ["a", "b"])
    paint(inputs / "a.bmp", 7)
    with pytest.raises(DataError, match=re.escape(f"{inputs / 'a.bmp'} and {inputs / 'a.png'} have one name; rename")):
        dataset(inputs, targets)


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    inputs, targets = fill(tmp_path, ["a"])
    with pytest.raises(DataError, match="no folder at"):
        dataset(tmp_path / "none", targets)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no pictures"):
        dataset(inputs, tmp_path / "empty")


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    inputs, targets = fill(tmp_path, ["a", "b"])
    (targets / "b.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=re.escape(str(targets / "b.png"))) as caught:
        dataset(inputs, targets)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("channels", [1, 3])
def test_both_pictures_are_made_square_alike(tmp_path: Path, fit: Any, channels: Any) -> None:
    array = np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)
    picture = Image.fromarray(array)
    for side in ("inputs", "targets"):
        (tmp_path / side).mkdir()
        picture.save(tmp_path / side / "a.png")
    data = dataset(tmp_path / "inputs", tmp_path / "targets", fit=fit, channels=channels)
    images, _, inputs = data.train.read(slice(None))
    expected = square(from_pil(picture, 3), 8, fit, channels)
    assert inputs is not None and torch.equal(images, inputs) and torch.equal(images[0], expected)
    assert images.shape == (1, channels, 8, 8)


def test_limits(tmp_path: Path) -> None:
    inputs, targets = fill(tmp_path, ["a", "b", "c"])
    assert reds(dataset(inputs, targets, train=2).train) == [(0, 100), (1, 101)]
    with pytest.raises(ConfigError, match=r"data\.train = 4, but pairs has 3 such images"):
        dataset(inputs, targets, train=4)
