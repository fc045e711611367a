"""CIFAR-10's binary format on small files: order of the channels and of the images, the archive, and what can be wrong."""

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sfumato.data import cifar10
from sfumato.data.cifar10 import ARCHIVE, RECORD, TEST, TRAIN, Cifar10, read_binary
from sfumato.data.files import Official, digest
from sfumato.errors import DataError

EACH = 20


@pytest.fixture
def tables() -> dict[str, np.ndarray]:
    """Records of each file: labels that are even over the classes, then noise."""
    rng = np.random.default_rng(0)
    made = {}
    for name in (*TRAIN, TEST):
        table = rng.integers(0, 256, (EACH, RECORD), dtype=np.uint8)
        table[:, 0] = np.arange(EACH) % 10
        made[name] = table
    return made


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar10, "EACH", EACH)


def unpack(tables: dict[str, np.ndarray], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        (folder / name).write_bytes(table.tobytes())
    return folder


def pack(tables: dict[str, np.ndarray], folder: Path) -> Path:
    path = folder / ARCHIVE.name
    with tarfile.open(path, "w:gz") as archive:
        for name, table in {"readme.html": np.zeros(9, np.uint8), **dict(reversed(tables.items()))}.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = table.nbytes
            archive.addfile(member, io.BytesIO(table.tobytes()))
    return path


def test_a_record_is_label_then_red_green_blue(tmp_path: Path, tables: dict[str, np.ndarray], small: None) -> None:
    unpack(tables, tmp_path)
    data = read_binary(tmp_path, held=20)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [80, 20, 20]
    assert data.spec.model_dump() == {"channels": 3, "size": (32, 32), "classes": 10, "condition": 0}
    record = tables[TRAIN[1]][3]  # image 23 of the official order
    assert data.train.labels is not None and data.train.labels[23] == record[0]
    red, green, blue = record[1:1025], record[1025:2049], record[2049:]
    for channel, bytes_ in enumerate((red, green, blue)):
        assert data.train.images[23, channel, 31, 5] == bytes_[31 * 32 + 5]
    assert torch.equal(data.validation.images.flatten(1), torch.from_numpy(tables[TRAIN[4]][:, 1:]))
    assert torch.equal(data.test.images.flatten(1), torch.from_numpy(tables[TEST][:, 1:]))


@pytest.mark.parametrize("inner", ["", "cifar-10-batches-bin"])
def test_archive_and_folder_hold_the_same(
    tmp_path: Path, tables: dict[str, np.ndarray], small: None, inner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "packed").mkdir()
    path = pack(tables, tmp_path / "packed")
    monkeypatch.setattr(cifar10, "ARCHIVE", Official(ARCHIVE.name, ARCHIVE.url, digest(path.read_bytes())))
    unpack(tables, tmp_path / "unpacked" / inner)
    one, two = read_binary(tmp_path / "packed", held=20), read_binary(tmp_path / "unpacked", held=20)
    assert torch.equal(one.train.images, two.train.images) and torch.equal(one.test.images, two.test.images)
    assert sorted(p.name for p in (tmp_path / "packed").iterdir()) == [ARCHIVE.name]  # nothing was unpacked to disk


def test_an_archive_with_another_sum_is_refused(tmp_path: Path, tables: dict[str, np.ndarray], small: None) -> None:
    pack(tables, tmp_path)
    with pytest.raises(DataError, match=r"is not the official archive \([0-9,]+ of 170,052,171 bytes, md5") as caught:
        Cifar10(Cifar10.Config(root=tmp_path)).load()
    assert "\n" not in str(caught.value) and str(ARCHIVE) in str(caught.value)
    assert len(read_binary(tmp_path, held=20, check=False).train) == 80


@pytest.mark.parametrize("damage", [lambda packed: packed[:-2000], lambda packed: b"<html>", lambda packed: b""])
def test_a_broken_archive_gives_one_line(tmp_path: Path, tables: dict[str, np.ndarray], damage: Any) -> None:
    path = pack(tables, tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match="is truncated or broken") as caught:
        read_binary(tmp_path, held=20, check=False)
    assert "\n" not in str(caught.value) and ARCHIVE.url in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path, tables: dict[str, np.ndarray], small: None) -> None:
    unpack(tables, tmp_path)
    (tmp_path / TRAIN[2]).unlink()
    with pytest.raises(DataError, match=r"lacks data_batch_3\.bin of CIFAR-10's six files; delete it and bring https"):
        read_binary(tmp_path, held=20)
    del tables[TEST]
    (tmp_path / "packed").mkdir()
    pack(tables, tmp_path / "packed")
    with pytest.raises(DataError, match=r"cifar-10-binary\.tar\.gz lacks test_batch\.bin of CIFAR-10's six files"):
        read_binary(tmp_path / "packed", held=20, check=False)


@pytest.mark.parametrize("change", [-1, 1, RECORD])
def test_another_length_is_refused(tmp_path: Path, tables: dict[str, np.ndarray], small: None, change: int) -> None:
    unpack(tables, tmp_path)
    content = (tmp_path / TEST).read_bytes() + bytes(RECORD)
    (tmp_path / TEST).write_bytes(content[: EACH * RECORD + change])
    with pytest.raises(
        DataError, match=r"test_batch\.bin in .* should hold 61,460 bytes but has (61,459|more); delete"
    ):
        read_binary(tmp_path, held=20)


def test_half_a_record_is_refused_even_unchecked(tmp_path: Path, tables: dict[str, np.ndarray], small: None) -> None:
    unpack(tables, tmp_path)
    (tmp_path / TEST).write_bytes(bytes(EACH * RECORD - 1))
    with pytest.raises(DataError, match="should hold 61,460 bytes but has 61,459"):
        read_binary(tmp_path, held=20, check=False)


def test_uneven_classes_are_refused(tmp_path: Path, tables: dict[str, np.ndarray], small: None) -> None:
    tables[TRAIN[0]][0, 0] = 7
    unpack(tables, tmp_path)
    with pytest.raises(DataError, match="do not hold 5,000 images of each class"):
        read_binary(tmp_path, held=20)


def test_offline_the_archive_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pooch = pytest.importorskip("pooch")

    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(pooch, "retrieve", refuse)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache")
    with pytest.raises(DataError) as caught:
        Cifar10(Cifar10.Config()).load()
    line = str(caught.value)
    assert "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz (md5 c32a1d4ab5d03f1284b67883e8d87530)" in line
    assert f"to {tmp_path / 'cache' / 'cifar10'} or a folder named by data.root" in line and "\n" not in line
