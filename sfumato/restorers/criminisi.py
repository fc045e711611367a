"""Criminisi: a hole filled patch by patch from its rim inwards, where an edge runs into it first."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from sfumato.config import Strict
from sfumato.images import Images, to_float, to_uint8
from sfumato.restorers.base import Filler

SOURCES = 40_000  # known patches at most; of more, every so many
FLAT = 1e-3  # what a rim without any edge counts, beside an edge's 1


class Criminisi(Filler):
    """Again and again: the patch of the largest C D on the rim takes its unknown pixels from the most alike known patch.

    C is the mean confidence of the patch (1 where it is known, what its centre had where it was filled), D how strongly an
    isophote runs into the hole there: |rotated gradient . normal of the rim|. Alike is judged by what is known of the
    patch.
    Reference: Criminisi, Perez and Toyama (2004), Region filling and object removal by exemplar-based image inpainting.
    """

    own_patches = True

    class Config(Strict):
        kind: Literal["criminisi"] = "criminisi"
        patch: int = Field(default=9, ge=3, le=31)
        """Rows and columns of a patch, an odd number; less in a small picture."""

    reach = 96

    def fill(self, picture: NDArray[np.uint8], hole: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """One picture."""
        rows, columns = hole.shape
        half = max((min(self.config.patch, rows, columns) - 1) // 2, 0)
        side = 2 * half + 1
        x = to_float(torch.from_numpy(picture).permute(2, 0, 1)[None])
        gone = torch.from_numpy(hole).clone()
        whole = F.max_pool2d(gone.float()[None, None], side, 1)[0, 0] == 0
        corners = whole.nonzero()
        if not len(corners):  # no patch is known altogether: pixels are the patches
            half, side, corners = 0, 1, (~gone).nonzero()
        corners = corners[:: max(len(corners) // SOURCES, 1)]
        views = x[0].unfold(1, side, 1).unfold(2, side, 1)
        sources = views[:, corners[:, 0], corners[:, 1]].permute(1, 0, 2, 3).flatten(1)
        squares = sources.square()
        confidence = (~gone).float()
        wide = (half, half, half, half)
        x = F.pad(x, wide, mode="replicate")
        gone = F.pad(gone.float()[None, None], wide, mode="replicate")[0, 0] > 0  # what lies beyond is as unknown
        confidence = F.pad(confidence, wide)
        inner = slice(half, half + rows), slice(half, half + columns)
        while bool(gone[inner].any()):
            row, column = self.first(x, gone, confidence, side, inner)
            at = slice(row - half, row + half + 1), slice(column - half, column + half + 1)
            missing = gone[at]
            told = (~missing).float()[None].expand(x.shape[1], -1, -1).flatten()
            wanted = x[(0, slice(None), *at)].flatten()
            best = int((squares @ told - 2 * sources @ (told * wanted)).argmin())
            patch = sources[best].view(x.shape[1], side, side)
            mean = float(confidence[at].mean())
            x[(0, slice(None), *at)] = torch.where(missing, patch, x[(0, slice(None), *at)])
            confidence[at] = torch.where(missing, mean, confidence[at])
            gone[at] = False
        return to_uint8(x[(..., *inner)])[0].permute(1, 2, 0).numpy()

    @staticmethod
    def first(
        x: Images,
        gone: Bool[Tensor, "h w"],
        confidence: Float[Tensor, "h w"],
        side: int,
        inner: tuple[slice, slice],
    ) -> tuple[int, int]:
        """The place on the rim, inside the picture, to be filled first."""
        inside = gone.float()[None, None]
        own = torch.zeros_like(gone)
        own[inner] = gone[inner]
        least = -F.max_pool2d(-F.pad(inside, (1, 1, 1, 1), value=1.0), 3, 1)[0, 0]  # of what is around a pixel
        ring: Int64[Tensor, "n 2"] = (own & (least < 1)).nonzero()
        if not len(ring):
            ring = own.nonzero()
        grey = torch.where(gone, 0.0, x[0].mean(0))
        down, across = torch.zeros_like(grey), torch.zeros_like(grey)
        down[1:-1], across[:, 1:-1] = (grey[2:] - grey[:-2]) / 2, (grey[:, 2:] - grey[:, :-2]) / 2
        near = F.max_pool2d(inside, 3, 1, 1)[0, 0] > 0  # gradients that touch what is unknown say nothing
        down, across = torch.where(near, 0.0, down), torch.where(near, 0.0, across)
        power = F.max_pool2d((down.square() + across.square())[None, None], side, 1, side // 2)[0, 0].sqrt()
        normal_down, normal_across = torch.zeros_like(grey), torch.zeros_like(grey)
        flat = inside[0, 0]
        normal_down[1:-1], normal_across[:, 1:-1] = (flat[2:] - flat[:-2]) / 2, (flat[:, 2:] - flat[:, :-2]) / 2
        mean = F.avg_pool2d(torch.stack([down, across])[None], side, 1, side // 2)[0]
        length = mean.square().sum(0).sqrt().clamp(min=1e-9)
        steep = (normal_down.square() + normal_across.square()).sqrt().clamp(min=1e-9)
        # An isophote runs across the gradient
        crossing = (normal_across * mean[0] - normal_down * mean[1]).abs() / (length * steep)
        sure = F.avg_pool2d(confidence[None, None], side, 1, side // 2)[0, 0]
        priority = (sure * (power * crossing + FLAT))[ring[:, 0], ring[:, 1]]
        row, column = ring[int(priority.argmax())].tolist()
        return row, column
