"""EQ-T of untrained generators, and of runs: how much of an image moves when it is told to.

python -m benchmarks.equivariance             StyleGAN2 with plane waves and StyleGAN3, at 16 and 32 pixels, as they begin
python -m benchmarks.equivariance RUN ...     trained ones
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from sfumato.data.base import DataSpec
from sfumato.families.stylegan2 import StyleGAN2
from sfumato.families.stylegan3 import StyleGAN3
from sfumato.metrics.equivariance import Equivariance
from sfumato.networks.condition import NOTHING
from sfumato.streams import stream
from sfumato.training.run import load, make_family

IMAGES, SETTLING = 100, 40  # latent vectors; passes before, in which the running magnitudes begin to settle


def told(name: str, family: Any) -> None:
    """A line."""
    found = Equivariance(Equivariance.Config(images=IMAGES)).measure_model(family.eval(), None, seed=0, batch=50)  # type: ignore[arg-type]
    said = [f"{score.value:.1f} dB ({score.low:.1f} to {score.high:.1f})" for score in found]
    print(f"{name}: EQ-T {said[0] if said else 'not defined: it cannot be told to move'}", flush=True)


def begun(config: Any, size: int) -> Any:
    """A generator whose magnitudes have settled, but whose weights are as they were drawn."""
    family: Any = make_family(config, DataSpec(channels=3, size=size), 0).train()
    with torch.no_grad():
        for i in range(SETTLING):
            family.decode(family.latent(16, stream(0, "settle", i)), NOTHING)
    return family


def main(folders: list[str]) -> None:
    """All lines."""
    for folder in folders:
        told(folder, load(Path(folder)).family)
    for size in () if folders else (16, 32):
        for name, config in (
            ("StyleGAN2", StyleGAN2.Config(width=16)),
            ("StyleGAN2 with waves", StyleGAN2.Config(width=16, network={"kind": "stylegan2", "waves": True})),
            ("StyleGAN3-T", StyleGAN3.Config(width=16)),
            ("StyleGAN3-T, margin 10", StyleGAN3.Config(width=16, network={"kind": "stylegan3", "margin": 10})),
            ("StyleGAN3-R", StyleGAN3.Config(width=16, network={"kind": "stylegan3", "rotates": True})),
        ):
            told(f"{name}, {size} pixels", begun(config, size))


if __name__ == "__main__":
    main(sys.argv[1:])
