"""Precision: float32 products that are what they are called, whatever the caller's autocast, TF32 or matmul settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Float32 to the last bit inside; the caller's settings hold again afterwards. They are global: not for threads."""
    with torch.autocast(device.type, enabled=False), products(tf32=False):
        yield


@contextmanager
def products(tf32: bool) -> Iterator[None]:
    """Whether a GPU may round the factors of float32 products to TF32's ten bits; the caller's settings return afterwards."""
    cudnn = torch.backends.cudnn
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:  # the caller uses torch 2.9's newer settings, which may not be mixed with these
        with newer_settings("tf32" if tf32 else "ieee"):
            yield
        return
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    same = {"enabled": cudnn.enabled, "benchmark": cudnn.benchmark, "deterministic": cudnn.deterministic}
    try:
        with cudnn.flags(**same, allow_tf32=tf32):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def newer_settings(wanted: str) -> Iterator[None]:
    """The same by `fp32_precision`."""
    places: list[Any] = [torch.backends.cuda.matmul, torch.backends.cudnn.conv]  # type: ignore[attr-defined]
    before = [place.fp32_precision for place in places]
    try:
        for place in places:
            place.fp32_precision = wanted
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.fp32_precision = value
