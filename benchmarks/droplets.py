"""Droplets: how far the loudest pixel of a generator's maps stands above the middling one.

    python -m benchmarks.droplets RUN RUN ...

AdaIN divides each map by its own deviation, which a generator can fool by one pixel as loud as all others together; it shows
as a blob like a drop of water in the maps, and in the images from 128 pixels on (Karras et al., 2020, StyleGAN2, figure 1). Of
each layer's maps: the largest absolute value over the median one, of each map and image; the median over both.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sfumato.networks.condition import Condition
from sfumato.networks.equalised import Conv
from sfumato.networks.stylegan2 import Modulated
from sfumato.streams import stream
from sfumato.training.run import load

IMAGES = 64


def peaks(family: Any) -> list[float]:
    """One figure a convolution of the generator, coarse ones first."""
    found: list[float] = []

    def look(module: nn.Module, inputs: Any, maps: Tensor) -> None:
        x = maps.flatten(2).abs().float()
        found.append(float((x.amax(2) / x.median(2).values.clamp(min=1e-6)).median()))

    kinds = (Modulated,) if any(isinstance(m, Modulated) for m in family.generator.modules()) else (Conv,)
    hooks = [
        module.register_forward_hook(look)
        for module in family.generator.modules()
        if isinstance(module, kinds) and getattr(module, "v", getattr(module, "conv", module).v).shape[-1] > 1
    ]
    rng = stream(0, "droplets")
    label = family.untold(IMAGES, rng) if family.labelled else None
    with torch.no_grad():
        family.eval().draw(IMAGES, Condition(label=label), family.spec.size, rng)
    for hook in hooks:
        hook.remove()
    return found


def main(folders: list[str]) -> None:
    """A line a run."""
    for folder in folders:
        family = load(Path(folder)).family
        print(f"{folder} ({family.config.kind}): " + ", ".join(f"{peak:.1f}" for peak in peaks(family)))


if __name__ == "__main__":
    main(sys.argv[1:])
