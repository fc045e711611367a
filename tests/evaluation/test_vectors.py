"""Vectors: neither batches, chunks, threads nor the cache change a bit; a cache may be damaged, full or interrupted."""

from __future__ import annotations

import errno
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from sfumato.data.imageset import ImageSet, from_array, from_folder
from sfumato.evaluation import vectors as module
from sfumato.evaluation.vectors import vectors
from sfumato.features import Features
from sfumato.features.cache import prune

from . import Probe, counting, folder, pixels


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "CHUNK", 8)
    return tmp_path / "cache"


def probe(**settings: object) -> Features:
    return Probe(Probe.Config(**settings))


def images(n: int = 21, seed: int = 0) -> ImageSet:
    return from_array(pixels(n, seed), "x")


def direct(arrays: object, features: Features | None = None) -> Tensor:
    """The vectors without chunks, groups, threads or cache."""
    return (features or probe()).passes(torch.from_numpy(arrays.transpose(0, 3, 1, 2).copy()))


def stored(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.safetensors"))


@pytest.mark.parametrize("chunk", [4, 8, 20, 1024])
def test_chunks_and_groups_change_no_bit(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(module, "CHUNK", chunk)
    for at_once in (1, 3, 4, 32):
        monkeypatch.setattr(Probe, "at_once", at_once)
        assert torch.equal(vectors(images(), probe(), cache=False), direct(pixels(21)))


def test_a_folder_decoded_by_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = pixels(21)
    place = folder(tmp_path / "f", arrays)
    for count in (1, 7):
        monkeypatch.setattr("os.cpu_count", lambda count=count: count)
        assert torch.equal(vectors(from_folder(place), probe(), cache=False), direct(arrays))


def test_another_order_gives_the_same_vectors_in_that_order() -> None:
    order = torch.randperm(21, generator=torch.Generator().manual_seed(0))
    assert torch.equal(vectors(from_array(pixels(21)[order], "x"), probe()), vectors(images(), probe())[order])


def test_sizes_and_channels_may_be_mixed() -> None:
    parts = [
        from_array(pixels(5, i, size, channels), "x") for i, (size, channels) in enumerate([(8, 3), (6, 3), (8, 1)])
    ]
    turns = [parts[i % 3].entries[i // 3] for i in range(15)]
    found = vectors(replace(parts[0], entries=turns), probe(), cache=False)
    for i, part in enumerate(parts):
        assert torch.equal(found[i::3], vectors(part, probe(), cache=False))


def test_what_the_cache_holds_is_not_decoded_again(cache: Path) -> None:
    first, seen = counting(images())
    made = vectors(first, probe())
    assert sorted(seen) == [entry.name for entry in first.entries] and len(stored(cache)) == 3
    again, seen = counting(images())
    before = Probe.passed
    assert torch.equal(vectors(again, probe()), made)
    assert not seen and Probe.passed == before
    renamed = replace(again, name="y", split="test")
    assert torch.equal(vectors(renamed, probe()), made) and not seen, "a name is no content"


def test_the_key_is_pixels_preparation_and_extractor(cache: Path) -> None:
    vectors(images(8), probe())
    assert len(stored(cache)) == 1
    changed = pixels(8)
    changed[5, 0, 0, 0] ^= 1
    others = [
        (from_array(changed, "x"), probe()),
        (images(8).resized(4), probe()),
        (images(8).resized(4, "box"), probe()),
        (images(8), probe(mode="nearest")),
        (images(8), probe(weights="second")),
        (images(7), probe()),
    ]
    for count, (part, features) in enumerate(others, 2):
        part, seen = counting(part)
        vectors(part, features)
        assert seen and len(stored(cache)) == count


def test_without_a_cache_nothing_is_written_or_read(cache: Path) -> None:
    vectors(images(), probe(), cache=False)
    assert not cache.exists()
    vectors(images(), probe())
    part, seen = counting(images())
    vectors(part, probe(), cache=False)
    assert len(seen) == 21


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"rubbish" * 50,
        "truncated",
        safetensors.torch.save({"vectors": torch.zeros(3, 12)}),
        safetensors.torch.save({"vectors": torch.zeros(8, 5)}),
        safetensors.torch.save({"other": torch.zeros(8, 12)}),
    ],
    ids=["empty", "rubbish", "truncated", "rows", "columns", "key"],
)
def test_a_damaged_file_is_made_again(cache: Path, content: bytes | str) -> None:
    made = vectors(images(), probe())
    for path in stored(cache)[:2]:
        path.write_bytes(content if isinstance(content, bytes) else path.read_bytes()[:-40])
    part, seen = counting(images())
    assert torch.equal(vectors(part, probe()), made) and 13 <= len(seen) <= 16
    part, seen = counting(images())
    assert torch.equal(vectors(part, probe()), made) and not seen, "the damage was not repaired"


def test_a_folder_in_the_place_of_a_file(cache: Path) -> None:
    made = vectors(images(8), probe())
    (path,) = stored(cache)
    path.unlink()
    path.mkdir()
    assert torch.equal(vectors(images(8), probe()), made)


def test_an_interrupted_extraction_goes_on_where_it_was(cache: Path) -> None:
    def stop(name: str, done: int, total: int) -> None:
        if done >= 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        vectors(images(), probe(), watch=stop)
    assert len(stored(cache)) == 1 and not list(cache.rglob("*.tmp"))
    told: list[tuple[str, int, int]] = []
    part, seen = counting(images())
    made = vectors(part, probe(), watch=lambda *what: told.append(what))
    assert torch.equal(made, direct(pixels(21)))
    assert seen and not set(seen) & {entry.name for entry in part.entries[:8]}
    assert told[0] == ("x", 8, 21) and told[-1] == ("x", 21, 21)


def test_a_cache_that_cannot_be_written_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path / "file"))
    assert torch.equal(vectors(images(), probe()), direct(pixels(21)))
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_full_disk_leaves_no_rubbish(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("sfumato.files.os.fsync", full)
    assert torch.equal(vectors(images(), probe()), direct(pixels(21)))
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_several_at_once_share_a_cache(cache: Path) -> None:
    found: list[Tensor] = []
    threads = [threading.Thread(target=lambda: found.append(vectors(images(), probe()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and all(torch.equal(part, direct(pixels(21))) for part in found)
    assert len(stored(cache)) == 3


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    for age, name in enumerate(["old", "middle", "new"]):
        path = tmp_path / "sub" / f"{name}.safetensors"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(100))
        os.utime(path, (1000 + age, 1000 + age))
    (tmp_path / "other.txt").write_bytes(bytes(1000))
    prune(tmp_path, 250)
    assert [path.stem for path in stored(tmp_path)] == ["middle", "new"]
    prune(tmp_path, 250)
    assert len(stored(tmp_path)) == 2
    prune(tmp_path, 0)
    assert not stored(tmp_path) and (tmp_path / "other.txt").exists()
    prune(tmp_path / "nowhere", 0)


def test_reading_counts_as_use(cache: Path) -> None:
    vectors(images(8), probe())
    (path,) = stored(cache)
    os.utime(path, (1000, 1000))
    vectors(images(8), probe())
    assert path.stat().st_mtime > 1000
