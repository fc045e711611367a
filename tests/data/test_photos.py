"""Crops of photographs: fixed, different, lively, from separate photographs, and never downloaded."""

import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sfumato.data import crops, photos
from sfumato.data.base import Dataset
from sfumato.data.crops import LEAST
from sfumato.data.photos import COUNTS, PHOTOGRAPHS, Photos
from sfumato.errors import CapabilityError, ConfigError, DataError

pytest.importorskip("skimage")
pytest.importorskip("sklearn")
PARTS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def data() -> Dataset:
    return Photos(Photos.Config()).load()


def noise(width: int = 200, height: int = 150, red: int | None = None) -> Image.Image:
    array = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    if red is not None:
        array[:, :, 0] = red
    return Image.fromarray(array)


@pytest.mark.parametrize("size", [16, 32, 64])
def test_counts_and_shapes(size: Any) -> None:
    data = Photos(Photos.Config(size=size)).load()
    for part in PARTS:
        images = getattr(data, part).images
        assert images.shape == (COUNTS[part], 3, size, size) and images.dtype == torch.uint8
    assert data.train.labels is None and data.spec.size == (size, size)


def test_crops_are_the_same_each_time(data: Dataset) -> None:
    again = Photos(Photos.Config()).load()
    assert all(torch.equal(getattr(data, part).images, getattr(again, part).images) for part in PARTS)


def test_no_crop_occurs_twice_even_mirrored(data: Dataset) -> None:
    images = torch.cat([getattr(data, part).images for part in PARTS])
    upright = torch.stack([images.flatten(1), images.flip(3).flatten(1)])
    # The two sums put a crop and its mirror image into one order, so that mirrored copies would count as copies.
    weights = torch.arange(upright.shape[2], dtype=torch.float64)
    first = (upright[0].double() @ weights) >= (upright[1].double() @ weights)
    rows = torch.where(first[:, None], upright[0], upright[1]).numpy()
    assert len({row.tobytes() for row in rows}) == len(images)


def test_crops_vary_in_three_quarters(data: Dataset) -> None:
    for part in PARTS:
        grey = getattr(data, part).images.double().mean(1)
        quarters = grey.unfold(1, 16, 16).unfold(2, 16, 16).flatten(1, 2).flatten(2)
        assert (quarters.std(dim=2, correction=0).sort(dim=1).values[:, 1] >= LEAST - 1e-9).all()


def test_no_photograph_is_in_two_parts() -> None:
    names = [name for photographs in PHOTOGRAPHS.values() for name in photographs]
    assert len(names) == len(set(names)) and set(PHOTOGRAPHS) == set(PARTS)


def test_each_part_shows_its_own_photographs_in_equal_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """With photographs that are all of one red, the red of a crop tells where it comes from."""
    red = {name: 10 * i for i, name in enumerate(n for names in PHOTOGRAPHS.values() for n in names)}
    monkeypatch.setattr(photos, "open_picture", lambda path: noise(red=red[Path(path).name]))
    fake = Photos(Photos.Config()).load()
    for part in PARTS:
        images = getattr(fake, part).images
        found = images[:, 0].flatten(1)
        assert (found == found[:, :1]).all()
        counts = {red[name]: COUNTS[part] // len(PHOTOGRAPHS[part]) for name in PHOTOGRAPHS[part]}
        assert dict(zip(*(x.tolist() for x in found[:, 0].unique(return_counts=True)), strict=True)) == counts
        assert found[: len(images) // 4, 0].unique().tolist() == sorted(counts)  # the first ones show all of them


def test_only_training_crops_are_mirrored(monkeypatch: pytest.MonkeyPatch) -> None:
    ramp = np.tile(np.linspace(0, 255, 200)[None, :, None], (150, 1, 3))  # brighter to the right
    monkeypatch.setattr(photos, "open_picture", lambda path: Image.fromarray(ramp.astype(np.uint8)))
    monkeypatch.setattr(crops, "LEAST", 0.0)
    fake = Photos(Photos.Config(size=16)).load()
    rising = {
        part: (getattr(fake, part).images[:, 0, 0, -1] > getattr(fake, part).images[:, 0, 0, 0]) for part in PARTS
    }
    assert rising["test"].all() and rising["validation"].all()
    assert 0.45 < rising["train"].float().mean() < 0.55


def test_fewer_can_be_asked_but_not_more() -> None:
    data = Photos(Photos.Config(train=10, validation=5, test=7)).load()
    assert [len(getattr(data, part)) for part in PARTS] == [10, 5, 7]
    with pytest.raises(ConfigError, match=r"data\.test = 401, but photos has 400 such images; ask for 1 to 400"):
        Photos(Photos.Config(test=401)).load()


def test_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert len(Photos(Photos.Config(size=16)).load().test) == 400


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "find_spec", lambda name: None)
    with pytest.raises(
        CapabilityError, match=r"comes with scikit-image, which is missing; pip install 'sfumato\[data\]'"
    ):
        Photos(Photos.Config()).load()


def test_missing_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(photos.FOLDERS, "scikit-image", ("skimage", "nowhere"))
    with pytest.raises(CapabilityError, match=r"scikit-image came without .*astronaut\.png; reinstall it"):
        Photos(Photos.Config()).load()


def test_a_photograph_without_enough_crops_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "open_picture", lambda path: Image.new("RGB", (300, 200), "grey"))
    with pytest.raises(DataError, match=r"train: photographs gave \[0, 0, 0, 0\] crops; 1500 of each were expected"):
        Photos(Photos.Config()).load()
