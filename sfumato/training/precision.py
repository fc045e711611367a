"""Precision: in which arithmetic networks run; weights, averages and losses stay float32."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path
from typing import Literal

import torch

Precision = Literal["auto", "float32", "bfloat16"]


WORTH = (
    2_000_000  # parameters from which bfloat16 is faster on a CPU; in smaller layers casts cost more than products gain
)


def resolved(precision: Precision, device: torch.device, parameters: int) -> Literal["float32", "bfloat16"]:
    """bfloat16 for `auto` where the device computes it in hardware and, on a CPU, the networks are large enough to gain.

    Example:
        >>> resolved("auto", torch.device("cpu"), 1000), resolved("bfloat16", torch.device("cpu"), 1000)
        ('float32', 'bfloat16')
    """
    if precision == "auto":
        worth = device.type != "cpu" or parameters >= WORTH
        return "bfloat16" if worth and has_bfloat16(device) else "float32"
    return precision


@cache
def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 numbers faster than it emulates them: avx512_bf16, amx, or an Ampere GPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu" and platform.machine() in ("x86_64", "AMD64"):
        try:
            flags = Path("/proc/cpuinfo").read_text()
        except OSError:
            return False
        return " avx512_bf16" in flags or " amx_bf16" in flags
    return False
