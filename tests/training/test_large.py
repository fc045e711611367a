"""A set that does not fit into memory trains: three gigabytes on disk, two allowed to the process."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = """
import resource, sys
import torch
resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, 2 << 30))
from sfumato.config import load
from sfumato.training.run import RunConfig, train
values = {"data": {"kind": "npz", "path": sys.argv[1]}, "tasks": ["inpainting"], "family": {"kind": "ddpm", "width": 4},
          "budget": {"images": 256, "batch": 32}}
run = train(load(RunConfig, values), sys.argv[2], device="cpu")
print(run.ledger.images, run.spec.size)
try:
    torch.empty(3 << 30, dtype=torch.uint8)
except RuntimeError:
    print("the limit holds")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_a_set_larger_than_memory_trains(tmp_path: Path) -> None:
    shape = (1_000_000, 32, 32, 3)
    np.lib.format.open_memmap(
        tmp_path / "large.npy", mode="w+", dtype=np.uint8, shape=shape
    )  # sparse: no block written
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "large.npy"), str(tmp_path / "run")],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines() == ["256 (32, 32)", "the limit holds"]
