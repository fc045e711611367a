"""Removal: people, or whatever a mask or a box says, taken out of photographs; what is put there is a guess."""

from __future__ import annotations

import base64
import io
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor

import sfumato
from sfumato.config import Strict, load
from sfumato.errors import ConfigError, DataError
from sfumato.files import write_atomic
from sfumato.images import PEAK
from sfumato.kinds import build, find
from sfumato.maths.regions import box_of, regions
from sfumato.restorers.answerer import Choice, chosen
from sfumato.restorers.original import read_original, write_restored
from sfumato.restorers.picture import read_mask, restore_picture
from sfumato.restorers.tiled_fill import Watch, unwatched
from sfumato.segmenters.base import Segmenter

MOST = 900_000  # characters of a text that PNG readers take
GUESS = "what is in the filled place now is a guess; it is not what was behind"
Hole = Bool[Tensor, "H W"]
Levels = UInt8[Tensor, "H W"]


class Settings(Strict):
    """How the found region becomes a hole, and the hole a picture."""

    dilate: int | None = None
    """Pixels around what was found that are made too; left out, 1 % of the longer side, 3 at least."""
    feather: int | None = None
    """Pixels of these over which the fill fades into the picture; left out, half of them."""
    invert: bool = False
    """A mask file is white where the picture is kept."""
    seed: int = 0
    """Another seed gives another plausible answer."""
    device: str = "auto"
    """Where the model runs."""

    def widths(self, size: tuple[int, int]) -> tuple[int, int]:
        """Of dilation and feather for a picture of so many rows and columns.

        Raises: ConfigError: a negative one, or a feather wider than the dilation, which would let shine through what was found.
        """
        dilate = max(3, round(0.01 * max(size))) if self.dilate is None else self.dilate
        feather = dilate // 2 if self.feather is None else self.feather
        if not 0 <= feather <= dilate:
            raise ConfigError(f"feather = {feather} and dilate = {dilate}: take 0 <= feather <= dilate")
        return dilate, feather


@dataclass(frozen=True)
class Removed:
    """What was taken out."""

    found: Hole
    """What the segmenter or the mask said."""
    hole: Hole
    """What was made anew."""
    pixels: UInt8[Tensor, "C H W"]
    """The picture without it."""
    warnings: list[str]

    def report(self) -> str:
        """How many regions, where and how large, in a line."""
        own = list(regions(self.found))
        where = "; ".join(
            f"{part.box.columns} x {part.box.rows} at {part.box.left}, {part.box.top}" for part in own[:8]
        )
        where += "; ..." if len(own) > 8 else ""
        share = float(self.hole.float().mean())
        return f"{len(own)} region{'s' * (len(own) != 1)} removed ({where}), {share:.1%} of the picture made anew"


def remove(
    picture: Path,
    out: Path,
    what: Segmenter | Path | Levels,
    model: Choice,
    settings: Settings,
    preview: Path | None = None,
    watch: Watch = unwatched,
) -> Removed | None:
    """Write the picture without what a segmenter finds or a mask (a file, or levels) shows; None, and no file, for nothing.

    Mode, depth, transparency, profile and EXIF are kept, and every pixel outside the hole. A PNG holds mask and settings.

    Raises: as `restore_picture`.
    """
    original = read_original(picture)
    pixels = original.pixels
    if isinstance(what, Segmenter):
        found, said = what.mask(pixels.expand(3, -1, -1)), list[str]()
    else:
        found, said = read_mask(what, pixels, settings.invert)
    if not bool(found.any()):
        return None
    dilate, feather = settings.widths((pixels.shape[1], pixels.shape[2]))
    hole = grown(found, dilate)
    if bool(hole.all()):
        raise DataError(f"{picture}: with {dilate} pixels around it, what was found is all of the picture; dilate less")
    hidden, alpha = original.hidden, faded(hole, feather)
    if hidden is not None:  # what cannot be seen need not be made, and has no colours to fade into
        hole &= found | (hidden == 0)
        alpha[hidden.bool()] = 1.0
    levels = hole.to(torch.uint8) * int(PEAK)
    answerer = chosen(model, fills=True, scale=None, device=settings.device)
    filled = restore_picture(pixels, answerer, mask=levels, seed=settings.seed, hidden=hidden, watch=watch)
    blend = torch.lerp(pixels.float(), filled.pixels.float(), alpha).round().to(torch.uint8)
    about_mask = [line for line in filled.warnings if "--invert" not in line]  # the mask is ours
    removed = Removed(found, hole, blend, [*original.warnings, *said, *about_mask])
    about = {
        "sfumato": sfumato.__version__,
        "what": _named(what),
        "model": answerer.called,
        **settings.model_dump(mode="json", exclude={"device"}),
        "dilate": dilate,
        "feather": feather,
        "note": GUESS,
    }
    texts = {"sfumato:removal": json.dumps(about), "sfumato:mask": packed(hole)}
    if len(texts["sfumato:mask"]) > MOST:
        del texts["sfumato:mask"]
        removed.warnings.append("the mask is too ragged to be kept in the picture; keep it yourself")
    removed.warnings.extend(write_restored(original.restored(blend, hole), out, original, hole, texts))
    if preview is not None:
        write_atomic(preview, panels(pixels, removed))
    return removed


