"""Texture: a smooth fill made of small parts of the picture that it is in, first at half its size, then at its own.

Models that minimise an error answer with means, which have no texture. What such a fill shows at half size is believed; patch
by patch it is replaced by what the known part of the picture has that is most alike. Since a fill is a mean, it is mostly means
that are compared: patches that are as smooth as the fill would always be nearest.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfumato.maths.transport import cell

SIDE = 5  # of a patch, in pixels
ROUNDS = 3  # of looking for what is most alike, and putting it there
ITSELF = 0.4  # how much the patch itself counts beside the means of 5 x 5 around its pixels
VOTE = torch.tensor([1.0, 4.0, 9.0, 4.0, 1.0])  # of a patch on its pixels, along a side: its middle knows best
MOST = 2.0  # times which differences from the mean may be enlarged, since votes that differ make them smaller
LACK = 0.5  # a fill with so much of the fine power around it has texture enough
PLAIN = 1.0  # fine power, in levels of 255 squared, below which there is no texture to be had

Picture = Float[Tensor, "1 C h w"]
Hole = Bool[Tensor, "h w"]


def textured(picture: Picture, gone: Hole) -> Picture:
    """The picture with its hole, which something smooth fills, made of patches of what is known.

    Left as it is: a fill that has half of the fine power of what is known, one in a plain or tiny picture, or one without whole
    patches.

    Reference: Wexler, Shechtman and Irani (2007), Space-time completion of video, for the rounds.
    """
    if min(gone.shape) < 2 * SIDE:
        return picture
    wanted = fineness(picture, ~gone)
    if wanted < PLAIN or fineness(picture, gone) >= LACK * wanted:
        return picture
    at: tuple[Int[Tensor, " P"], int] | None = None
    for factor in (2, 1):
        size = picture.shape[2] // factor, picture.shape[3] // factor
        x = F.interpolate(picture, size, mode="area")
        hole = F.interpolate(gone.float()[None, None], size, mode="area")[0, 0] > 0
        if min(size) < 2 * SIDE:
            continue
        unknown = F.unfold(hole.float()[None, None], SIDE)[0].amax(0) > 0
        targets, sources = unknown.nonzero()[:, 0], (~unknown).nonzero()[:, 0]
        if not len(sources):
            return picture
        across = size[1] - SIDE + 1
        found = most_alike(x, targets, sources)
        if at is not None:
            found = _finer(*at, targets, across, size[0] - SIDE + 1, unknown, found)
        x = _put(x, hole, targets, found)
        for _ in range(ROUNDS):
            found = most_alike(x, targets, sources)
            x = _put(x, hole, targets, found)
        places = torch.arange(len(unknown))
        places[targets] = found
        at = places, across
    if at is None:
        return picture
    lost = float(F.unfold(_fine(x), SIDE)[0].mean(0)[found].mean()) / max(fineness(x, gone), 1e-6)
    mean = means(x)
    return torch.where(gone, mean + min(max(lost, 1.0) ** 0.5, MOST) * (x - mean), x)


def fineness(picture: Picture, where: Hole) -> float:
    """The mean square, where it is asked, of what a pixel differs from the mean of 5 x 5 around it.

    Example:
        >>> stripes = torch.arange(16.0).remainder(2).expand(1, 1, 16, 16)
        >>> round(fineness(stripes, torch.ones(16, 16, dtype=torch.bool)), 2)
        0.16
    """
    inside = _fine(picture)[0, 0][where]
    return float(inside.mean()) if len(inside) else 0.0


def means(picture: Picture) -> Picture:
    """Of 5 x 5 around each pixel; beyond the border the picture is mirrored."""
    room = SIDE // 2
    return F.avg_pool2d(F.pad(picture, (room, room, room, room), mode="reflect"), SIDE, stride=1)


def _fine(picture: Picture) -> Float[Tensor, "1 1 h w"]:
    return (picture - means(picture)).square().mean(1, keepdim=True)


def most_alike(picture: Picture, targets: Int[Tensor, " T"], sources: Int[Tensor, " S"]) -> Int[Tensor, " T"]:
    """For each of some patches the nearest one of others, by means and by pixels; patches are numbered row by row."""
    views = F.unfold(torch.cat([means(picture), ITSELF * picture], 1), SIDE)[0].T
    return sources[cell(views[targets], views[sources])]


def _put(picture: Picture, hole: Hole, targets: Int[Tensor, " T"], found: Int[Tensor, " T"]) -> Picture:
    """Each pixel of the hole the mean of what the patches over it say, whose middles count most."""
    views = F.unfold(picture, SIDE)[0]
    votes = (VOTE[:, None] * VOTE).flatten().repeat(picture.shape[1])[:, None]
    said, count = torch.zeros_like(views), torch.zeros_like(views)
    said[:, targets], count[:, targets] = votes * views[:, found], votes
    total, number = (F.fold(part[None], picture.shape[2:], SIDE) for part in (said, count))
    return torch.where(hole, total / number.clamp(min=1e-6), picture)


def _finer(
    places: Int[Tensor, " P"],
    coarse_across: int,
    targets: Int[Tensor, " T"],
    across: int,
    down: int,
    unknown: Bool[Tensor, " Q"],
    otherwise: Int[Tensor, " T"],
) -> Int[Tensor, " T"]:
    """What was found at half size, at this size; where that is not known altogether, otherwise."""
    row, column = targets // across, targets % across
    coarse_down = len(places) // coarse_across
    there = places[(row // 2).clamp(max=coarse_down - 1) * coarse_across + (column // 2).clamp(max=coarse_across - 1)]
    row = (2 * (there // coarse_across) + row % 2).clamp(max=down - 1)
    column = (2 * (there % coarse_across) + column % 2).clamp(max=across - 1)
    found = row * across + column
    return torch.where(unknown[found], otherwise, found)
