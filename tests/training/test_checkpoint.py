"""Checkpoints are whole or not there, damaged ones say so, and several processes train one model."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from safetensors.torch import load_file

from sfumato.errors import ConfigError, Interrupted, WeightsError
from sfumato.training import checkpoint, processes, run
from sfumato.training.checkpoint import load_tensors, require_fit, save_tensors

from .tiny import data, environment, settings


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(2, 3), "b": torch.arange(3), "c": torch.tensor(2.5)}
    tensors["d"] = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    checkpoint.save_checkpoint(tmp_path, 16, tensors, {"x": 1})
    found = checkpoint.load_checkpoint(tmp_path)
    assert found is not None and found[1] == {"x": 1}
    assert all(
        torch.equal(found[0][name], value) and found[0][name].dtype == value.dtype for name, value in tensors.items()
    )


def test_only_the_newest_is_kept_and_nothing_is_nothing(tmp_path: Path) -> None:
    assert checkpoint.load_checkpoint(tmp_path) is None
    for images in (8, 900, 1000):
        checkpoint.save_checkpoint(tmp_path, images, {"a": torch.tensor(images)}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-000000001000"]
    checkpoint.drop_checkpoints(tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_unfinished_checkpoint_is_not_one(tmp_path: Path) -> None:
    checkpoint.save_checkpoint(tmp_path, 8, {"a": torch.ones(1)}, {"images": 8})
    (tmp_path / "checkpoint-000000000016").mkdir()  # a folder whose last file was never written
    found = checkpoint.load_checkpoint(tmp_path)
    assert found is not None and found[1] == {"images": 8}


@pytest.mark.parametrize("name", ["state.safetensors", "state.json"])
@pytest.mark.parametrize("keep", [0, 9, -5])
def test_a_truncated_checkpoint_says_so(tmp_path: Path, name: str, keep: int) -> None:
    checkpoint.save_checkpoint(tmp_path, 8, {"a": torch.ones(50)}, {"images": 8, "stage": 0})
    path = tmp_path / "checkpoint-000000000008" / name
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError, match="cannot read") as caught:
        checkpoint.load_checkpoint(tmp_path)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_missing_weights_of_a_checkpoint(tmp_path: Path) -> None:
    checkpoint.save_checkpoint(tmp_path, 8, {"a": torch.ones(50)}, {})
    (tmp_path / "checkpoint-000000000008" / "state.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"state\.safetensors"):
        checkpoint.load_checkpoint(tmp_path)


def stopped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(run.Trainer, "_agreed", lambda self, flag, rounds: rounds == 3)
        with pytest.raises(Interrupted):
            run.train(settings(), folder, device="cpu", data=data())


def test_an_unfinished_run_is_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(tmp_path / "run", monkeypatch)
    with pytest.raises(WeightsError, match="is not finished: give its command again"):
        run.load(tmp_path / "run")


def test_a_checkpoint_of_another_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings beside it were changed by hand: one of our errors, not a traceback of torch."""
    stopped(tmp_path / "run", monkeypatch)
    config = settings({"kind": "ddpm", "width": 8})
    (tmp_path / "run" / "config.json").write_text(config.to_json())
    with pytest.raises(WeightsError, match="checkpoint") as caught:
        run.train(config, tmp_path / "run", device="cpu", data=data())
    assert "\n" not in str(caught.value)


def test_another_run_in_the_folder(tmp_path: Path) -> None:
    run.train(settings(images=32), tmp_path / "run", device="cpu", data=data())
    with pytest.raises(ConfigError, match="holds another run"):
        run.train(settings(images=32, batch=8), tmp_path / "run", device="cpu", data=data())
    (tmp_path / "run" / "config.json").write_text("{")
    with pytest.raises((ConfigError, WeightsError), match=r"config\.json"):
        run.train(settings(images=32), tmp_path / "run", device="cpu", data=data())


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def member(rank: int, port: int, folder: str) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    processes.join("cpu")
    weights = [
        torch.nn.Parameter(torch.zeros(2, 3)),
        torch.nn.Parameter(torch.zeros(4)),
        torch.nn.Parameter(torch.zeros(1)),
    ]
    weights[0].grad = torch.full((2, 3), 1.0 + rank).t().contiguous().t()
    weights[1].grad = torch.arange(4.0) * (1 + 2 * rank)
    processes.average_gradients(weights)
    answer = [processes.rank(), processes.world(), processes.any_process(rank == 1), processes.any_process(False)]
    gradients = [None if weight.grad is None else weight.grad.tolist() for weight in weights]
    Path(folder, f"{rank}.json").write_text(json.dumps([answer, gradients]))
    processes.leave()


