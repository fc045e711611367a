"""Mutators: small seeded damages of bytes, of settings, of arrays and of folders."""

from __future__ import annotations

import copy
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save

# --- bytes ----------------------------------------------------------------------------------------------------------


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def flip(data: bytes, rng: random.Random) -> bytes:
    made = bytearray(data)
    for _ in range(rng.choice([1, 1, 4, 32])):
        if made:
            made[rng.randrange(len(made))] ^= 1 << rng.randrange(8)
    return bytes(made)


def blank(data: bytes, rng: random.Random) -> bytes:
    start, length = rng.randrange(len(data) + 1), rng.choice([1, 8, 200])
    return data[:start] + bytes(length) + data[start + length :]


def insert(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + rng.randbytes(rng.choice([1, 4, 64])) + data[start:]


def double(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + data[start : start + 64] + data[start:]


def head(data: bytes, rng: random.Random) -> bytes:
    return (
        rng.choice([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"PK\x03\x04", b"%!PS", b"\x93NUMPY"])
        + data[8:]
    )


def empty(data: bytes, rng: random.Random) -> bytes:
    return b""


def noise(data: bytes, rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice([1, 16, 4096]))


BYTES: list[Callable[[bytes, random.Random], bytes]] = [cut, flip, blank, insert, double, head, empty, noise]

# --- settings -------------------------------------------------------------------------------------------------------

ODD: list[Any] = [
    None, True, -1, 0, 10**9, 10**30, 1.5, float("inf"), "", "x" * 5000, "\x1b[2J", "[/red]", "$\\frac{$", "../..", "~nobody/x",
    [], {}, [[]], {"kind": "x"}, [1, 2], {"a": {"b": []}}, "é\udcff".encode("utf-8", "replace").decode(), 3, "ddpm",
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every path in a table."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, part in inner for found in [(*path, key), *places(part, (*path, key))]]


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def _changed(value: Any, rng: random.Random, change: Callable[[Any, Any], None]) -> Any:
    value = copy.deepcopy(value)
    if found := places(value):
        path = rng.choice(found)
        change(at(value, path[:-1]), path[-1])
    return value


def replaced(value: Any, rng: random.Random) -> Any:
    def change(parent: Any, key: Any) -> None:
        parent[key] = rng.choice(ODD)

    return _changed(value, rng, change)


def removed(value: Any, rng: random.Random) -> Any:
    def change(parent: Any, key: Any) -> None:
        del parent[key]

    return _changed(value, rng, change)


def renamed(value: Any, rng: random.Random) -> Any:
    def change(parent: Any, key: Any) -> None:
        if isinstance(parent, dict):
            parent[rng.choice([f"{key}x", "", key.upper(), "kind"])] = parent.pop(key)

    return _changed(value, rng, change)


def nested(value: Any, rng: random.Random) -> Any:
    def change(parent: Any, key: Any) -> None:
        for _ in range(rng.choice([1, 50])):
            parent[key] = [parent[key]]

    return _changed(value, rng, change)


def negated(value: Any, rng: random.Random) -> Any:
    def change(parent: Any, key: Any) -> None:
        if isinstance(parent[key], int | float):
            parent[key] = rng.choice([-parent[key], parent[key] * 10**6, parent[key] + 0.5])

    return _changed(value, rng, change)


def repeated(value: Any, rng: random.Random) -> Any:
    def change(parent: Any, key: Any) -> None:
        if isinstance(parent[key], list):
            parent[key] = parent[key] * 2

    return _changed(value, rng, change)


TABLE: list[Callable[[Any, random.Random], Any]] = [replaced, replaced, removed, renamed, nested, negated, repeated]


def table(data: bytes, rng: random.Random) -> bytes:
    """A JSON file with some of its entries changed."""
    value = json.loads(data)
    for _ in range(rng.choice([1, 1, 1, 3])):
        value = rng.choice(TABLE)(value, rng)
    return json.dumps(value).encode()


# --- arrays and tensors ---------------------------------------------------------------------------------------------


def retyped(part: np.ndarray, rng: random.Random) -> np.ndarray:
    return part.astype(rng.choice(["float32", "int32", "bool", "uint16", "complex64", "int64"]))


def flattened(part: np.ndarray, rng: random.Random) -> np.ndarray:
    return part.reshape(-1)[: rng.randrange(1, 50)]


def without_rows(part: np.ndarray, rng: random.Random) -> np.ndarray:
    return part[:0]


def with_an_axis(part: np.ndarray, rng: random.Random) -> np.ndarray:
    return part[..., None]


def turned(part: np.ndarray, rng: random.Random) -> np.ndarray:
    return np.moveaxis(part, -1, 0)


def not_finite(part: np.ndarray, rng: random.Random) -> np.ndarray:
    made = part.astype("float64")
    made.flat[rng.randrange(max(made.size, 1))] = rng.choice([np.nan, np.inf, -1e30])
    return made


def one_row(part: np.ndarray, rng: random.Random) -> np.ndarray:
    return part[:1]


def words(part: np.ndarray, rng: random.Random) -> np.ndarray:
    return np.array(["text"])


ARRAY = [retyped, flattened, without_rows, with_an_axis, turned, not_finite, one_row, words]


def lost(parts: dict[str, Any], name: str) -> None:
    del parts[name]


def misnamed(parts: dict[str, Any], name: str) -> None:
    parts[f"{name}x"] = parts.pop(name)


def copied(parts: dict[str, Any], name: str) -> None:
    parts[f"{name}x"] = parts[name]


def npz(data: bytes, rng: random.Random) -> bytes:
    """An .npz file with one of its arrays changed, lost, misnamed or doubled."""
    with np.load(io.BytesIO(data)) as file:
        parts = dict(file)
    _damage(parts, rng, ARRAY)
    buffer = io.BytesIO()
    np.savez(buffer, **parts)
    return buffer.getvalue()


def _damage(parts: dict[str, Any], rng: random.Random, known: list[Any]) -> None:
    name = rng.choice(sorted(parts))
    if rng.random() < 0.3:
        rng.choice([lost, misnamed, copied])(parts, name)
    else:
        parts[name] = rng.choice(known)(parts[name], rng)


def cast(value: torch.Tensor, rng: random.Random) -> torch.Tensor:
    return value.to(rng.choice([torch.int32, torch.float64, torch.bfloat16, torch.uint8]))


def infinite(value: torch.Tensor, rng: random.Random) -> torch.Tensor:
    return (
        torch.full_like(value, rng.choice([float("nan"), float("inf"), 1e30])) if value.is_floating_point() else -value
    )


def straightened(value: torch.Tensor, rng: random.Random) -> torch.Tensor:
    return value.flatten()


def shortened(value: torch.Tensor, rng: random.Random) -> torch.Tensor:
    return value[:0].clone() if value.ndim else value.reshape(1)


TENSOR = [cast, infinite, straightened, shortened]


def tensors(data: bytes, rng: random.Random) -> bytes:
    """A safetensors file with one tensor changed; its metadata are lost, as a careless tool would lose them."""
    parts = load(data)
    _damage(parts, rng, TENSOR)
    return save({name: value.contiguous().clone() for name, value in parts.items()})


# --- folders --------------------------------------------------------------------------------------------------------

NAMES = [
    "\x1b[31m.png",
    "[bold]x.png",
    "=1+1.png",
    "a" * 200 + ".png",
    "ü\u202e.png",
    "$x$.png",
    ".hidden.png",
    "x.tiff.png",
]


def renamed_file(folder: Path, rng: random.Random) -> None:
    rng.choice(sorted(folder.iterdir())).rename(folder / rng.choice(NAMES))


def link(folder: Path, rng: random.Random) -> None:
    (folder / "zz.png").symlink_to(rng.choice(["zz.png", "nowhere.png", ".."]))


def stranger(folder: Path, rng: random.Random) -> None:
    (folder / rng.choice(["Thumbs.db", "notes.txt", "movie.mp4", "zz.png"])).write_bytes(rng.randbytes(300))


def inner_folder(folder: Path, rng: random.Random) -> None:
    inner = folder / rng.choice(NAMES)
    inner.mkdir()
    rng.choice(sorted(path for path in folder.iterdir() if path.is_file())).rename(inner / "00.png")


def emptied(folder: Path, rng: random.Random) -> None:
    for path in sorted(folder.iterdir())[rng.randrange(3) :]:
        path.unlink()


def damaged_file(folder: Path, rng: random.Random) -> None:
    path = rng.choice(sorted(folder.iterdir()))
    path.write_bytes(rng.choice(BYTES)(path.read_bytes(), rng))


FOLDER = [renamed_file, link, stranger, inner_folder, emptied, damaged_file]
