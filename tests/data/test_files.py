"""Finding, fetching and checking official files, and the idx format byte by byte."""

import functools
import gzip
import http.server
import struct
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sfumato.data.base import Split
from sfumato.data.files import Official, digest, idx_dataset, locate, official_split, read_idx
from sfumato.errors import CapabilityError, DataError

NAMES = ("train-images.gz", "train-labels.gz", "test-images.gz", "test-labels.gz")


def idx(array: np.ndarray) -> bytes:
    """An array in the format of LeCun's page: two zeros, 8 for bytes, the number of axes, their lengths, the bytes."""
    return (
        bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()
    )


def arrays(n: int = 20, tests: int = 6) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    sets = [(rng.integers(0, 256, (count, 5, 5)), rng.integers(0, 10, count)) for count in (n, tests)]
    return [array for both in sets for array in both]


def write(folder: Path, contents: list[np.ndarray], packed: bool = True) -> tuple[Official, ...]:
    officials = []
    for name, array in zip(NAMES, contents, strict=True):
        content = idx(array)
        path = folder / (name if packed else name.removesuffix(".gz"))
        path.write_bytes(gzip.compress(content) if packed else content)
        officials.append(Official(name, f"http://example.invalid/{name}", digest(path.read_bytes()), digest(content)))
    return tuple(officials)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No network and an empty cache, whose path is returned."""
    pooch = pytest.importorskip("pooch")

    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(pooch, "retrieve", refuse)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    return tmp_path / "cache" / "sfumato"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address at which a server on this machine offers it."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{httpd.server_port}/"
        httpd.shutdown()


@pytest.mark.parametrize("packed", [True, False])
def test_idx_files_give_back_what_was_written(tmp_path: Path, packed: bool) -> None:
    contents = arrays()
    officials = write(tmp_path, contents, packed)
    data = idx_dataset("tiny", officials, tmp_path, held=5)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [15, 5, 6]
    images, labels, test_images, test_labels = map(torch.from_numpy, contents)
    assert torch.equal(torch.cat([data.train.images, data.validation.images])[:, 0].long(), images)
    assert data.validation.labels is not None and torch.equal(data.validation.labels, labels[15:])
    assert data.test.labels is not None and torch.equal(data.test.labels, test_labels)
    assert torch.equal(data.test.images[:, 0].long(), test_images)
    assert data.spec.model_dump() == {"channels": 1, "size": (5, 5), "classes": 10, "condition": 0}


def test_packing_again_changes_no_sum(tmp_path: Path) -> None:
    officials = write(tmp_path, arrays())
    path = tmp_path / NAMES[0]
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=1, mtime=7))
    assert len(read_idx(path, officials[0])) == 20


def test_another_content_is_refused_unless_unchecked(tmp_path: Path) -> None:
    officials = write(tmp_path, arrays())
    path = tmp_path / NAMES[1]
    path.write_bytes(gzip.compress(idx(np.zeros(20))))
    with pytest.raises(
        DataError, match=r"train-labels.gz is not the official file: content with md5 \w{32}, not"
    ) as caught:
        idx_dataset("tiny", officials, tmp_path, held=5)
    assert "\n" not in str(caught.value) and officials[1].url in str(caught.value)
    assert idx_dataset("tiny", officials, tmp_path, held=5, check=False).test.labels is not None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda packed: packed[:-30], "is truncated or broken"),
        (lambda packed: packed[:10] + b"\xff" * 99, "is truncated or broken .Error -3"),
        (lambda packed: b"", "is not an idx file of bytes"),
        (lambda packed: b"<html>404</html>", "is truncated or broken .Not a gzipped file"),
        (lambda packed: packed[:40] + b"\xff\xff\xff" + packed[43:], "is truncated or broken"),
        (lambda packed: gzip.compress(b"\0\0\x08\x03\0\0"), "is truncated or broken"),
        (lambda packed: gzip.compress(b"\0\0\x0d\x01" + bytes(8)), "is not an idx file of bytes"),
        (
            lambda packed: gzip.compress(gzip.decompress(packed)[:-1]),
            "should hold 500 bytes after its header but has 499",
        ),
        (lambda packed: gzip.compress(gzip.decompress(packed) + b"x"), "should hold 500 bytes .* but has more"),
        (
            lambda packed: gzip.compress(b"\0\0\x08\x03" + b"\xff" * 12),
            "promises [0-9,]+ bytes; at most 1,073,741,824 are read",
        ),
    ],
)
def test_a_damaged_idx_file_gives_one_line(tmp_path: Path, damage: Any, message: str) -> None:
    officials = write(tmp_path, arrays())
    path = tmp_path / NAMES[0]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=message) as caught:
        idx_dataset("tiny", officials, tmp_path, held=5)
    assert "\n" not in str(caught.value) and f"bring {officials[0]} again" in str(caught.value)


def test_labels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    contents = arrays()
    contents[1] = contents[1][:-1]
    with pytest.raises(DataError, match=r"hold images \(20, 5, 5\) and labels \(19,\), not N x H x W and N"):
        idx_dataset("tiny", write(tmp_path, contents), tmp_path, held=5)


def test_an_eleventh_class_is_refused() -> None:
    split = Split(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 2, 10]))
    with pytest.raises(DataError, match="tiny has a label 10; its ten classes are 0 to 9"):
        official_split("tiny", split, split, held=1)


def test_too_few_to_set_any_aside(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="tiny has 20 training images; more than the 5000 that validate are needed"):
        idx_dataset("tiny", write(tmp_path, arrays()), tmp_path)


def test_offline_the_message_names_what_to_bring_and_where(tmp_path: Path, offline: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    officials = write(folder, arrays())
    (folder / NAMES[0]).unlink()
    (folder / NAMES[3]).unlink()
    with pytest.raises(DataError) as caught:
        locate("tiny", officials, folder)
    line = str(caught.value)
    assert (
        line.startswith("tiny lacks 2 of its files and cannot fetch them (ConnectionError); bring ")
        and "\n" not in line
    )
    assert f"{officials[0]}, {officials[3]} to {folder} or {offline / 'tiny'}" in line
    assert officials[0].md5 in line and officials[1].name not in line
    assert 'data.kind = "npz", which reads any .npz with keys images, labels, test_images' in line


def test_the_cache_serves_what_the_folder_lacks(tmp_path: Path, offline: Path) -> None:
    cache = offline / "tiny"
    cache.mkdir(parents=True)
    officials = write(cache, arrays())
    assert locate("tiny", officials, None) == [cache / name for name in NAMES]
    (tmp_path / NAMES[1]).write_bytes(b"own")
    assert locate("tiny", officials, tmp_path)[:2] == [cache / NAMES[0], tmp_path / NAMES[1]]


def test_a_folder_that_is_not_there_is_refused_before_any_download(tmp_path: Path, offline: Path) -> None:
    with pytest.raises(DataError, match=r"data\.root = .*nowhere is not a folder; name the one with train-images\.gz"):
        locate("tiny", write(tmp_path, arrays()), tmp_path / "nowhere")


def test_without_pooch_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    officials = write(tmp_path, arrays())
    monkeypatch.setitem(sys.modules, "pooch", None)
    assert locate("tiny", officials, tmp_path)[0] == tmp_path / NAMES[0]  # nothing to fetch, so nothing is needed
    with pytest.raises(CapabilityError, match=r"tiny needs train-images.gz, .* pip install 'sfumato\[data\]'"):
        locate("tiny", officials, None)


def test_fetching_fills_the_cache_and_checks_the_sum(
    server: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pooch = pytest.importorskip("pooch")
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder, url = server
    (folder / "good.gz").write_bytes(b"content")
    good = Official("good.gz", f"{url}good.gz", digest(b"content"))
    assert locate("tiny", [good], None)[0].read_bytes() == b"content"
    (folder / "good.gz").unlink()
    assert locate("tiny", [good], None)[0].read_bytes() == b"content"  # from the cache
    (folder / "bad.gz").write_bytes(b"something else")
    with pytest.raises(DataError, match=r"cannot fetch them \(ValueError\)"):
        locate("tiny", [Official("bad.gz", f"{url}bad.gz", digest(b"content"))], None)
    assert not (tmp_path / "cache/sfumato/tiny/bad.gz").exists()
    with pytest.raises(DataError, match=r"cannot fetch them \(HTTPError\)"):
        locate("tiny", [Official("gone.gz", f"{url}gone.gz", digest(b"content"))], None)