def test_gradients_become_their_mean(tmp_path: Path) -> None:
    mp.spawn(member, (free_port(), str(tmp_path)), nprocs=2)
    for rank in range(2):
        answer, gradients = json.loads((tmp_path / f"{rank}.json").read_text())
        assert answer == [rank, 2, True, False]
        assert gradients == [[[1.5] * 3] * 2, [0, 2, 4, 6], None]


def test_torchrun_trains_one_model(tmp_path: Path) -> None:
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        str(free_port()),
    ]
    train = ["-m", "sfumato", "train", "ddpm", "--task", "inpainting", "--images", "128", "--device", "cpu"]
    tiny = [
        "--set",
        "data.train=64",
        "--set",
        "budget.batch=16",
        "--set",
        "family.width=4",
        "--out",
        str(tmp_path / "run"),
    ]
    done = subprocess.run([*torchrun, *train, *tiny], env=environment(), capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr
    ledger = json.loads((tmp_path / "run" / "ledger.json").read_text())
    assert (ledger["images"], ledger["processes"], ledger["turns"]) == (128, 2, {"denoiser": 8})
    weights = load_file(tmp_path / "run" / "model.safetensors")
    assert all(bool(value.isfinite().all()) for value in weights.values())
    assert run.load(tmp_path / "run").ledger.images == 128


WANTED = {"a": torch.zeros(2, 3), "b": torch.zeros(4, dtype=torch.int64)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"a": None}, "the file lacks a"),
        ({"c": torch.zeros(1)}, "has, beyond what its settings ask for, c"),
        ({"a": torch.zeros(3, 2)}, r"a is \(3, 2\) of float32, where \(2, 3\) of float32 is needed"),
        ({"a": torch.zeros(2, 3, dtype=torch.int32)}, r"a is \(2, 3\) of int32"),
        ({"a": torch.full((2, 3), float("nan"))}, "a holds numbers that are not finite"),
        ({"b": torch.zeros(4)}, r"b is \(4,\) of float32, where \(4,\) of int64"),
    ],
)
def test_tensors_of_a_file_are_held_against_those_they_replace(change: dict[str, Any], words: str) -> None:
    require_fit(WANTED, WANTED, "the file")
    found = {name: value for name, value in {**WANTED, **change}.items() if value is not None}
    with pytest.raises(WeightsError, match=words):
        require_fit(found, WANTED, "the file")


@pytest.mark.parametrize(
    ("prefix", "change", "words"),
    [
        ("optimizer.denoiser.", lambda value: None, "lacks the state of the optimiser of denoiser"),
        ("optimizer.denoiser.0.exp_avg", lambda value: value.flatten()[:-1], "where .* is needed"),
        ("optimizer.denoiser.0.exp_avg", lambda value: value * float("nan"), "not finite"),
        ("optimizer.denoiser.0.step", lambda value: None, "lacks step of weight 0"),
        ("family.", lambda value: value * float("inf"), "not finite"),
        ("average.", lambda value: value * float("nan"), "its average: .* not finite"),
        ("average.", lambda value: None, "an average of another training"),
    ],
)
def test_a_damaged_checkpoint_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str, change: Any, words: str
) -> None:
    stopped(tmp_path / "r", monkeypatch)
    (state,) = (tmp_path / "r").glob("checkpoint-*/state.safetensors")
    tensors = {
        name: change(value) if name.startswith(prefix) and value.is_floating_point() else value
        for name, value in load_tensors(state).items()
    }
    save_tensors({name: value for name, value in tensors.items() if value is not None}, state)
    with pytest.raises(WeightsError, match=words):
        run.train(settings(), tmp_path / "r", device="cpu", data=data())


def test_a_deeply_nested_checkpoint_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(tmp_path / "r", monkeypatch)
    (state,) = (tmp_path / "r").glob("checkpoint-*/state.json")
    state.write_text('{"ledger": ' + "[" * 100_000 + "]" * 100_000 + "}")
    with pytest.raises(WeightsError, match="remove that folder to start again"):
        run.train(settings(), tmp_path / "r", device="cpu", data=data())


@pytest.mark.parametrize("progress", [{"stage": "0"}, {"fitted": 1.5}, {"position": [1]}, {"unknown": 1}])
def test_progress_of_another_type_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, progress: dict[str, Any]
) -> None:
    stopped(tmp_path / "r", monkeypatch)
    (state,) = (tmp_path / "r").glob("checkpoint-*/state.json")
    told = json.loads(state.read_text())
    state.write_text(json.dumps({**told, "progress": {**told["progress"], **progress}}))
    with pytest.raises(WeightsError, match="cannot be used"):
        run.train(settings(), tmp_path / "r", device="cpu", data=data())
