"""Mutators of arrays and tensors in their files."""

from __future__ import annotations

import io
import json
import random
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save

from .mutators import ODD, table


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


def shifted(part: np.ndarray, rng: random.Random) -> np.ndarray:
    return part - part.dtype.type(1) if part.dtype.kind in "iu" else -part


ARRAY = [shifted, retyped, flattened, without_rows, with_an_axis, turned, not_finite, one_row, words]


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
    """A safetensors file with one tensor changed; its metadata stay, or are lost as a careless tool would lose them."""
    parts, told = load(data), json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__")
    _damage(parts, rng, TENSOR)
    kept = told if rng.random() < 0.7 else None
    return save({name: value.contiguous().clone() for name, value in parts.items()}, metadata=kept)


def alike(one: bytes, other: bytes) -> bool:
    """Whether two safetensors files hold tensors of the same names, shapes and types, all of them finite."""
    a, b = load(one), load(other)
    kinds = [{name: (value.shape, value.ndim and value.dtype) for name, value in part.items()} for part in (a, b)]
    return kinds[0] == kinds[1] and all(bool(value.isfinite().all()) for value in b.values())


def metadata(data: bytes, rng: random.Random) -> bytes:
    """A safetensors file with its metadata changed, and what is JSON in them from the inside."""
    parts, told = load(data), json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__", {})
    for name in [rng.choice(sorted(told))] if told else []:
        inside = told[name].startswith("{") and rng.random() < 0.7
        told[name] = table(told[name].encode(), rng).decode() if inside else str(rng.choice(ODD))
    return save(parts, metadata=told)
