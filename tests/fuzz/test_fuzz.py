"""Seeded damages of ten kinds of input, through the command line in one process: a result or a line, no fault of ours.

A case is right when it ends with code 0, or with code 2 and one line that is not longer than a few hundred characters. A
fault of sfumato itself ends with code 1. `FUZZ_CASES`, `FUZZ_FIRST` and `FUZZ_SEED` choose how many and which.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sfumato.cli import main

from . import mutators as m

CASES, FIRST, SEED = (
    int(os.environ.get(f"FUZZ_{name}", value)) for name, value in (("CASES", "3000"), ("FIRST", "0"), ("SEED", "0"))
)
STUDY = """{"title": "t", "data": {"kind": "npz", "path": "set.npz"}, "tasks": ["inpainting"], "seeds": [0],
"budget": {"images": 16, "batch": 8}, "metrics": ["l1", {"kind": "frechet", "features": {"kind": "lite0", "layer": "b4"}}],
"methods": [{"name": "Telea", "restorer": "telea"}, {"name": "Mean", "restorer": {"kind": "mean_fill"}}]}"""
STATS = ["--features", "lite0", "--set", "features.layer=b4"]
SETS, SAMPLE = (
    ["set.npz:images", "set.npz:test_images"],
    ["sample", "run", "-n", "2", "--out", "o.png", "--device", "cpu"],
)
FILL = ["restore", "p.png", "--mask", "m.png", "--out", "o.png", "--model"]
KINDS: dict[str, tuple[str, list[Any], list[str]]] = {  # the file, its mutators, the command
    "picture": ("p.png", m.BYTES, [*FILL, "telea"]),
    "jpeg": ("p.jpg", m.BYTES, ["restore", "p.jpg", "--scale", "2", "--model", "bicubic", "--out", "o.png"]),
    "mask": ("m.png", m.BYTES, [*FILL, "mean_fill"]),
    "npz": ("set.npz", [m.npz] * 3 + m.BYTES, ["evaluate", *SETS, "--metrics", "fd", *STATS, "--out", "e2"]),
    "study": ("s.json", [m.table] * 3 + m.BYTES, ["study", "s.json", "--out", "out", "--device", "cpu"]),
    "run": ("run/config.json", [m.table] * 3 + m.BYTES, SAMPLE),
    "spec": ("run/spec.json", [m.table] * 2 + m.BYTES, SAMPLE),
    "weights": ("run/model.safetensors", [m.tensors] * 2 + m.BYTES, SAMPLE),
    "evaluation": ("e/evaluation.json", [m.table] * 2 + m.BYTES, ["explain", "e", "e1", "--no-recompute"]),
    "statistics": (
        "s.safetensors",
        [m.tensors, *m.BYTES],
        ["evaluate", SETS[0], "s.safetensors", "--metrics", "fd", *STATS, "--out", "e2"],
    ),
}


def call(arguments: list[str]) -> tuple[int, str]:
    """The exit code of a command, and what it said on stderr."""
    said, code = io.StringIO(), 0
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            main(arguments)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        except BaseException as error:
            return 99, repr(error)
    return code, said.getvalue()


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
        for arguments in good:
            code, said = call(arguments)
            assert code == 0, said
        shutil.copytree("e1", "e")
        copy = tmp_path_factory.mktemp("good") / "case"
        shutil.copytree(place, copy)
    with contextlib.chdir(copy):
        for kind, (_, _, command) in KINDS.items():
            code, said = call(command)
            assert code == 0, f"{kind}, undamaged: {said}"
    return place


@pytest.mark.slow
def test_damaged_inputs_end_in_a_result_or_in_a_line(whole: Path, tmp_path: Path) -> None:
    wrong: list[str] = []
    ended: Counter[str] = Counter()
    kinds = sorted(KINDS)
    for case in range(FIRST, FIRST + CASES):
        rng = random.Random(SEED * 1_000_003 + case)
        kind = kinds[case % len(kinds)]
        name, known, command = KINDS[kind]
        place = tmp_path / "case"
        shutil.copytree(whole, place)
        mutator = rng.choice(known)
        with contextlib.chdir(place):
            Path(name).write_bytes(mutator(Path(name).read_bytes(), rng))
            code, said = call(command)
            left = [str(path) for path in Path().rglob("*.tmp")]
        lines = [line for line in said.splitlines() if line.startswith("sfumato: ")]
        ended[f"{kind} {code}"] += 1
        if code not in (0, 2) or (code == 2 and (len(lines) != 1 or len(lines[0]) > 1200)) or left:
            wrong.append(
                f"case {case} ({kind}, {mutator.__name__}): code {code}, {' '.join(said.split())[-300:]} {left}"
            )
        shutil.rmtree(place)
    print(dict(sorted(ended.items())))
    assert not wrong, f"{len(wrong)} of {CASES}:\n" + "\n".join(wrong[:40])
