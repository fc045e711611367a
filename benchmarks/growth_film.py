"""A film of growing up: the same latent vectors at every stage of a progressive training, and a strip of them.

    python -m benchmarks.growth_film cifar10.npz [progressive_gan] [24000]      docs/images/growth.webp, growth.png

32 x 32; each frame is drawn by the weights as they are, so that blocks can be seen fading in.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sfumato.data.base import Source
from sfumato.families.base import Family
from sfumato.images import grid, to_uint8, write_picture
from sfumato.kinds import build, parse
from sfumato.latents.films import write_film
from sfumato.networks.condition import NOTHING
from sfumato.streams import stream
from sfumato.tasks.generation import Generation
from sfumato.training.budget import Budget
from sfumato.training.run import make_family
from sfumato.training.trainer import Trainer

OUT = Path(__file__).parents[1] / "docs" / "images"
IMAGES, FRAMES, STRIP, SIDE = 12, 60, 10, 64


def main(path: str, kind: str = "progressive_gan", images: str = "24000") -> None:
    """Train, and look now and then."""
    data = build(parse(Source, {"kind": "npz", "path": path, "train": 9_000, "test": 500})).load()
    family: Any = make_family(parse(Family, {"kind": kind, "width": 16}), data.spec, 0)
    budget = Budget(images=int(images), batch=32, flip=True)
    frames: list[Tensor] = []
    every = budget.images // FRAMES

    def look(ledger: Any, means: Mapping[str, float]) -> None:
        if ledger.images >= every * len(frames):
            family.eval()
            with torch.no_grad():
                made = family.decode(family.latent(IMAGES, stream(0, "film")), NOTHING).clamp(-1, 1)
            family.train()
            large = (
                to_uint8(made).repeat_interleave(SIDE // made.shape[-1], 2).repeat_interleave(SIDE // made.shape[-1], 3)
            )
            frames.append(large.cpu())

    trainer = Trainer(family, Generation(Generation.Config()), budget, seed=0, watch=look)
    trainer.log_rounds = 4
    trainer.run(data.train)
    write_film([grid(frame, columns=4) for frame in frames], OUT / "growth.webp", 120)
    chosen = [frames[round(i * (len(frames) - 1) / (STRIP - 1))] for i in range(STRIP)]
    write_picture(grid(torch.stack(chosen, 1)[:5].flatten(0, 1), columns=STRIP), OUT / "growth.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
