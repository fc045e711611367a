"""Augmentation of what a critic sees: real and made images go through the same random changes, which gradients pass.

A critic that has few images learns them by heart; through changes that it cannot undo it has to look at what they share.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Generator, Tensor, nn

from sfumato.config import Strict
from sfumato.images import Images
from sfumato.kinds import Kind

Change = Literal["colour", "translation", "cutout"]


class Augmentation(Kind, nn.Module, ABC, root=True):
    """Random changes of images, differentiable; image i of each list member is changed in one way."""

    follows: bool = False
    """Whether it looks at the scores of real images, which then must be above 0 for what the critic calls real."""

    def __init__(self, config: Strict):
        super().__init__()
        self.config: Any = config

    @property
    @abstractmethod
    def changes(self) -> bool:
        """Whether it changes anything."""

    @abstractmethod
    def forward(self, images: list[Images], channels: int, rng: Generator) -> list[Images]:
        """The same changes on each of several [B, C, H, W]; colours only on the first `channels` channels."""

    def look(self, real: Float[Tensor, " B"], progress: float) -> None:
        """Take in the scores of real images as the critic saw them."""

    def gauges(self) -> Mapping[str, Tensor]:
        """What stands in the logs beside the losses."""
        return {}


class DiffAugment(Augmentation):
    """The changes, applied in the order given; each image has its own, and its twin and its condition have the same.

    Reference: Zhao et al. (2020), Differentiable augmentation for data-efficient GAN training.
    """

    class Config(Strict):
        kind: Literal["diffaugment"] = "diffaugment"
        changes: tuple[Change, ...] = ()
        """colour (brightness, saturation, contrast), translation (up to an eighth of a side), cutout (a square of half a
        side)."""
        share: float = Field(default=1.0, ge=0.0, le=1.0)
        """Share of the images that are changed at all."""

    @property
    def changes(self) -> bool:
        return bool(self.config.changes)

    def forward(self, images: list[Images], channels: int, rng: Generator) -> list[Images]:
        """The first is the one whose mean a contrast is about."""
        if not self.changes:
            return images
        n, device = len(images[0]), images[0].device
        chosen = torch.rand(n, 1, 1, 1, generator=rng, device=device) < self.config.share
        made = images
        for change in self.config.changes:
            made = CHANGES[change](made, channels, rng)
        return [torch.where(chosen, new, old) for new, old in zip(made, images, strict=True)]


def _colour(images: list[Images], channels: int, rng: Generator) -> list[Images]:
    """x + b, then saturation in [0, 2] about the grey of each pixel, then contrast in [0.5, 1.5] about the mean."""
    n, device = len(images[0]), images[0].device
    bright, grey, contrast = torch.rand(3, n, 1, 1, 1, generator=rng, device=device).unbind()
    answer = []
    for x in images:
        head = x[:, :channels] + (bright - 0.5)
        mean = head.mean(1, keepdim=True)
        head = (head - mean) * (2 * grey) + mean
        middle = head.mean((1, 2, 3), keepdim=True)
        answer.append(torch.cat([(head - middle) * (contrast + 0.5) + middle, x[:, channels:]], 1))
    return answer


def _translation(images: list[Images], channels: int, rng: Generator) -> list[Images]:
    """Moved by whole pixels, up to an eighth of each side; 0 comes in."""
    n, device = len(images[0]), images[0].device
    sides = images[0].shape[2:]
    rows, columns = (_shifted(n, side, rng, device) for side in sides)
    picture = torch.arange(n, device=device)[:, None, None]
    answer = []
    for x in images:
        padded = F.pad(x, (1, 1, 1, 1)).permute(0, 2, 3, 1)  # the border of 0 is what comes in
        answer.append(padded[picture, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2))
    return answer


def _shifted(n: int, side: int, rng: Generator, device: torch.device) -> Tensor:
    """Places to read from, in a picture with a border of one pixel."""
    most = max(side // 8, 1)
    shift = torch.randint(-most, most + 1, (n, 1), generator=rng, device=device)
    return (torch.arange(side, device=device)[None] + shift + 1).clamp(0, side + 1)


def _cutout(images: list[Images], channels: int, rng: Generator) -> list[Images]:
    """A square of half the side becomes 0, anywhere, beyond the border too."""
    n, device = len(images[0]), images[0].device
    inside: list[Tensor] = []
    for side in images[0].shape[2:]:
        half = max(side // 4, 1)
        first = torch.randint(-half, side - half + 1, (n, 1), generator=rng, device=device)
        place = torch.arange(side, device=device)[None]
        inside.append((place >= first) & (place < first + 2 * half))
    rows, columns = inside
    return [x.masked_fill(rows[:, None, :, None] & columns[:, None, None, :], 0.0) for x in images]


CHANGES: dict[Change, Callable[[list[Images], int, Generator], list[Images]]] = {
    "colour": _colour,
    "translation": _translation,
    "cutout": _cutout,
}
