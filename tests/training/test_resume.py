"""A training that is stopped, killed or out of disk goes on to the same bits as one that never was."""

import json
import random
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from sfumato.cli import main
from sfumato.errors import DataError, Interrupted
from sfumato.families.base import Family
from sfumato.kinds import kinds_of
from sfumato.training import checkpoint, interrupt, run
from sfumato.training.trainer import Trainer

from .growing import Growing
from .tiny import command, data, settings, start

kinds_of(Family).pop("growing-toy", None)  # a test that wants it puts it back

WGAN = ["wgan", "--images", "4800", "--set", "family.width=4", "--set", "family.critic_turns=2"]
TINY = ["--data", "digits", "--task", "inpainting", "--task", "outpainting", "--set", "budget.batch=16"]
TINY += ["--set", "budget.save_every=0.05", "--set", "budget.flip=true"]


def whole(tmp_path: Path, arguments: list[str]) -> bytes:
    """The weights of the uninterrupted run, made in this process."""
    with pytest.raises(SystemExit) as ended:
        main(["train", *arguments, "--device", "cpu", "--out", str(tmp_path / "whole")])
    assert ended.value.code == 0
    return (tmp_path / "whole" / "model.safetensors").read_bytes()


def wait_for(folder: Path, pattern: str, process: Any, seconds: float = 60.0) -> bool:
    """Whether a file appeared before the process ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if any(folder.glob(pattern)):
            return True
        time.sleep(0.005)
    return False


def killed(tmp_path: Path, arguments: list[str], kills: int) -> None:
    expected = whole(tmp_path, arguments)
    out, rng, done = tmp_path / "killed", random.Random(0), 0
    while not run.is_finished(out):
        process = start(command(out, *arguments))
        before = {path.name for path in out.glob("checkpoint-*")}
        while done < kills and process.poll() is None:
            if {path.name for path in out.glob("checkpoint-*")} - before:  # it has gone on
                time.sleep(rng.random() * 0.15)
                process.send_signal(signal.SIGKILL)
                done += 1
                break
            time.sleep(0.002)
        process.communicate(timeout=300)
        assert process.returncode in (0, -signal.SIGKILL), process.returncode
    assert done == kills, "the run ended before it was killed often enough; give it more images"
    assert (out / "model.safetensors").read_bytes() == expected
    assert not list(out.glob("checkpoint-*")) and not list(out.glob(".checkpoint-*"))
    assert json.loads((out / "ledger.json").read_text())["images"] == 4800


def test_kill_9_three_times(tmp_path: Path) -> None:
    killed(tmp_path, [*WGAN, *TINY], 3)


def test_kill_9_while_it_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(kinds_of(Family), "growing-toy", Growing)
    arguments = ["growing-toy", "--images", "4800", "--data", "digits", "--task", "generation"]
    arguments += ["--set", "budget.batch=4", "--set", "budget.save_every=0.05", "--set", "family.optimizer.lr=0.001"]
    killed(tmp_path, [*arguments, "--set", "plugins=['tests.training.growing']"], 3)


def test_kill_9_around_a_fit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "set.npz", images=rng.integers(0, 256, (3000, 24, 24), dtype=np.uint8))
    arguments = ["gaussian", "--data", "npz", "--set", f"data.path={tmp_path / 'set.npz'}", "--task", "generation"]
    expected, out = whole(tmp_path, arguments), tmp_path / "killed"
    for pattern in ("config.json", "checkpoint-*", ".checkpoint-*"):  # while it is fitted, and when it is
        process = start(command(out, *arguments))
        wait_for(out, pattern, process)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    process = start(command(out, *arguments))
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert (out / "model.safetensors").read_bytes() == expected and not list(out.glob("*checkpoint-*"))


@pytest.mark.slow
def test_kill_9_ten_times(tmp_path: Path) -> None:
    killed(tmp_path, ["ddpm", "--images", "4800", "--set", "family.width=4", *TINY], 10)


def test_ctrl_c_once_saves_and_goes_on(tmp_path: Path) -> None:
    arguments = ["ddpm", "--images", "3200", "--set", "family.width=4", *TINY, "--set", "family.network=published"]
    expected, out = whole(tmp_path, arguments), tmp_path / "stopped"
    process = start(command(out, *arguments))
    assert wait_for(out, "checkpoint-*", process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    lines = [line for line in err.splitlines() if line.startswith("sfumato: ")]
    assert len(lines) == 1 and "stopped after" in lines[0] and "same command" in lines[0], err
    assert "Traceback" not in err and "press Ctrl-C again" in err
    assert len(checkpoint.checkpoints(out)) == 1
    process = start(command(out, *arguments))
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert (out / "model.safetensors").read_bytes() == expected


def test_ctrl_c_twice_leaves_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, since two signals a moment apart may arrive as one."""
    presses = []

    def press(trainer: Trainer, *_: object) -> None:
        presses.append(trainer.ledger.images)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Trainer, "_round", press)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run.train(settings(), tmp_path / "run", device="cpu", data=data())
    assert presses == [0], "the second Ctrl-C did not leave at once"
    assert signal.getsignal(signal.SIGINT) is handler, "the old handler was not put back"


