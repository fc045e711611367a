"""The official idx files of Fashion-MNIST: sums, sizes and the split, on files made here in the official format."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from sfumato.data import fashion_mnist
from sfumato.data.fashion_mnist import FILES, FashionMnist
from sfumato.data.files import Official, digest
from sfumato.errors import DataError


def test_files_are_named_by_sums_of_their_own() -> None:
    assert [file.name.split("-ubyte")[0] for file in FILES] == [
        "train-images-idx3",
        "train-labels-idx1",
        "t10k-images-idx3",
        "t10k-labels-idx1",
    ]
    sums = [text for file in FILES for text in (file.md5, file.unpacked)]
    assert len(set(sums)) == 8 and all(len(text) == 32 and int(text, 16) for text in sums)
    assert all(file.url.endswith("/" + file.name) for file in FILES)


def test_the_last_5000_training_images_validate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    made = []
    for file, shape, most in zip(
        FILES, ((5020, 28, 28), (5020,), (30, 28, 28), (30,)), (256, 10, 256, 10), strict=True
    ):
        array = rng.integers(0, most, shape, dtype=np.uint8)
        content = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *shape) + array.tobytes()
        (tmp_path / file.name).write_bytes(gzip.compress(content, 0))
        made.append((array, Official(file.name, file.url, "", digest(content))))
    monkeypatch.setattr(fashion_mnist, "FILES", tuple(official for _, official in made))
    data = FashionMnist(FashionMnist.Config(root=tmp_path, test=10)).load()
    assert data.name == "fashion_mnist" and data.spec.model_dump() == {
        "channels": 1,
        "size": (28, 28),
        "classes": 10,
        "condition": 0,
    }
    assert [len(part) for part in (data.train, data.validation, data.test)] == [20, 5000, 10]
    assert torch.equal(data.train.images[:, 0], torch.from_numpy(made[0][0][:20]))
    assert torch.equal(data.validation.images[:, 0], torch.from_numpy(made[0][0][20:]))
    assert data.validation.labels is not None and data.validation.labels.tolist() == made[1][0][20:].tolist()
    assert torch.equal(data.test.images[:, 0], torch.from_numpy(made[2][0][:10]))


def test_a_file_of_another_set_is_refused(tmp_path: Path) -> None:
    for file in FILES:
        (tmp_path / file.name).write_bytes(gzip.compress(b"\0\0\x08\x01" + struct.pack(">I", 3) + b"abc"))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz is not the official file") as caught:
        FashionMnist(FashionMnist.Config(root=tmp_path)).load()
    assert FILES[0].url in str(caught.value) and "\n" not in str(caught.value)
