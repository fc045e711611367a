"""Pictures that lie in memory, on disk or in files: one protocol, nothing read that is not asked for."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sfumato.data.base import Dataset, Source, SourceConfig, Split
from sfumato.data.pictures import (
    AT_ONCE,
    Files,
    InMemory,
    MemoryMap,
    Pictures,
    Some,
    everything,
    pictures_of,
    some,
)
from sfumato.errors import DataError
from sfumato.images import from_pil, open_picture


def pixels(n: int = 7, channels: int = 3, rows: int = 4, columns: int = 6) -> Tensor:
    rng = torch.Generator().manual_seed(n)
    return torch.randint(0, 256, (n, channels, rows, columns), generator=rng, dtype=torch.uint8)


def mapped(folder: Path, array: np.ndarray) -> MemoryMap:
    np.save(folder / "set.npy", array)
    return MemoryMap(np.load(folder / "set.npy", mmap_mode="r"))


def decode(path: Path) -> Tensor:
    with open_picture(path) as picture:
        return from_pil(picture, 3)


def filed(folder: Path, made: Tensor) -> Files:
    paths = []
    for i, picture in enumerate(made):
        paths.append(folder / f"{i}.png")
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(paths[-1])
    return Files(paths, decode, (3, made.shape[2], made.shape[3]))


KINDS = ["memory", "map", "files", "some", "some of some"]


def make(kind: str, folder: Path, made: Tensor) -> Pictures:
    if kind == "memory":
        return InMemory(made)
    if kind == "map":
        return mapped(folder, made.numpy())
    if kind == "files":
        return filed(folder, made)
    turned = torch.arange(len(made)).flip(0)
    whole = Some(mapped(folder, made.flip(0).numpy()), turned)
    return whole if kind == "some" else Some(Some(whole, turned), turned)


@pytest.mark.parametrize("kind", KINDS)
def test_all_kinds_give_the_same(tmp_path: Path, kind: str) -> None:
    made = pixels()
    pictures = make(kind, tmp_path, made)
    assert isinstance(pictures, Pictures) and pictures_of(pictures) is pictures
    assert len(pictures) == 7 and pictures.shape == (3, 4, 6)
    assert pictures.in_memory == (kind == "memory")
    for places in (slice(0, 3), slice(5, 99), slice(None), torch.tensor([6, 0, 0, 3])):
        read = pictures.read(places)
        assert read.dtype == torch.uint8 and torch.equal(read, made[places])
    assert torch.equal(everything(pictures), made)
    part = some(pictures, torch.tensor([4, 2]))
    assert len(part) == 2 and part.shape == (3, 4, 6) and part.in_memory == pictures.in_memory
    assert torch.equal(everything(part), made[[4, 2]]) and torch.equal(part.read(slice(1, 2)), made[[2]])
    assert torch.equal(part.read(torch.tensor([1, 1])), made[[2, 2]])


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 4, 6), (1, 4, 6)),
        ((5, 4, 6, 1), (1, 4, 6)),
        ((5, 4, 6, 3), (3, 4, 6)),
        ((5, 1, 4, 6), (1, 4, 6)),
        ((5, 3, 4, 6), (3, 4, 6)),
        ((5, 3, 3, 3), (3, 3, 3)),
    ],
)
def test_the_layouts_of_a_memory_map(tmp_path: Path, shape: tuple[int, ...], expected: tuple[int, int, int]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    pictures = mapped(tmp_path, array)
    assert isinstance(pictures.array, np.memmap) and pictures.shape == expected and len(pictures) == 5
    read = pictures.read(torch.tensor([3, 1]))
    assert read.shape == (2, *expected) and read.is_contiguous()
    chosen = array[[3, 1]]
    if len(shape) == 4 and shape[3] in (1, 3):
        assert np.array_equal(read.permute(0, 2, 3, 1).numpy(), chosen)
    else:
        assert np.array_equal(read.numpy().reshape(chosen.shape), chosen)


def test_what_is_read_of_a_memory_map_is_a_copy(tmp_path: Path) -> None:
    pictures = mapped(tmp_path, pixels().numpy())
    read = pictures.read(slice(0, 2))
    read.zero_()  # the file is opened to be read only, and a tensor on it could not be written to
    assert torch.equal(pictures.read(slice(0, 2)), pixels()[:2])


def test_files_decode_only_what_is_asked_for(tmp_path: Path) -> None:
    made = pixels()
    asked = []

    def counting(path: Path) -> Tensor:
        asked.append(path.name)
        return decode(path)

    pictures = Files(filed(tmp_path, made).paths, counting, (3, 4, 6))
    assert (len(pictures), pictures.shape, asked) == (7, (3, 4, 6), [])
    view = some(some(pictures, torch.tensor([5, 3, 1])), torch.tensor([2, 0]))
    assert isinstance(view, Some) and not asked
    assert torch.equal(view.read(slice(0, 1)), made[[1]]) and asked == ["1.png"]
    pictures.read(torch.tensor([6, 2]))
    assert asked == ["1.png", "6.png", "2.png"]


def test_all_are_read_in_pieces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = pixels(2 * AT_ONCE + 3, 1, 1, 2)
    pictures = mapped(tmp_path, made.numpy())
    sizes = []
    read = MemoryMap.read
    monkeypatch.setattr(MemoryMap, "read", lambda self, places: sizes.append(places) or read(self, places))
    assert torch.equal(everything(pictures), made)
    assert [len(range(len(made))[part]) for part in sizes] == [AT_ONCE, AT_ONCE, 3]


def test_memory_is_not_copied_where_all_is_wanted() -> None:
    made = pixels()
    assert everything(InMemory(made)) is made and Split(made).images is made
    assert isinstance(some(InMemory(made), torch.tensor([1])), InMemory)


@pytest.mark.parametrize("wrong", [torch.zeros(2, 3, 4, 6), torch.zeros(3, 4, 6, dtype=torch.uint8)], ids=str)
def test_other_tensors_are_refused(wrong: Tensor) -> None:
    with pytest.raises(DataError, match="uint8 N x C x H x W is needed"):
        pictures_of(wrong)
    with pytest.raises(DataError, match="uint8 N x C x H x W is needed"):
        Split(wrong)
    with pytest.raises(DataError, match="uint8 N x C x H x W is needed"):
        Split(pixels(), None, wrong)


# Splits


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("places", [slice(2, 5), torch.tensor([6, 0, 6])], ids=["slice", "places"])
def test_a_split_reads_images_labels_and_inputs(tmp_path: Path, kind: str, places: Any) -> None:
    made, labels, inputs = pixels(), torch.arange(7) * 10, pixels().flip(0)
    split = Split(make(kind, tmp_path, made), labels, inputs)
    images, marks, given = split.read(places)
    assert marks is not None and given is not None
    assert torch.equal(images, made[places]) and torch.equal(marks, labels[places])
    assert torch.equal(given, inputs[places])
    assert torch.equal(split.images, made) and len(split) == 7
    bare = Split(make(kind, tmp_path, made)).read(places)
    assert torch.equal(bare[0], made[places]) and bare[1:] == (None, None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_of_a_split_keeps_what_belongs_together(tmp_path: Path, kind: str) -> None:
    made, labels, inputs = pixels(), torch.arange(7) * 10, pixels().flip(0)
    split = Split(make(kind, tmp_path, made), labels, inputs)
    chosen = torch.tensor([5, 1])
    for part, places in ((split.pick(chosen), chosen), (split.first(2), torch.arange(2))):
        assert len(part) == 2 and part.labels is not None and part.inputs is not None
        assert torch.equal(part.images, made[places]) and torch.equal(part.labels, labels[places])
        assert torch.equal(everything(part.inputs), inputs[places])
    assert split.first(None) is split.first(7) is split and len(split.first(99)) == 7


@pytest.mark.parametrize("kind", ["memory", "map", "some"])
def test_a_part_without_images_has_a_shape(tmp_path: Path, kind: str) -> None:
    none = Split(make(kind, tmp_path, pixels())).pick(torch.empty(0, dtype=torch.int64))
    assert len(none) == 0 and none.pictures.shape == (3, 4, 6)
    assert none.read(slice(0, 3))[0].shape == (0, 3, 4, 6)


class Given(Source, abstract=True):
    """What a test hands it."""

    def __init__(self, train: Split, test: Split):
        super().__init__(SourceConfig())
        self.train, self.test = train, test

    def read(self) -> Dataset:
        return Dataset("given", self.train, self.test, self.test)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (Split(pixels(0)), "given has no images to train on; give at least one"),
        (Split(pixels(), torch.arange(6)), "given train: 6 labels for 7 images; each image needs one"),
        (Split(pixels(), None, pixels(6)), "given train: 6 inputs for 7 images; each image needs one"),
    ],
    ids=["none", "labels", "inputs"],
)
def test_a_source_checks_its_parts(train: Split, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Given(train, Split(pixels(2))).load()


def test_a_source_may_have_nothing_to_test_and_need_not_be_square() -> None:
    data = Given(Split(pixels()), Split(pixels(0))).load()
    assert data.spec.size == data.size == (4, 6) and data.spec.dimensions == 72 and len(data.test) == 0


def test_a_split_can_be_replaced_in_part() -> None:
    split = Split(pixels(), torch.arange(7))
    other = replace(split, labels=torch.zeros(7, dtype=torch.int64))
    assert other.pictures is split.pictures and int(other.labels.sum()) == 0
