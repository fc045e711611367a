"""A picture of a person's own: read it and its mask, restore it, keep what is to be kept, say what looked wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from numpy.typing import NDArray
from torch import Tensor

from sfumato.data.mask_files import mask_levels, seems_inverted
from sfumato.data.npz import channels_first
from sfumato.errors import CapabilityError, DataError, ShapeError
from sfumato.images import PEAK, open_picture, to_float, to_uint8
from sfumato.maths.push_pull import push_pull
from sfumato.restorers import fitting
from sfumato.restorers.answerer import Answerer, Choice, Way, chosen
from sfumato.restorers.base import Enlarger, Filler
from sfumato.restorers.border import Border, bordered, frame, rings
from sfumato.restorers.original import Original, read_original, write_restored
from sfumato.restorers.tiled_fill import Watch, fill_tiled, unwatched
from sfumato.restorers.tiled_whole import make_tiled
from sfumato.tasks.base import Observation
from sfumato.tasks.operators import Masking

Pixels = UInt8[Tensor, "C H W"]
Hole = Bool[Tensor, "H W"]
Levels = UInt8[Tensor, "H W"]
Array = Tensor | NDArray[np.uint8]


@dataclass(frozen=True)
class Restored:
    """The restored picture and what a person should know of it."""

    pixels: Pixels
    warnings: list[str]
    hole: Hole | None = None
    """Where it was made, if a mask or a border said so."""


@dataclass(frozen=True)
class Asked:
    """What a picture is to become: filled, enlarged, continued, or with none of these what a model was trained for."""

    mask: Path | str | Levels | None = None
    scale: int | None = None
    border: Border | None = None
    invert: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if sum(one is not None for one in (self.mask, self.scale, self.border)) > 1:
            raise CapabilityError(
                "give one of --mask (white = to be made), --border (pixels around) and --scale (how many times larger)"
            )

    @property
    def fills(self) -> bool:
        """Whether a part is kept as it is."""
        return self.mask is not None or self.border is not None


def read_mask(mask: Path | UInt8[Tensor, "H W"], picture: Pixels, invert: bool = False) -> tuple[Hole, list[str]]:
    """A mask as True where the picture is to be made, and warnings. In the file or the grey levels that is white.

    Raises: DataError: unreadable, or nothing or everything is to be made. ShapeError: another size than the picture.
    """
    height, width = picture.shape[1:]
    warnings: list[str] = []
    if isinstance(mask, Path):
        path = str(mask)
        levels, warnings = mask_levels(open_picture(mask), path, picture)
        grey = levels[0]
    else:
        path, grey = "of the picture", mask
    if grey.shape != (height, width):
        raise ShapeError(
            f"the mask {path} is {grey.shape[1]} x {grey.shape[0]}, the picture {width} x {height} (upright, as its EXIF "
            "says); make them the same size"
        )
    between = int(((grey > 16) & (grey < 239)).sum()) / grey.numel()
    if between > 0.01:
        warnings.append(
            f"{between:.0%} of the mask is grey (a JPEG or a soft brush?); from 128 it counts as white; PNG is safest"
        )
    hole = grey < 128 if invert else grey >= 128
    share = int(hole.sum()) / hole.numel()
    if share == 0:
        small = "its largest value is 1 of 255: multiply it by 255" if int(grey.max()) == 1 else "no white pixel"
        raise DataError(
            f"the mask {path} asks for nothing ({small}); paint white where the picture is to be made, or use --invert"
        )
    if share == 1:
        raise DataError(
            f"the mask {path} asks for everything (all white), so nothing is known; leave some black, or use `sfumato sample`"
        )
    if seems_inverted(hole):
        warnings.append(
            f"the mask asks for {share:.0%} of the picture (white = to be made); if it is the wrong way round, give --invert"
        )
    return hole, warnings


def restore_picture(
    picture: Path | str | Array,
    model: Choice = None,
    *,
    mask: Path | str | Array | None = None,
    scale: int | None = None,
    border: Border | None = None,
    invert: bool = False,
    seed: int = 0,
    device: str = "auto",
    restorer: Way = None,
    hidden: Levels | None = None,
    watch: Watch = unwatched,
) -> Restored:
    """Fill the white part of a mask, continue beyond the border, enlarge, or do what a run was trained for, as to denoise.

    Each can be asked of a trained run, whatever the size of the picture, the first three of classical restorers too; where no
    model is named, one that comes with the package answers. A run that was trained on generation restores by the `restorer`
    that is named (ddnm, latent_search ...). Picture and mask are files or arrays of uint8: H x W, H x W x C or C x H x W;
    `border` is a number of pixels, or four: above, right, below, left. `hidden` is 1 where pixels mean nothing, as under full
    transparency; a file says it itself. `watch` is told how many parts are done and how many there are; what it raises ends
    the work. A file comes back in RGB, as it would be shown; `restore_file` writes it as it was, with all that the file says
    beside its colours.

    Raises: DataError, ShapeError: the picture or mask cannot be used. CapabilityError: the model was not trained for this.
    """
    asked = Asked(_levels(mask), scale, border, invert, seed)
    answerer = chosen(model, asked.fills, scale, device, restorer)
    if not isinstance(picture, str | Path):
        return _restored(_pixels(picture), "the picture", hidden, asked, answerer, watch)
    original = read_original(picture)
    made = _restored(original.pixels, str(picture), original.hidden, asked, answerer, watch)
    grey = answerer.run is not None and answerer.run.spec.channels == 1
    return Restored(
        made.pixels if grey else made.pixels.expand(3, -1, -1), [*original.warnings, *made.warnings], made.hole
    )


def restore_file(
    picture: Path,
    out: Path,
    model: Choice = None,
    *,
    mask: Path | Levels | None = None,
    scale: int | None = None,
    border: Border | None = None,
    invert: bool = False,
    seed: int = 0,
    device: str = "auto",
    restorer: Way = None,
    watch: Watch = unwatched,
) -> list[str]:
    """Restore a picture file into another, and say what looked wrong or could not be kept.

    Mode, depth, transparency, colour profile, EXIF and resolution are those of the picture, and so are the kept pixels.

    Raises: as `restore_picture`; DataError: `out` cannot be written, or cannot hold the picture.
    """
    asked = Asked(mask, scale, border, invert, seed)
    answerer = chosen(model, asked.fills, scale, device, restorer)
    original: Original = read_original(picture)
    made = _restored(original.pixels, str(picture), original.hidden, asked, answerer, watch)
    whole = original if border is None else original.bordered(border)
    image = whole.restored(made.pixels, made.hole)
    said, hole = [*original.warnings, *made.warnings], made.hole
    del made, whole  # before it is written and read again: a large picture is there often enough
    return [*said, *write_restored(image, out, original, hole)]


def _pixels(picture: Array) -> Pixels:
    if isinstance(picture, Tensor) and picture.ndim == 3 and len(picture) in (1, 3):  # of tensors the order is known
        return picture.cpu()
    array = picture.cpu().numpy() if isinstance(picture, Tensor) else np.asarray(picture)
    return channels_first(array[None], "the picture")[0]


def _levels(mask: Path | str | Array | None) -> Path | str | Levels | None:
    if mask is None or isinstance(mask, Path | str):
        return mask
    array = torch.as_tensor(mask).cpu()
    return _pixels((array * PEAK).to(torch.uint8) if array.dtype == torch.bool else array)[0]


def _restored(
    pixels: Pixels, called: str, hidden: Levels | None, asked: Asked, answerer: Answerer, watch: Watch
) -> Restored:
    said = list(answerer.said)
    if not asked.fills:
        seen = pixels if hidden is None else _without_hidden(pixels, hidden)
        return Restored(_made(seen, called, asked, answerer, watch), said)
    if asked.border is None:
        assert asked.mask is not None
        hole, more = read_mask(asked.mask if isinstance(asked.mask, Tensor) else Path(asked.mask), pixels, asked.invert)
        made, told = _in_hole(pixels, hole, hidden, called, asked, answerer, watch)
        return Restored(made, [*said, *more, *told], hole)
    size, made, told = (pixels.shape[1], pixels.shape[2]), pixels, list[str]()
    for ring in [asked.border] if answerer.run is None else rings(size, asked.border):
        edge = frame((made.shape[1], made.shape[2]), ring)
        made = bordered(made, ring)
        hidden = None if hidden is None else bordered(hidden[None], ring)[0]
        made, told = _in_hole(made, edge, hidden, called, asked, answerer, watch)
    return Restored(made, [*said, *told], frame(size, asked.border))


def _in_hole(
    pixels: Pixels, hole: Hole, hidden: Levels | None, called: str, asked: Asked, answerer: Answerer, watch: Watch
) -> tuple[Pixels, list[str]]:
    """The picture with its hole made, and what is to be said of it."""
    known, run, said = pixels, answerer.run, list[str]()
    if run is not None and not fitting.has_room(pixels, run):
        rows, columns = run.spec.size
        size = f"{pixels.shape[2]} x {pixels.shape[1]}"
        answerer = answerer.instead(f"{called} is {size}, smaller than the {columns} x {rows} that this model fills")
        run, said = answerer.run, list(answerer.said)
    if run is not None:
        fitting.require_filling(run)
        known = fitting.in_channels(pixels, run.spec.channels, called)
    nothing = None if hidden is None else hidden.bool()
    if bool((hole if nothing is None else hole | nothing).all()):  # what cannot be seen tells nothing
        raise DataError(f"nothing of {called} can be seen outside the hole, so nothing is known")
    made, more = _filled(known, hole, nothing, called, asked, answerer, watch)
    return fitting.as_given(made, pixels), [*said, *more]


def _without_hidden(pixels: Pixels, hidden: Levels) -> Pixels:
    """The picture with what cannot be seen continued from what can, so that it does not shine into it."""
    known = 1.0 - hidden.float()[None, None]
    return push_pull(pixels.float()[None] * known, known)[0].round().to(torch.uint8)


def _filled(
    pixels: Pixels, hole: Hole, hidden: Hole | None, called: str, asked: Asked, answerer: Answerer, watch: Watch
) -> tuple[Pixels, list[str]]:
    """The hole made by whatever the restorer can: in bytes, in one piece, or window by window."""
    unknown = hole if hidden is None else hole | hidden
    if isinstance(answerer.restorer, Filler):  # in 8 bits, a quarter of the memory
        picture = pixels.permute(1, 2, 0).contiguous().numpy()
        filled = answerer.restorer.filled(picture, unknown.numpy()).reshape(picture.shape)
        np.copyto(filled, picture, where=~hole.numpy()[..., None])
        return torch.from_numpy(filled).permute(2, 0, 1), []

    def answer(part: Pixels, unknown: Hole, number: int) -> Pixels:
        operator = Masking(1.0 - unknown.float()[None, None])
        return answerer.answer(part[None], operator, noise, asked.seed, number)[0]

    run = answerer.run
    noise = fitting.filling(run)
    if run is None or tuple(pixels.shape[1:]) == run.spec.size:
        watch(0, 1)
        return torch.where(hole, answer(pixels, unknown, 0), pixels), []
    rows, columns = run.spec.size
    made, parts = fill_tiled(pixels, hole, run.spec.size, answer, watch, hidden)
    return made, [
        f"{called} is larger than the {columns} x {rows} this model was trained on: {parts} part{'s' * (parts > 1)} of it, "
        "each around a hole, filled at that size; finer structure is taken from the known part of the picture"
    ]


def _made(pixels: Pixels, called: str, asked: Asked, answerer: Answerer, watch: Watch) -> Pixels:
    """Every pixel made: in one piece, or tile by tile."""
    run, scale = answerer.run, asked.scale or 1
    if asked.scale is not None:
        operator, noise = fitting.enlarging(pixels, asked.scale, run)
    else:
        operator, noise = fitting.clearing(run)
    if isinstance(answerer.restorer, Enlarger):  # how a small picture came about nobody knows, so nothing is imposed
        answerer.restorer.check(Observation(torch.empty(0), operator, operator.known))
        return to_uint8(answerer.restorer.enlarge(to_float(pixels[None]), operator.size))[0]
    if run is None:
        return answerer.answer(pixels[None], operator, noise, asked.seed)[0]
    x = fitting.in_channels(pixels, run.spec.channels, called)
    size = run.spec.size[0] // scale, run.spec.size[1] // scale

    def make(tiles: UInt8[Tensor, "B C h w"], first: int) -> UInt8[Tensor, "B C H W"]:
        return answerer.answer(
            tiles, operator.pick(torch.zeros(len(tiles), dtype=torch.int64)), noise, asked.seed, first
        )

    if tuple(pixels.shape[1:]) != size:
        fitting.require_tiles(operator, pixels, called)
    made = make_tiled(x, size, scale, make, watch)
    coloured = operator.mixes and len(pixels) == 1
    return made if coloured else fitting.as_given(made, pixels)
