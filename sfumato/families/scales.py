"""Scales of a texture synthesis: the sizes from coarse to fine of the exemplar and of what is made, in proportion."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor

from sfumato.families.texture import Texture, Watch, Wish
from sfumato.images import Images, Size


class Scale(NamedTuple):
    """One step of a synthesis from coarse to fine."""

    goal: Size
    """Of what is made."""
    u: Images
    """The exemplars, as small in proportion."""
    known: Float[Tensor, "K 1 h w"]
    """Where only what counts went into them."""
    watch: Watch
    """Is told the share of this scale that is done."""


def coarse_to_fine(model: Texture, wish: Wish, coarsest: int, ratio: float, least: int) -> Iterator[Scale]:
    """The scales of a wish, the last as large as it: the exemplar's shorter side is about `coarsest` first."""
    factors = ladder(model.spec.size, coarsest, ratio)
    for level, factor in enumerate(factors):
        size = at(model.spec.size, factor, least)
        watch = partial(_share, wish.watch, level, len(factors))
        yield Scale(at(wish.size, factor, least), resized(model.exemplars, size), counting(model.known, size), watch)


def _share(watch: Watch, level: int, levels: int, done: float) -> None:
    watch((level + done) / levels)


def noise_around(model: Texture, size: Size, sigma: float, rng: Generator) -> Images:
    """What the coarsest scale begins as: white noise around the mean colour of what counts."""
    mean = (model.exemplars * model.known).sum((0, 2, 3)) / model.known.sum()
    noise = torch.randn(1, len(mean), *size, generator=rng, device=rng.device)
    return mean[None, :, None, None] + sigma * noise


def ladder(size: Size, coarsest: int, ratio: float) -> list[float]:
    """Factors from coarse to fine, 1 last: the shorter side is about `coarsest` first, then 1 / ratio times as long each time.

    Example:
        >>> [round(factor, 2) for factor in ladder((64, 100), 16, 0.5)]
        [0.25, 0.5, 1.0]
    """
    steps = max(round(math.log(max(min(size) / coarsest, 1)) / -math.log(ratio)), 0)
    return [ratio**step for step in reversed(range(steps + 1))]


def at(size: Size, factor: float, least: int) -> Size:
    """A size at a scale, no side shorter than `least` unless the size itself is."""
    rows, columns = (max(round(side * factor), min(least, side)) for side in size)
    return rows, columns


def resized(x: Images, size: Size) -> Images:
    """Bicubic with antialiasing, as it is where the size is the same; not beyond [-1, 1]."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bicubic", antialias=True).clamp(-1, 1)


def counting(known: Float[Tensor, "K 1 H W"], size: Size) -> Float[Tensor, "K 1 h w"]:
    """Where only what counts went into a smaller picture."""
    return 1 - F.adaptive_max_pool2d(1 - known, tuple(size))
