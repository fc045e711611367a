"""The ledger: what a training cost, in every unit that a comparison may be held to. No figure without its axis."""

from __future__ import annotations

import resource
import sys

import torch

from sfumato.config import Strict


class Ledger(Strict):
    """What has been spent so far; `images` is the budget's axis, the others are shown beside it."""

    images: int = 0
    """Real images consumed, over all players' turns."""
    turns: dict[str, int] = {}
    """Optimiser steps of each player."""
    flops: float = 0.0
    """Floating-point operations of all forward and backward passes, by torch's counter (a multiply-add is two)."""
    seconds: float = 0.0
    """Wall-clock time of training, over all resumed parts."""
    peak_bytes: int = 0
    """Largest memory: of the device's allocator on a GPU, of the process on a CPU."""
    device: str = "cpu"
    """Where it ran."""
    processes: int = 1
    """How many processes shared the batch."""


def peak_bytes(device: torch.device) -> int:
    """Largest memory so far, in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) * (1 if sys.platform == "darwin" else 1024)


def device_name(device: torch.device) -> str:
    """A name that a reader of the report understands."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{device.type}, {torch.get_num_threads()} threads"
