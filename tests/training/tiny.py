"""What the training tests share: a small run, as a value and as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from sfumato.config import load
from sfumato.data.base import Dataset
from sfumato.data.digits import Digits
from sfumato.training.run import RunConfig

ARGUMENTS = ["--data", "digits", "--task", "inpainting", "--task", "outpainting"]


def settings(family: dict[str, Any] | str = "ddpm", **budget: Any) -> RunConfig:
    """A run on 64 digits."""
    values = {"kind": family, "width": 4} if isinstance(family, str) else family
    return load(
        RunConfig,
        {
            "data": {"kind": "digits", "train": 64, "validation": 8, "test": 8},
            "tasks": ["inpainting", "outpainting"],
            "family": values,
            "budget": {"images": 256, "batch": 16, **budget},
        },
    )


def data() -> Dataset:
    return Digits(Digits.Config(train=64, validation=8, test=8)).load()


def command(out: Path, *more: str) -> list[str]:
    """The command line of a run."""
    return [sys.executable, "-m", "sfumato", "train", *more, "--device", "cpu", "--out", str(out)]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def start(arguments: list[str]) -> subprocess.Popen[str]:
    """A process of its own group, so that a signal reaches it alone."""
    return subprocess.Popen(
        arguments, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
