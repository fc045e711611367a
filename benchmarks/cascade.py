"""The parts of studies/cascade.toml and chain.toml: scenes at 16, 32 and 64 pixels, enlargers with noise and without.

python -m benchmarks.cascade scenes64.npz            into runs/parts; goes on where it was stopped
"""

import sys
from pathlib import Path
from typing import Any

import sfumato

OUT = Path("runs/parts")
DOUBLE = {"kind": "super_resolution", "scale": 2}
NOISE = {"family.conditioning_noise": 0.5}
SMALL: tuple[int, int, int] = (4, 14, 80_000)  # how many times smaller its pictures are, width, images
MIDDLE: tuple[int, int, int] = (2, 14, 40_000)
LARGE: tuple[int, int, int] = (1, 10, 40_000)
LEVELS = ("0", "0.1", "0.2")


def part(path: str, name: str, shape: tuple[int, int, int], task: Any, **more: Any) -> None:
    """Train one diffusion."""
    shrink, width, images = shape
    settings = {"budget.flip": True, "budget.batch": 16, "family.width": width, **more}
    sfumato.train("ddpm", data(path, shrink), task=task, images=images, settings=settings, out=OUT / name)


def data(path: str, shrink: int) -> dict[str, Any]:
    """The scenes, made smaller."""
    return {"kind": "npz", "path": path, "train": 7_800, "test": 500, "shrink": shrink}


def joined(path: str, name: str, upper: str, **more: Any) -> None:
    """The cascade from 16 to 32 pixels."""
    parts = {"parts.base": str(OUT / "small"), "parts.upper": str(OUT / upper)}
    sfumato.train("cascade", data(path, 2), settings={**parts, **more}, out=OUT / name)


def main(path: str) -> None:
    """All of them."""
    part(path, "small", SMALL, "generation")
    part(path, "middle", MIDDLE, DOUBLE, **NOISE)
    part(path, "large", LARGE, DOUBLE, **NOISE)
    part(path, "middle-plain", MIDDLE, DOUBLE)
    part(path, "large-plain", LARGE, DOUBLE)
    for level in LEVELS:
        joined(path, f"at-32-level-{level}", "middle", **{"family.conditioning_level": float(level)})
    joined(path, "at-32-plain", "middle-plain")


if __name__ == "__main__":
    main(sys.argv[1])
