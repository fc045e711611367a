"""Precision: float32 that is float32, whatever the caller's autocast, TF32 or matmul settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Float32 to the last bit inside; the caller's settings hold again afterwards. They are global: not for threads."""
    cudnn = torch.backends.cudnn
    try:
        products = torch.get_float32_matmul_precision()
    except RuntimeError:  # the caller uses torch 2.9's newer settings, which may not be mixed with these
        with torch.autocast(device.type, enabled=False), newer_settings():
            yield
        return
    torch.set_float32_matmul_precision("highest")
    same = {"enabled": cudnn.enabled, "benchmark": cudnn.benchmark, "deterministic": cudnn.deterministic}
    try:
        with torch.autocast(device.type, enabled=False), cudnn.flags(**same, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(products)


@contextmanager
def newer_settings() -> Iterator[None]:
    """The same by `fp32_precision`."""
    places: list[Any] = [torch.backends.cuda.matmul, torch.backends.cudnn.conv]  # type: ignore[attr-defined]
    before = [place.fp32_precision for place in places]
    try:
        for place in places:
            place.fp32_precision = "ieee"
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.fp32_precision = value
