"""Holes of 200 pixels in photographs that the packaged model never saw: it, and classical in-painters, at full size.

    python -m benchmarks.photograph_holes photographs/ [MODEL ...]

Twelve holes in each photograph of the parts `validation` and `test`. Prints the mean absolute error in the holes, in levels of
255; MIND on lite0 features of the 400 pixels around each hole, made half as large; and seconds a hole.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import sfumato
from sfumato.data.folder import files
from sfumato.images import from_pil as from_picture
from sfumato.images import open_picture, to_pil
from sfumato.restorers.answerer import Answerer, chosen
from sfumato.restorers.picture import restore_picture
from sfumato.restorers.tiled_fill import Answer, fill_tiled
from sfumato.streams import stream
from sfumato.tasks.operators import Masking

SIDE, ROOM, EACH, SHOWN = 200, 800, 12, 200
SMALL = "@64"  # after a name: at 64 x 64, with the same texture as a model's fills


def views(folder: Path) -> list[Tensor]:
    """Squares of ROOM pixels with the place of a hole in their middle."""
    found = []
    for part in ("validation", "test"):
        for path in files(folder / part)[0]:
            pixels = from_picture(open_picture(path), 3)
            if min(pixels.shape[1:]) < ROOM:
                continue
            rng = stream(0, "holes", path.name)
            for _ in range(EACH):
                top, left = (int(torch.randint(0, side - ROOM + 1, (), generator=rng)) for side in pixels.shape[1:])
                found.append(pixels[:, top : top + ROOM, left : left + ROOM])
    return found


def around(x: Tensor) -> Tensor:
    """What is around the hole, smaller."""
    first = ROOM // 2 - SIDE
    part = x[:, first : first + 2 * SIDE, first : first + 2 * SIDE].float()[None]
    return F.interpolate(part, (SHOWN, SHOWN), mode="area")[0].round().to(torch.uint8)


def at_small_size(answerer: Answerer) -> Answer:
    """What a classical in-painter says of a small part, as a model would be asked."""
    return lambda part, unknown, number: answerer.answer(
        part[None], Masking(1.0 - unknown.float()[None, None]), 0.0, 0
    )[0]


def main(folder: str, *models: str) -> None:
    """Print a row for each model."""
    true = views(Path(folder))
    hole = torch.zeros(ROOM, ROOM, dtype=torch.uint8)
    first = (ROOM - SIDE) // 2
    hole[first : first + SIDE, first : first + SIDE] = 255
    print(f"| {len(true)} holes | L1 | MIND-lite0-b4 | s a hole |\n|---|---|---|---|")
    sheets = [torch.stack([around(x) for x in true])]
    for name in models or ("", "telea", "navier_stokes", "mean_fill", "telea@64", "biharmonic@64"):
        answerer = chosen(name.removesuffix(SMALL) or None, fills=True, scale=None)
        start = time.perf_counter()
        if name.endswith(SMALL):
            made = [fill_tiled(x, hole > 0, (64, 64), at_small_size(answerer))[0] for x in true]
        else:
            made = [restore_picture(x, answerer, mask=hole).pixels for x in true]
        seconds = (time.perf_counter() - start) / len(true)
        error = np.mean(
            [float((a.float() - b.float())[:, hole > 0].abs().mean()) for a, b in zip(made, true, strict=True)]
        )
        sheets.append(torch.stack([around(x) for x in made]))
        found = sfumato.compare(sheets[-1], sheets[0], "mind", features={"kind": "lite0", "layer": "b4"})
        value = found.score("MIND-lite0-b4").value
        print(f"| {name or answerer.called} | {error:.1f} | {value:.3g} | {seconds:.2f} |", flush=True)
    chosen_ones = torch.linspace(0, len(true) - 1, 12).long()
    sheet = torch.cat([torch.cat(list(rows[chosen_ones]), 2) for rows in sheets], 1)
    to_pil(sheet).save("photograph-holes.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
