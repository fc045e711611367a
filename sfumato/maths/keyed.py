"""Keyed noise: random numbers of the plane, each a function of its place alone, so that any window can be made by itself."""

from __future__ import annotations

import hashlib
import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sfumato.maths.regions import Box

ODD = (-7046029254386353131, -4417276706812531889, -8796714831421723037)  # the multipliers of xxHash, as signed numbers
BITS = 24  # of a float32 in [0, 1)


def scrambled(h: Int64[Tensor, " ..."]) -> Int64[Tensor, " ..."]:
    """The finaliser of SplitMix64: each bit of the answer depends on all of h."""
    for shift, odd in ((30, -4658895280553007687), (27, -7723592293110705685)):
        h = (h ^ ((h >> shift) & ((1 << (64 - shift)) - 1))) * odd
    return h ^ ((h >> 31) & ((1 << 33) - 1))


def keys(box: Box, channels: int, seed: int, name: str, period: tuple[int, int] | None) -> Int64[Tensor, "C h w"]:
    """64 random bits for each place of a box that may lie anywhere, and for each channel; equal at places a period apart."""
    rows, columns = torch.arange(box.top, box.top + box.rows), torch.arange(box.left, box.left + box.columns)
    if period is not None:
        rows, columns = rows % period[0], columns % period[1]
    start = int.from_bytes(hashlib.sha256(repr((seed, name)).encode()).digest()[:8], "little", signed=True)
    across = scrambled(rows * ODD[0] + start)[:, None]
    places = scrambled(across + columns * ODD[1])[None]
    return scrambled(places + torch.arange(channels)[:, None, None] * ODD[2])


def normals(
    box: Box, channels: int, seed: int, name: str = "", period: tuple[int, int] | None = None
) -> Float[Tensor, "C h w"]:
    """Standard normal numbers at the places of a box: sqrt(-2 log u) cos(2 pi v), with u and v from the bits of the place.

    Two boxes agree where they overlap. With a `period`, rows and columns, the numbers repeat.
    References: Box and Muller (1958); Steele, Lea and Flood (2014), Fast splittable pseudorandom number generators; Galerne,
    Lagae, Lefebvre and Drettakis (2012) key the noise of textures in this way.

    Example:
        >>> whole, part = normals(Box(0, 0, 4, 6), 2, seed=1), normals(Box(1, 2, 2, 2), 2, seed=1)
        >>> torch.equal(whole[:, 1:3, 2:4], part)
        True
    """
    bits = keys(box, channels, seed, name, period)
    mask = (1 << BITS) - 1
    u = (((bits >> 40) & mask).double() + 0.5) / (1 << BITS)
    v = ((bits >> 8) & mask).double() / (1 << BITS)
    return ((-2 * u.log()).sqrt() * (2 * math.pi * v).cos()).float()
