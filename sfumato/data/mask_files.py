"""Mask pictures: white is where a picture is to be made, whether on black, on transparency, or as a hole in a copy."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from sfumato.errors import DataError
from sfumato.images import PEAK, from_pil, upright

WHITE = int(PEAK)
SOLID = 128  # alpha from which a pixel counts as opaque
PLAIN = 0.99  # share of opaque pixels that are black or white in a mask that was drawn
SAME = 8  # levels by which a copy may differ from its picture, as after JPEG


def mask_levels(
    picture: Image.Image, path: str, original: UInt8[Tensor, "C H W"] | None = None
) -> tuple[UInt8[Tensor, "1 H W"], list[str]]:
    """Grey levels of a mask, white where the picture is to be made, and how its transparency was understood.

    White painted on transparency is white on black. A copy of the picture with a hole in it asks for the hole: it is told
    by colours that are neither black nor white, and held against `original` where that is known.

    Raises: DataError: transparency that can mean either.
    """
    picture = upright(picture)
    if not (picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info):
        return from_pil(picture, 1), []
    pixels = np.asarray(picture.convert("RGBA"))
    colours, solid = pixels[..., :3].astype(np.int16), pixels[..., 3] >= SOLID
    if solid.all():
        return from_pil(picture.convert("RGB"), 1), []
    if not solid.any():
        raise DataError(f"the mask {path} is transparent everywhere; paint white where the picture is to be made")
    drawn = colours[solid]
    white, black = (drawn > 239).all(1), (drawn < 16).all(1)
    if (white | black).mean() >= PLAIN and white.any():
        level = np.where(solid, colours.mean(2), 0).astype(np.uint8)
        return torch.from_numpy(level)[None], [f"the mask {path} has transparency, which counts as black (kept)"]
    copy = original is not None and tuple(original.shape[1:]) == solid.shape and _like(colours, solid, original)
    if black.mean() >= PLAIN or (original is not None and not copy):
        raise DataError(
            f"the mask {path} has transparency that is neither around white strokes nor a hole in a copy of the picture; "
            "save it as white (to be made) on black (kept)"
        )
    hole = torch.from_numpy(np.where(solid, 0, WHITE).astype(np.uint8))[None]
    return hole, [f"the mask {path} is a copy of the picture; its transparent part is taken as the hole"]


def _like(colours: np.ndarray, solid: np.ndarray, original: Tensor) -> bool:
    """Whether nearly all opaque pixels are those of the picture."""
    true = original.expand(3, -1, -1).permute(1, 2, 0).numpy().astype(np.int16)
    return bool((np.abs(colours - true).max(2)[solid] <= SAME).mean() > 0.9)


def seems_inverted(hole: Tensor) -> bool:
    """Whether a mask asks for more than half of a picture."""
    return 2 * int(hole.sum()) > hole.numel()
