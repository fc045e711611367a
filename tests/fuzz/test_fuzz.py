"""Seeded damages of many kinds of input, through the command line: a result or a line, no fault of ours.

A case is right when it ends with code 0, or with code 2 and one line that is not longer than a few hundred characters, in
less than 2 GiB more memory, and leaves no temporary file. A fault of sfumato itself ends with code 1; a crash or a hang is
seen from outside (`worker.py`). `FUZZ_CASES`, `FUZZ_FIRST`, `FUZZ_SEED` and `FUZZ_KINDS` choose how many and which.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sfumato.config import load, override, read
from sfumato.errors import Interrupted
from sfumato.training.run import RunConfig, train
from sfumato.training.state import Watch

from . import arrays as a
from . import mutators as m
from .worker import Worker, call

CASES, FIRST, SEED = (
    int(os.environ.get(f"FUZZ_{name}", value)) for name, value in (("CASES", "3000"), ("FIRST", "0"), ("SEED", "0"))
)
STUDY = """{"title": "t", "data": {"kind": "npz", "path": "set.npz"}, "tasks": ["inpainting"], "seeds": [0],
"budget": {"images": 16, "batch": 8}, "metrics": ["l1", {"kind": "frechet", "features": {"kind": "lite0", "layer": "b4"}}],
"methods": [{"name": "Telea", "restorer": "telea"}, {"name": "Mean", "restorer": {"kind": "mean_fill"}}]}"""
ONLY = os.environ.get("FUZZ_KINDS", "")
MEMORY = 2048  # MiB
STATS = ["--features", "lite0", "--set", "features.layer=b4"]
SETS, SAMPLE = (
    ["set.npz:images", "set.npz:test_images"],
    ["sample", "run", "-n", "2", "--out", "o.png", "--device", "cpu"],
)
FILL = ["restore", "p.png", "--mask", "m.png", "--out", "o.png", "--model"]
AGAIN = ["train", "--config", "half/config.json", "--out", "half", "--device", "cpu"]
SHAPE = [m.deep, m.unwrapped]
TINY = [
    "train",
    "ddpm",
    "--set",
    "data={kind='npz',path='set.npz'}",
    "--set",
    "family.width=4",
    "--set",
    "budget.batch=8",
]
TINY += ["--images", "16", "--device", "cpu"]
FIT = ("weights", "checkpoint")  # whose tensors have to be those that are wanted, or are refused
THEN = {"checkpoint": ["sample", "half", "-n", "2", "--out", "o.png"]}  # what has to work where the command did
KINDS: dict[str, tuple[str, list[Any], list[str]]] = {  # the file or folder, its mutators, the command
    "picture": ("p.png", [m.chunk, m.redrawn] * 4 + m.BYTES, [*FILL, "mean_fill"]),
    "jpeg": (
        "p.jpg",
        [m.redrawn] * 4 + m.BYTES,
        ["restore", "p.jpg", "--scale", "2", "--model", "bicubic", "--out", "o.png"],
    ),
    "mask": ("m.png", [m.chunk, m.redrawn] * 4 + m.BYTES, [*FILL, "telea"]),
    "npz": ("set.npz", [a.npz] * 3 + m.BYTES, ["evaluate", *SETS, "--metrics", "fd", *STATS, "--out", "e2"]),
    "study": ("s.json", [m.table] * 8 + SHAPE + m.BYTES, ["study", "s.json", "--out", "out", "--device", "cpu"]),
    "run": ("run/config.json", [m.table] * 8 + SHAPE + m.BYTES, SAMPLE),
    "spec": ("run/spec.json", [m.table] * 8 + SHAPE + m.BYTES, SAMPLE),
    "weights": ("run/model.safetensors", [a.tensors] * 2 + m.BYTES, SAMPLE),
    "evaluation": ("e/evaluation.json", [m.table] * 8 + SHAPE + m.BYTES, ["explain", "e", "e1", "--no-recompute"]),
    "checkpoint": ("half/checkpoint-*/state.safetensors", [a.tensors] * 2 + m.BYTES, AGAIN),
    "progress": ("half/checkpoint-*/state.json", [m.table] * 8 + SHAPE + m.BYTES, AGAIN),
    "folder": ("photos", m.FOLDER, ["evaluate", "photos", "set.npz:images", "--metrics", "fd", *STATS, "--out", "e2"]),
    "arguments": ("arguments.json", [m.table, m.overridden], []),
    "labels": ("set.npz", [a.npz], [*TINY, "--set", "family.labels=true", "--out", "run3"]),
    "statistics": (
        "s.safetensors",
        [a.tensors, a.metadata] * 4 + m.BYTES,
        ["evaluate", SETS[0], "s.safetensors", "--metrics", "fd", *STATS, "--out", "e2"],
    ),
}


SHORT = ["--images", "16", "--device", "cpu"]


def second_look() -> Watch:
    """Stops a training when it looks at its losses for the second time: it has a checkpoint then."""
    looks = []

    def watch(ledger: Any, means: Any) -> None:
        looks.append(ledger)
        if len(looks) > 1:
            raise Interrupted("enough")

    return watch


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One good input of every kind."""
    place = tmp_path_factory.mktemp("whole")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 12, 12, 3), dtype=np.uint8)
    with contextlib.chdir(place):
        np.savez("set.npz", images=images, test_images=images[::-1][:20], labels=np.arange(40) % 3)
        Image.fromarray(rng.integers(0, 256, (24, 20, 4), dtype=np.uint8)).save("p.png", dpi=(72, 72))
        Image.fromarray(images[0]).save("p.jpg")
        hole = np.zeros((24, 20), np.uint8)
        hole[5:9, 6:12] = 255
        Image.fromarray(hole).save("m.png")
        Path("s.json").write_text(STUDY)
        tiny = ["--set", "data={kind='npz',path='set.npz'}", "--set", "family.width=4", "--set", "budget.batch=8"]
        good = [
            ["train", "ddpm", "--data", "npz", *tiny, "--images", "16", "--out", "run", "--device", "cpu"],
            ["evaluate", "set.npz:images", "set.npz:test_images", "--metrics", "l1,fd", *STATS, "--out", "e1"],
            ["stats", "set.npz:images", *STATS, "--out", "s.safetensors"],
        ]
        good[1][good[1].index("l1,fd")] = "fd"
        good.append([*good[1][:-1], "e", "-n", "30"])
        for arguments in good:
            code, said = call(arguments)
            assert code == 0, said
        Path("arguments.json").write_text(
            json.dumps(["train", "ddpm", "--data", "npz", *tiny, *SHORT, "--out", "run2"])
        )
        Path("photos").mkdir()
        for i, picture in enumerate(images[:20]):
            Image.fromarray(picture).save(f"photos/{i:02d}.png")
        half = {"budget.images": 64, "budget.save_every": 1e-9}
        config = override(read(Path("run/config.json")), [f"{name}={value}" for name, value in half.items()])
        with pytest.raises(Interrupted):
            train(load(RunConfig, config), "half", device="cpu", watch=second_look())
        copy = tmp_path_factory.mktemp("good") / "case"
        shutil.copytree(place, copy)
    with contextlib.chdir(copy):
        for kind, (_, _, command) in KINDS.items():
            code, said = call(command or json.loads(Path("arguments.json").read_text()))
            assert code == 0, f"{kind}, undamaged: {said}"
    return place


