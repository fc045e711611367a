"""What else may end a run, or come in its way: a second process, the system, the death of a study."""

import contextlib
import signal
import sys
import time
from pathlib import Path

import pytest

from sfumato.errors import ConfigError
from sfumato.training import run
from sfumato.training.claims import held

from .test_resume import wait_for
from .tiny import data, settings, start

STUDY = """title = "t"
data = {kind = "digits", train = 64, validation = 8, test = 8}
tasks = ["inpainting"]
seeds = [0, 1]
budget = {images = 5_000_000, batch = 16, save_every = 0.5}
metrics = ["l1"]
methods = [{name = "a", family = {kind = "ddpm", width = 4}}]
"""


def test_two_processes_do_not_share_a_folder(tmp_path: Path) -> None:
    out = tmp_path / "new" / "run"
    with held(out), pytest.raises(ConfigError, match="another process is at work in"):
        run.train(settings(), out, device="cpu", data=data())
    assert not (tmp_path / "new").exists(), "a folder in which nothing was written stayed"


def test_an_end_by_the_system_leaves_no_temporary_file(tmp_path: Path) -> None:
    process = start(
        [sys.executable, "-m", "sfumato", "train", "ddpm", "--images", "9999999", "--out", str(tmp_path / "r")]
    )
    assert wait_for(tmp_path, "r/losses.jsonl", process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "stopped after" in err and "Traceback" not in err, err
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".tmp", ".lock")]


def test_a_study_that_is_killed_takes_its_workers_along(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(STUDY)
    out = tmp_path / "out"
    process = start(
        [sys.executable, "-m", "sfumato", "study", str(tmp_path / "s.toml"), "--out", str(out), "--jobs", "2"]
    )
    assert wait_for(out, "runs/*/checkpoint-*", process)
    workers = children(process.pid)
    assert len(workers) >= 2
    process.kill()
    process.communicate()
    limit = time.monotonic() + 60
    while any(alive(worker) for worker in workers):
        assert time.monotonic() < limit, "a worker went on without its study"
        time.sleep(0.2)


def children(parent: int) -> list[int]:
    """The processes that a process started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(path.parent.name))
    return found


def alive(process: int) -> bool:
    """Whether a process runs and is no zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