def test_the_second_signal_raises() -> None:
    with interrupt.Interrupt() as seen, pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
        assert seen.wanted
        signal.raise_signal(signal.SIGINT)


class Stop(Exception):
    pass


@pytest.mark.parametrize("family", ["wgan", "ddpm"])
@pytest.mark.parametrize("stop_after", [1, 7, 13])
def test_every_round_is_a_good_place_to_stop(
    tmp_path: Path, family: str, stop_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped by the first Ctrl-C in round `stop_after`, with dying at once as the worst case of what follows."""
    config, images = settings(family, flip=True), data()
    run.train(config, tmp_path / "whole", device="cpu", data=images)
    rounds, average = [0], run.Trainer.__init__

    def counting(self: Trainer, *arguments: Any, **named: Any) -> None:
        average(self, *arguments, **named)
        update = self.state.average.update

        def after_round(*values: Any) -> None:
            update(*values)
            rounds[0] += 1
            if rounds[0] == stop_after:
                signal.raise_signal(signal.SIGINT)

        self.state.average.update = after_round  # type: ignore[method-assign]

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "__init__", counting)
        total = 8 if family == "wgan" else 16  # a WGAN's round is two turns of 16 images
        if stop_after < total:
            with pytest.raises(Interrupted, match="stopped after"):
                run.train(config, tmp_path / "stopped", device="cpu", data=images)
            assert not run.is_finished(tmp_path / "stopped")
    trained = run.train(config, tmp_path / "stopped", device="cpu", data=images)
    name = "model.safetensors"
    assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    whole_ledger = json.loads((tmp_path / "whole" / "ledger.json").read_text())
    for key in ("images", "turns", "flops"):
        assert getattr(trained.ledger, key) == whole_ledger[key], key


def test_dropout_draws_from_the_runs_own_streams(tmp_path: Path) -> None:
    """Two runs in one process, other random numbers drawn between them: the same weights."""
    config = settings({"kind": "ddpm", "width": 4, "network": {"kind": "unet", "dropout": 0.2}})
    run.train(config, tmp_path / "a", device="cpu", data=data())
    torch.rand(17)
    run.train(config, tmp_path / "b", device="cpu", data=data())
    name = "model.safetensors"
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("os error 28")])
def test_an_interrupted_save_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    checkpoint.save_checkpoint(tmp_path, 10, {"a": torch.ones(2)}, {"images": 10})
    real = checkpoint.save_file

    def half(tensors: Any, path: Path) -> None:
        real(tensors, path)
        Path(path).write_bytes(Path(path).read_bytes()[:20])
        raise error

    monkeypatch.setattr(checkpoint, "save_file", half)
    with pytest.raises(DataError, match=r"cannot write .*free some space") as caught:
        checkpoint.save_checkpoint(tmp_path, 20, {"a": torch.zeros(2)}, {"images": 20})
    assert "\n" not in str(caught.value)
    found = checkpoint.load_checkpoint(tmp_path)
    assert found is not None and found[1] == {"images": 10} and found[0]["a"].tolist() == [1, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-000000000010"], "rubbish was left behind"