def _named(what: Segmenter | Path | Levels) -> Any:
    if isinstance(what, Segmenter):
        return what.config.model_dump(mode="json")
    return what.name if isinstance(what, Path) else "a mask"


def grown(mask: Hole, by: int) -> Hole:
    """The mask and all within so many pixels along rows and columns."""
    x = mask.float()[None, None]
    for kernel, room in (((2 * by + 1, 1), (by, 0)), ((1, 2 * by + 1), (0, by))):
        x = F.max_pool2d(x, kernel, stride=1, padding=room)
    return x[0, 0] > 0


def shrunk(mask: Hole, by: int) -> Hole:
    """What of the mask is further than so many pixels from what is not; the border of the picture counts as mask."""
    return ~grown(~mask, by)


def faded(hole: Hole, feather: int) -> Float[Tensor, "H W"]:
    """0 outside, rising inside to 1 over so many pixels from the rim."""
    alpha = hole.float()
    if not feather:
        return alpha
    top, left, tall, wide = box_of(hole)
    place = (
        slice(max(top - 1, 0), top + tall + 1),
        slice(max(left - 1, 0), left + wide + 1),
    )
    inner, total = hole[place], hole[place].float()
    for _ in range(feather):
        inner = shrunk(inner, 1)
        total += inner
    alpha[place] = total / (feather + 1)
    return alpha


def packed(mask: Hole) -> str:
    """A mask as text: its bits row by row, compressed; `unpacked` reads it."""
    bits = np.packbits(mask.numpy())
    return f"{mask.shape[0]} {mask.shape[1]} {base64.b64encode(zlib.compress(bits.tobytes(), 9)).decode()}"


def unpacked(text: str) -> Hole:
    """The mask that a PNG of ours holds under `sfumato:mask`.

    Example:
        >>> mask = torch.tensor([[True, False, True]])
        >>> torch.equal(unpacked(packed(mask)), mask)
        True
    """
    rows, columns, code = text.split(" ")
    bits = np.unpackbits(np.frombuffer(zlib.decompress(base64.b64decode(code)), np.uint8))
    return torch.from_numpy(bits[: int(rows) * int(columns)].reshape(int(rows), int(columns)).astype(bool))


def panels(pixels: UInt8[Tensor, "C H W"], removed: Removed) -> bytes:
    """Before, what is taken out in red, and after, side by side, as a PNG."""
    colour = pixels.expand(3, -1, -1).float()
    red = torch.tensor([220.0, 40.0, 30.0])[:, None, None]
    shown = torch.where(removed.hole, 0.5 * colour + 0.5 * red, colour)
    row = torch.cat([colour, shown, removed.pixels.expand(3, -1, -1).float()], 2).round().to(torch.uint8)
    image = Image.fromarray(row.permute(1, 2, 0).contiguous().numpy())
    image.thumbnail((2400, 1200))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def segmenter(what: str, values: dict[str, Any]) -> Segmenter:
    """A segmenter by its name and settings.

    Raises: ConfigError: no such one, or settings that it has not.
    """
    kind = find(Segmenter, what)
    made: Segmenter = build(load(kind.Config, values, f"segmenter {what!r}"))
    return made