@pytest.mark.slow
def test_damaged_inputs_end_in_a_result_or_in_a_line(whole: Path, tmp_path: Path) -> None:
    wrong: list[str] = []
    ended: Counter[str] = Counter()
    kinds = sorted(kind for kind in KINDS if not ONLY or kind in ONLY.split(","))
    worker = Worker()
    for case in range(FIRST, FIRST + CASES):
        rng = random.Random(SEED * 1_000_003 + case)
        kind = kinds[case % len(kinds)]
        name, known, command = KINDS[kind]
        place = tmp_path / "case"
        shutil.copytree(whole, place)
        mutator = rng.choice(known)
        path = next(place.glob(name))
        misfit = False
        if path.is_dir():
            mutator(path, rng)
        else:
            was = path.read_bytes()
            path.write_bytes(mutator(was, rng))
            misfit = kind in FIT and mutator is a.tensors and not a.alike(was, path.read_bytes())
        before = set(place.rglob("*"))
        code, said, memory = worker.run(place, command or _arguments(path))
        left = [path.name for path in place.rglob("*") if path.suffix == ".tmp" or (code == 2 and path not in before)]
        if code == 0 and kind in THEN:
            code, said, _ = worker.run(place, THEN[kind])
            code = code and 100 + code
        lines = [line for line in said.splitlines() if line.startswith("sfumato: ")]
        ended[f"{kind} {code}"] += 1
        last = said.rstrip().splitlines()[-1:]
        lengthy = code == 2 and (lines != last or len(lines[0]) > 1200 or not lines[0].isprintable())
        if code not in ((2,) if misfit else (0, 2)) or lengthy or left or memory > MEMORY:
            told = " ".join(said.split())[-300:]
            wrong.append(f"case {case} ({kind}, {mutator.__name__}): code {code}, {memory} MiB, {told} {left}")
        shutil.rmtree(place)
    worker.close()
    print(dict(sorted(ended.items())))
    assert not wrong, f"{len(wrong)} of {CASES}:\n" + "\n".join(wrong[:40])


def _arguments(path: Path) -> list[str]:
    """A command from a list of its words, whatever they are."""
    try:
        words = [str(part).replace("\0", "") for part in json.loads(path.read_bytes())]
    except TypeError:
        return []
    endless = any(one == "--images" and len(other) > 6 for one, other in pairwise(words))
    return [*words, "--dry-run"] if endless else words
