"""Texto as an in-painter: the patch maps of what is known of a picture, over what is smooth or rough in its holes."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field

from sfumato.config import Strict
from sfumato.families.gaussian_field import field
from sfumato.families.texto import Texto, overlapped
from sfumato.images import Images, Known, to_float, to_uint8
from sfumato.maths.push_pull import push_pull
from sfumato.maths.regions import Box
from sfumato.restorers.base import Filler
from sfumato.restorers.synthesis import learnt


class TextoFill(Filler):
    """Learn the maps on the known part; then, coarse to fine, move all patches and put back what is known, some times a scale.

    At the coarsest scale the hole begins as the Gaussian field of the known part, moved smoothly until it meets what surrounds
    it. It takes the law of the patches as it is in all of the picture: for textures, and for
    photographs that are nearly one.
    References: Leclaire and Rabin (2021), section on texture inpainting; Galerne and Leclaire (2017) for the Gaussian start.
    """

    own_patches = True

    class Config(Strict):
        kind: Literal["texto"] = "texto"
        patch: int = Field(default=3, ge=2, le=15)
        """Rows and columns of a patch."""
        turns: int = Field(default=800, ge=1)
        """Turns of the ascent that learns a map, at each scale."""
        rounds: int = Field(default=4, ge=1, le=100)
        """Times that patches are moved at each scale."""

    reach = 96

    def fill(self, picture: NDArray[np.uint8], hole: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """One picture."""
        x = to_float(torch.from_numpy(picture).permute(2, 0, 1)[None])
        known = 1 - torch.from_numpy(hole).float()[None, None]
        model: Any = learnt(Texto.Config(patch=self.config.patch, turns=self.config.turns), x, 0, known=known)
        with torch.no_grad():
            made = completed(model, x, known, self.config.rounds)
        return to_uint8(torch.where(known > 0, x, made))[0].permute(1, 2, 0).numpy()


def completed(model: Texto, x: Images, known: Known, rounds: int) -> Images:
    """The picture, made coarse to fine of the model's patches where it is not known."""
    w, made = model.config.patch, x
    for s in reversed(range(model.scales)):
        now, there = (F.avg_pool2d(one, 1 << s) for one in (x * known, known))
        counts, now = (there == 1).float(), now / there.clamp(min=1e-6)
        size = (now.shape[2], now.shape[3])
        if s == model.scales - 1:
            rough = field(model.mean, model.textons, Box(0, 0, *size), 0, None)[None]
            made = push_pull(now - rough, counts) + rough  # the field, moved smoothly until it is what is known there
        for turn in range(rounds):
            canvas = F.pad(torch.where(counts > 0, now, made[:, :, : size[0], : size[1]]), (w - 1,) * 4, mode="reflect")
            moved = model.moved(s, canvas[0])
            if s and turn == rounds - 1:
                larger = model.kept("larger", s)[moved]
                made = overlapped(larger, (2 * canvas.shape[2], 2 * canvas.shape[3]), 2 * w, 2)[None]
                fine = [length >> (s - 1) for length in x.shape[2:]]
                made = F.pad(
                    made, (0, max(fine[1] - made.shape[3], 0), 0, max(fine[0] - made.shape[2], 0)), mode="replicate"
                )
            else:
                made = overlapped(model.kept("points", s)[moved], canvas.shape[2:], w, 1)[None]
    return made
