"""Mutators: small seeded damages of bytes, of settings, and of arrays."""

from __future__ import annotations

import copy
import io
import json
import random
from collections.abc import Callable
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


# --- arrays ---------------------------------------------------------------------------------------------------------


def array(part: np.ndarray, rng: random.Random) -> np.ndarray:
    """An array of another type, shape or content."""
    choice = rng.randrange(8)
    if choice == 0:
        return part.astype(rng.choice(["float32", "int32", "bool", "uint16", "complex64", "int64"]))
    if choice == 1:
        return part.reshape(-1)[: rng.randrange(1, 50)]
    if choice == 2:
        return part[:0]
    if choice == 3:
        return part[..., None]
    if choice == 4:
        return np.moveaxis(part, -1, 0)
    if choice == 5:
        made = part.astype("float64")
        made.flat[rng.randrange(max(made.size, 1))] = rng.choice([np.nan, np.inf, -1e30])
        return made
    return part[:1] if choice == 6 else np.array(["text"])


def npz(data: bytes, rng: random.Random) -> bytes:
    with np.load(io.BytesIO(data)) as file:
        parts = dict(file)
    name = rng.choice(sorted(parts))
    if rng.random() < 0.15:
        del parts[name]
    elif rng.random() < 0.1:
        parts[f"{name}x"] = parts.pop(name)
    else:
        parts[name] = array(parts[name], rng)
    buffer = io.BytesIO()
    np.savez(buffer, **parts)
    return buffer.getvalue()


def tensors(data: bytes, rng: random.Random) -> bytes:
    """A safetensors file with one tensor changed; its metadata are lost, as a careless tool would lose them."""
    parts = load(data)
    name = rng.choice(sorted(parts))
    value, choice = parts[name], rng.randrange(6)
    if choice == 0:
        del parts[name]
    elif choice == 1:
        parts[name] = value.to(rng.choice([torch.int32, torch.float64, torch.bfloat16, torch.uint8]))
    elif choice == 2 and value.is_floating_point():
        parts[name] = torch.full_like(value, rng.choice([float("nan"), float("inf"), 1e30]))
    elif choice == 3:
        parts[name] = value.flatten()
    elif choice == 4:
        parts[f"{name}x"] = value
    else:
        parts[name] = value[:0].clone() if value.ndim else value.reshape(1)
    return save({name: value.contiguous().clone() for name, value in parts.items()})
