"""Denoising films: what a walk believes the images to be, from noise to the end; two images a row of each training.

python -m benchmarks.films runs/a/runs/ddpm--... runs/b/runs/ncsn--...      docs/images/films.png, a pair of rows for each
"""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sfumato.images import grid, to_uint8, write_picture
from sfumato.networks.condition import NOTHING
from sfumato.streams import stream
from sfumato.training.run import load

FRAMES, IMAGES, SCALE = 12, 2, 3
OUT = Path(__file__).parents[1] / "docs" / "images" / "films.png"


def film(folder: str) -> Tensor:
    """[IMAGES, FRAMES + 1, C, H, W]: expected clean images at equally many calls, and the end."""
    family: Any = load(folder).family
    seen: list[Tensor] = []
    end = family.walk(IMAGES, NOTHING, family.spec.size, stream(1, "film"), see=lambda t, x_0: seen.append(x_0))
    places = [round(i * (len(seen) - 1) / (FRAMES - 1)) for i in range(FRAMES)]
    return torch.stack([*(seen[place] for place in places), end], 1)


def main(folders: list[str]) -> None:
    """All films below one another."""
    with torch.no_grad():
        films = [film(folder) for folder in folders]
    write_picture(grid(to_uint8(torch.cat(films).flatten(0, 1)), columns=FRAMES + 1, scale=SCALE), OUT)


if __name__ == "__main__":
    main(sys.argv[1:])
