"""What an alias-free generator is made of: where its layers' bands lie, and low-pass filters for them.

Reference: Karras et al. (2021), Alias-free generative adversarial networks, sections 3.2 and C.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.errors import ConfigError
from sfumato.images import Size
from sfumato.networks.equalised import Linear
from sfumato.networks.layers import Maps

FIRST_CUTOFF, FIRST_STOPBAND = 2.0, 2**2.1  # of the first layer, in cycles along the longer side
STOPBAND = 2**0.3  # of the last layer, over its cutoff: some aliasing, for more detail
SMALLEST = 4  # pixels along the longer side


class Band(NamedTuple):
    """What the maps that leave a layer may hold."""

    cutoff: float
    """Cycles along the longer side up to which nothing is taken away."""
    half_width: float
    """Cycles from there to where nothing is left."""
    halvings: int
    """How many times its pixels are twice as far apart as the image's."""
    rate: float
    """Pixels along the longer side, without the margin."""
    size: Size
    """Rows and columns, with the margin."""

    @property
    def critical(self) -> bool:
        """Whether no frequency is to spare: the cutoff is all that such pixels can hold."""
        return 2 * self.cutoff == self.rate


def bands(size: Size, layers: int, critical: int, margin: int) -> list[Band]:
    """Where layers + 1 maps lie, the input first: cutoffs rise geometrically to the last `critical` ones, which have all.

    Raises: ConfigError: the images are too small.

    Example:
        >>> [(round(band.cutoff, 1), *band.size) for band in bands((32, 32), 6, 2, 10)]
        [(2.0, 36, 36), (3.4, 36, 36), (5.7, 52, 52), (9.5, 52, 52), (16.0, 52, 52), (16.0, 32, 32), (16.0, 32, 32)]
    """
    longest = max(size)
    if longest < SMALLEST:
        raise ConfigError(
            f"alias-free layers need images of at least {SMALLEST} pixels a side; got {size[0]} x {size[1]}"
        )
    last = longest / 2
    halvable = max(k for k in range(16) if all(side % 2**k == 0 for side in size))
    found = []
    for i in range(layers + 1):
        way = min(i / max(layers - critical, 1), 1.0)
        cutoff = FIRST_CUTOFF * (last / FIRST_CUTOFF) ** way
        stop = FIRST_STOPBAND * (last * STOPBAND / FIRST_STOPBAND) ** way
        halvings = min(int(math.log2(longest / min(2 * stop, longest))), halvable)
        rate = longest / 2**halvings
        beside = 0 if i >= layers - 1 else margin
        sides = (size[0] // 2**halvings + 2 * beside, size[1] // 2**halvings + 2 * beside)
        found.append(Band(cutoff, max(stop, rate / 2) - cutoff, halvings, rate, sides))
    return found


def window(n: int, width: float, rate: float) -> Float[Tensor, " n"]:
    """Kaiser's window, with the damping that n weights can give to a transition of that width."""
    damping = 2.285 * (n - 1) * math.pi * 2 * width / rate + 7.95
    over = max(damping - 21, 0.0)
    beta = 0.1102 * (damping - 8.7) if damping > 50 else 0.5842 * over**0.4 + 0.07886 * over
    return torch.kaiser_window(n, False, beta, dtype=torch.float64)


def low_pass(n: int, cutoff: float, width: float, rate: float) -> Float[Tensor, " n"]:
    """n weights of a windowed sinc: up to `cutoff` - width / 2 all passes, from cutoff + width / 2 on nothing; adds up to 1.

    All in the unit of the sampling rate.
    """
    at = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2) / rate
    f = torch.sinc(2 * cutoff * at) * window(n, width, rate)
    return (f / f.sum()).float()


def round_low_pass(n: int, cutoff: float, width: float, rate: float) -> Float[Tensor, "n n"]:
    """The same in every direction: J_1(2 pi cutoff r) / r, windowed along rows and columns (StyleGAN3-R)."""
    line = window(n, width, rate)
    at = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2) / rate
    r = math.pi * torch.hypot(at[:, None], at[None])
    f = torch.where(r > 0, torch.special.bessel_j1(2 * cutoff * r) / r.clamp(min=1e-12), cutoff)
    f = f * torch.outer(line, line)
    return (f / f.sum()).float()


class Waves(nn.Module):
    """sin(2 pi (f . u + p)) of random frequencies f below the first cutoff, mixed by a learnt matrix; w turns and moves them.

    u are places in units of the longer side, 0 in the middle. `transform` is what the user moves them by.
    """

    transform: Tensor
    frequencies: Tensor
    phases: Tensor
    places: Tensor

    def __init__(self, channels: int, styles: int, band: Band, longest: int):
        super().__init__()
        f = nn.init.normal_(torch.empty(channels, 2))
        radius = f.norm(dim=1, keepdim=True)
        self.band = band
        self.register_buffer(
            "frequencies", f / (radius * radius.square().exp() ** 0.25) * band.cutoff
        )  # even in the disc
        self.register_buffer("phases", nn.init.uniform_(torch.empty(channels), -0.5, 0.5))
        self.register_buffer("transform", torch.eye(3))
        apart = 2**band.halvings / longest
        rows, columns = ((torch.arange(n) - (n - 1) / 2) * apart for n in band.size)
        places = torch.stack([columns.expand(len(rows), -1), rows[:, None].expand(-1, len(columns))], -1)
        self.register_buffer("places", places, persistent=False)
        self.mix = Linear(channels, channels, bias=False)
        self.move = Linear(styles, 4)
        with torch.no_grad():
            self.move.v.zero_()
            assert self.move.b is not None
            self.move.b.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))

    def forward(self, w: Float[Tensor, "B s"]) -> Maps:
        """[B, styles] to [B, channels, H, W]."""
        move = self.move(w)
        cos, sin, x, y = (move / move[:, :2].norm(dim=1, keepdim=True)).unbind(1)
        one, zero = torch.ones_like(x), torch.zeros_like(x)
        turn = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], 1).view(-1, 3, 3)
        shift = torch.stack([one, zero, -x, zero, one, -y, zero, zero, one], 1).view(-1, 3, 3)
        at = turn @ shift @ self.transform
        f = self.frequencies @ at[:, :2, :2]
        phases = self.phases + (self.frequencies @ at[:, :2, 2:])[..., 0]
        # What a transformation brings beyond the band is faded out.
        room = max(self.band.rate / 2 - self.band.cutoff, 1e-3)
        loud = (1 - (f.norm(dim=2) - self.band.cutoff) / room).clamp(0, 1)
        waves = torch.sin(2 * math.pi * (torch.einsum("hwd,bcd->bhwc", self.places, f) + phases[:, None, None]))
        return self.mix(waves * loud[:, None, None]).permute(0, 3, 1, 2)
