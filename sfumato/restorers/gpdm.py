"""GPDM as an in-painter: the pixels of a hole, moved until the patches over it have the law of the known ones."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from sfumato.config import Strict
from sfumato.families.descent import descend
from sfumato.families.scales import at, ladder, resized
from sfumato.images import Images, to_float, to_uint8
from sfumato.maths.push_pull import push_pull
from sfumato.maths.sliced import apart, directions
from sfumato.restorers.base import Filler
from sfumato.streams import stream


class GPDMFill(Filler):
    """min over the hole of E_theta W_1(theta * patches that touch it, theta * patches that do not), coarse to fine.

    At the coarsest scale the hole begins as what surrounds it, carried smoothly inside.
    Reference: Elnekave and Weiss (2022), Generating natural images with direct patch distributions matching.
    """

    own_patches = True

    class Config(Strict):
        kind: Literal["gpdm"] = "gpdm"
        patch: int = Field(default=7, ge=1, le=31)
        """Rows and columns of a patch; less in a small picture."""
        projections: int = Field(default=64, ge=1, le=4096)
        """Random filters in each step."""
        coarsest: int = Field(default=21, ge=4)
        """The shorter side where it begins."""
        ratio: float = Field(default=0.75, gt=0.1, lt=1.0)
        """How much smaller each coarser scale is."""
        turns: int = Field(default=60, ge=1)
        """Steps at each scale."""
        rate: float = Field(default=0.03, gt=0.0)
        """The step of Adam, on the scale of images."""

    reach = 64

    def fill(self, picture: NDArray[np.uint8], hole: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """One picture."""
        config, rng = self.config, stream(0, "gpdm")
        x = to_float(torch.from_numpy(picture).permute(2, 0, 1)[None])
        gone = torch.from_numpy(hole).float()[None, None]
        smooth = push_pull(x, 1 - gone)
        made: Images | None = None
        for factor in ladder((hole.shape[0], hole.shape[1]), config.coarsest, config.ratio):
            size = at((hole.shape[0], hole.shape[1]), factor, 1)
            side = min(config.patch, *size)
            now, part = resized(smooth, size), F.adaptive_max_pool2d(gone, size)
            touched = F.max_pool2d(part, side, 1)[0, 0] > 0
            start = now if made is None else resized(made, size)
            made = torch.where(part > 0, start, now)
            if not bool(touched.any()) or not bool((~touched).any()):
                continue

            def loss(
                v: Images, now: Tensor = now, part: Tensor = part, touched: Tensor = touched, side: int = side
            ) -> Float[Tensor, ""]:
                filters = directions(config.projections, v.shape[1] * side**2, rng).view(-1, v.shape[1], side, side)
                rows = F.conv2d(torch.where(part > 0, v, now), filters)[0]
                return apart(rows[:, touched], rows[:, ~touched].detach(), power=1).mean()

            made = torch.where(part > 0, descend(made, loss, config.turns, config.rate, lambda done: None), now)
        return to_uint8(x if made is None else torch.where(gone > 0, made, x))[0].permute(1, 2, 0).numpy()
