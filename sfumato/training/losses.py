"""Losses: gathered on the device, read now and then, written to losses.jsonl; one that is not finite ends the training."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sfumato.errors import DivergedError
from sfumato.files import write_atomic

NAME = "losses.jsonl"


class Losses:
    """Sums of loss terms since the last look; reading them waits for the device, so it is done seldom."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def note(self, name: str, value: Tensor) -> None:
        """Add one value of a term."""
        self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._counts[name] = self._counts.get(name, 0) + 1

    def held(self) -> dict[str, tuple[float, int]]:
        """Sums and counts since the last look, for a checkpoint: a look that comes after it is one over all of them."""
        return {name: (float(value), self._counts[name]) for name, value in self._sums.items()}

    def hold(self, sums: Mapping[str, tuple[float, int]], device: torch.device) -> None:
        """Go on from what a checkpoint held."""
        self._sums = {name: torch.tensor(value, device=device) for name, (value, _) in sums.items()}
        self._counts = {name: count for name, (_, count) in sums.items()}

    def means(self, images: int, forget: bool = True) -> dict[str, float]:
        """The mean of each term since the last call that forgot.

        Raises: DivergedError: one of them is not finite.
        """
        means = {name: float(value) / self._counts[name] for name, value in self._sums.items()}
        if forget:
            self._sums, self._counts = {}, {}
        for name, mean in means.items():
            if not math.isfinite(mean):
                raise DivergedError(
                    f"the loss {name} became {mean} after {images:,} images; lower the learning rate or "
                    "set a gradient limit (optimizer.clip)"
                )
        return means


def append(folder: Path, images: int, seconds: float, means: dict[str, float]) -> None:
    """Add a line, unless there is nothing to say."""
    if not means:
        return
    folder.mkdir(parents=True, exist_ok=True)
    line = json.dumps({"images": images, "seconds": round(seconds, 3), **means})
    with (folder / NAME).open("a") as file:
        file.write(line + "\n")


def cut(folder: Path, images: int) -> None:
    """Forget lines after a checkpoint, which the resumed training will write again, and a last one that was torn."""
    path = folder / NAME
    if path.is_file():
        kept = [line for line in read(path) if line["images"] <= images]
        write_atomic(path, "".join(json.dumps(line) + "\n" for line in kept))


def read(path: Path) -> list[dict[str, Any]]:
    """The lines that are whole."""
    lines = []
    for text in path.read_text(errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("images"), int):
            lines.append(line)
    return lines
