"""The ledger: what a training cost, in every unit that a comparison may be held to. No figure without its axis."""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from sfumato.config import Strict

Shape = Sequence[int]  # [images, heads, pixels, channels]


class Ledger(Strict):
    """What has been spent so far; `images` is the budget's axis, the others are shown beside it."""

    planned: int = 0
    """Images that are to be consumed in all, as far as is known; 0 before the first stage."""
    images: int = 0
    """Real images consumed, over all players' turns."""
    turns: dict[str, int] = {}
    """Optimiser steps of each player."""
    stages: dict[str, int] = {}
    """How many images had been consumed when each part of the training began: growth times."""
    flops: float = 0.0
    """Floating-point operations of all forward and backward passes, by torch's counter (a multiply-add is two)."""
    seconds: float = 0.0
    """Wall-clock time of training, over all resumed parts."""
    peak_bytes: int = 0
    """Largest memory: of the device's allocator on a GPU, of the process on a CPU."""
    device: str = "cpu"
    """Where it ran."""
    precision: str = "float32"
    """Arithmetic of the networks."""
    processes: int = 1
    """How many processes shared the batch."""
    alarm: str = ""
    """What the family found wrong with its training, and since when; empty where nothing is, or where it passed."""


def flop_counter() -> FlopCounterMode:
    """torch's counter, taught the CPU's attention, which it would count as nothing."""

    def forward(q: Shape, k: Shape, v: Shape, *rest: Any, **named: Any) -> int:
        return 2 * q[0] * q[1] * q[2] * k[2] * (q[3] + v[3])  # q k^T, and its product with v

    def backward(out: Shape, q: Shape, k: Shape, v: Shape, *rest: Any, **named: Any) -> int:
        return (
            2 * q[0] * q[1] * q[2] * k[2] * (3 * q[3] + 2 * v[3])
        )  # q k^T once more, and the gradients of q, k, v, scores

    formulas = {"": forward, "_backward": backward}
    names = {f"_scaled_dot_product_flash_attention_for_cpu{name}": formula for name, formula in formulas.items()}
    known = {getattr(torch.ops.aten, name): formula for name, formula in names.items() if hasattr(torch.ops.aten, name)}
    return FlopCounterMode(display=False, custom_mapping=known)


def reset_peak(device: torch.device) -> None:
    """Forget earlier peaks, where the system can, so that a training is not charged with what ran before it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):  # Linux: forgets the process's high-water mark
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes(device: torch.device) -> int:
    """Largest memory since `reset_peak`, in bytes (of the whole process's life where the system keeps no other)."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) * (1 if sys.platform == "darwin" else 1024)


def device_name(device: torch.device) -> str:
    """A name that a reader of the report understands."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{device.type}, {torch.get_num_threads()} threads"
