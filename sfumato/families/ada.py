"""ADA: changes that a critic of few images cannot do without, as often as it overfits, and no oftener."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Generator, Tensor

from sfumato.config import Strict
from sfumato.families.augment import Augmentation
from sfumato.images import Images

LUMA = 3**-0.5  # each component of the grey axis
Matrices = Float[Tensor, "B n n"]


class ADA(Augmentation):
    """Each change with probability p: flips, quarter turns, moves by pixels; scales, turns, moves between pixels; brightness,
    contrast, inverted luma, hue, saturation.

    p rises while E sign(C(x)) of real images is above `target`, and falls else. Where p is well below 1 the changes do not
    leak: a generator that drew changed images would be told apart. Pixels between pixels are found by cubic interpolation (the
    paper's by a wavelet).
    Reference: Karras et al. (2020), Training generative adversarial networks with limited data.
    """

    follows = True

    class Config(Strict):
        kind: Literal["ada"] = "ada"
        target: float = Field(default=0.6, gt=0.0, lt=1.0)
        """E sign(C(x)) that is held."""
        rise: float = Field(default=0.1, gt=0.0)
        """Share of the budget in which p would go from 0 to 1; the paper's is a fiftieth of 25 million images."""
        start: float = Field(default=0.0, ge=0.0, le=1.0)
        """p at the beginning."""
        most: float = Field(default=0.8, gt=0.0, le=1.0)
        """The largest p, beyond which changes begin to leak."""

    p: Tensor
    sign: Tensor
    seen: Tensor

    def __init__(self, config: Strict):
        super().__init__(config)
        self.register_buffer("p", torch.tensor(float(self.config.start)))
        self.register_buffer("sign", torch.zeros(()))
        self.register_buffer("seen", torch.tensor(-1.0))  # share of the budget at the last look; none yet

    @property
    def changes(self) -> bool:
        return True

    @torch.no_grad()
    def look(self, real: Float[Tensor, " B"], progress: float) -> None:
        """Move p by the share of the budget since the last look."""
        self.sign.lerp_(real.float().sign().mean(), 0.25)  # over about four batches
        step = torch.where(self.seen < 0, 0.0, (progress - self.seen).clamp(min=0.0)) / self.config.rise
        self.p.add_(step * (self.sign - self.config.target).sign()).clamp_(0.0, self.config.most)
        self.seen.fill_(progress)

    def gauges(self) -> Mapping[str, Tensor]:
        """p, and E sign(C(x)), from which overfitting is read."""
        return {"ada_p": self.p, "ada_sign": self.sign}

    def forward(self, images: list[Images], channels: int, rng: Generator) -> list[Images]:
        """Geometry on all channels, colours on the first `channels`."""
        n, sides, device = len(images[0]), images[0].shape[2:], images[0].device
        draw = Draw(n, self.p, rng, device)
        way = geometry(draw, (sides[0], sides[1]))
        grid = F.affine_grid(way[:, :2], [n, 1, *sides], align_corners=False)
        tint = colour(draw, channels)
        answer = []
        for x in images:
            # In float32 whatever came in: real and made images have to go the same way.
            moved = F.grid_sample(x.float(), grid, mode="bicubic", padding_mode="reflection", align_corners=False)
            flat = moved[:, :channels].flatten(2)
            head = (tint[:, :channels, :channels] @ flat + tint[:, :channels, channels:]).view_as(moved[:, :channels])
            answer.append(torch.cat([head, moved[:, channels:]], 1))
        return answer


class Draw:
    """Random numbers of a batch, each counting with probability p."""

    def __init__(self, n: int, p: Tensor, rng: Generator, device: torch.device):
        self.n, self.p, self.rng, self.device = n, p, rng, device

    def chosen(self, p: Tensor | None = None) -> Bool[Tensor, " B"]:
        """Whose turn it is."""
        return self.uniform() < (self.p if p is None else p)

    def uniform(self) -> Float[Tensor, " B"]:
        """In [0, 1)."""
        return torch.rand(self.n, generator=self.rng, device=self.device)

    def normal(self, deviation: float) -> Float[Tensor, " B"]:
        """N(0, deviation^2), or 0 where it is not its turn."""
        value = self.any(deviation)
        return torch.where(self.chosen(), value, 0.0)

    def any(self, deviation: float) -> Float[Tensor, " B"]:
        """N(0, deviation^2)."""
        return torch.randn(self.n, generator=self.rng, device=self.device) * deviation


def rows(*lines: tuple[Tensor | float, ...], like: Tensor) -> Matrices:
    """A matrix an image from its entries."""
    return torch.stack(
        [torch.stack([torch.as_tensor(e, device=like.device).expand_as(like) for e in line], -1) for line in lines], -2
    ).float()


def geometry(draw: Draw, sides: tuple[int, int]) -> Matrices:
    """Where each pixel comes from, in [-1, 1]^2 (x, y, 1): an inverse of all changes in a row."""
    high, wide = sides
    flip = torch.where(draw.chosen(), 1 - 2 * (draw.uniform() < 0.5).float(), 1.0)
    turns = torch.where(draw.chosen(), (draw.uniform() * 4).floor(), 0.0)
    turns = turns if high == wide else 2 * (turns / 2).floor()  # an oblong image stays one
    moves = torch.where(draw.chosen(), 2 * torch.stack([draw.uniform(), draw.uniform()]) - 1, 0.0) / 8
    scale = torch.exp2(draw.normal(0.2))
    rare = 1 - (1 - draw.p).sqrt()  # so that at least one of two turns has probability p
    first, second = (torch.where(draw.chosen(rare), (2 * draw.uniform() - 1) * math.pi, 0.0) for _ in range(2))
    stretch = torch.exp2(draw.normal(0.2))
    slides = torch.where(draw.chosen(), torch.stack([draw.any(0.125), draw.any(0.125)]), 0.0)
    one = torch.ones_like(flip)
    ways = [
        rows((flip, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), like=one),
        turned(turns * (math.pi / 2), wide / high),
        shifted((moves[0] * wide).round() / wide, (moves[1] * high).round() / high),
        turned(first, wide / high),
        rows((scale * stretch, 0.0, 0.0), (0.0, scale / stretch, 0.0), (0.0, 0.0, 1.0), like=one),
        turned(second, wide / high),
        shifted(slides[0], slides[1]),
    ]
    way = ways[0]
    for each in ways[1:]:
        way = way @ each
    return way


def shifted(x: Float[Tensor, " B"], y: Float[Tensor, " B"]) -> Matrices:
    """By shares of the sides, which are 2 long in the grid's units."""
    return rows((1.0, 0.0, 2 * x), (0.0, 1.0, 2 * y), (0.0, 0.0, 1.0), like=x)


def turned(angle: Float[Tensor, " B"], ratio: float) -> Matrices:
    """A turn of pixels, whose sides are `ratio` : 1 in the grid's units."""
    cos, sin = angle.cos(), angle.sin()
    return rows((cos, -sin / ratio, 0.0), (sin * ratio, cos, 0.0), (0.0, 0.0, 1.0), like=angle)


def colour(draw: Draw, channels: int) -> Matrices:
    """[B, channels + 1, channels + 1]: what colours become; of 3 channels also their luma, hue and saturation."""
    eye = torch.eye(channels + 1, device=draw.device).repeat(draw.n, 1, 1)
    bright, contrast = draw.normal(0.2), torch.exp2(draw.normal(0.5))
    tint = eye.clone()
    tint[:, :channels] *= contrast[:, None, None]
    tint[:, :channels, channels] += bright[:, None] * contrast[:, None]
    flip = torch.where(draw.chosen(), (draw.uniform() < 0.5).float(), 0.0)
    if channels != 3:
        return tint * (1 - 2 * flip * (channels == 1))[:, None, None]
    grey = torch.full((3, 3), 1 / 3, device=draw.device)
    angle = torch.where(draw.chosen(), (2 * draw.uniform() - 1) * math.pi, 0.0)
    saturation = torch.exp2(draw.normal(1.0))
    cross = LUMA * torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]], device=draw.device)
    inner = torch.eye(3, device=draw.device)
    hue = (
        grey + angle.cos()[:, None, None] * (inner - grey) + angle.sin()[:, None, None] * cross
    )  # about the grey axis (Rodrigues)
    luma = inner - 2 * flip[:, None, None] * grey
    saturated = grey + saturation[:, None, None] * (inner - grey)
    more = eye.clone()
    more[:, :3, :3] = saturated @ hue @ luma
    return more @ tint
