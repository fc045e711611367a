"""Progressive GAN's networks (Karras, Aila, Laine and Lehtinen, 2018): mirrored, each resolution a pair of blocks that fade in.

Nearest pixels up, means down; layers of equal rates; the generator's vectors of one length at every pixel, the critic told
how much images of a batch differ. Its paper has no condition; here a trunk like the critic's looks at one, and the generator
has its maps beside its own at each size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.images import Size
from sfumato.networks.condition import Condition, FromLatent
from sfumato.networks.equalised import Conv, Linear, leaky, pixel_norm, with_deviation
from sfumato.networks.filters import blurred
from sfumato.networks.growth import Growing
from sfumato.networks.layers import Maps, rounded
from sfumato.networks.unet import level_count

DEEPEST = 4  # times the width, at the smallest maps


def widths(size: Size, width: float, grain: int | None) -> list[int]:
    """Channels of each level, the smallest size first."""
    return [rounded(width * min(2**level, DEEPEST), grain) for level in reversed(range(level_count(size, 8)))]


def repeated(x: Maps) -> Maps:
    """Each pixel four times."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


class Trunk(Growing):
    """Images of any level to maps of this level and all below: a head a level, then two convolutions and a mean.

    `soft` blurs what is halved first (StyleGAN).
    """

    def __init__(self, inputs: int, channels: Sequence[int], soft: bool = False):
        super().__init__(len(channels))
        self.soft = soft
        below = [channels[0], *channels[:-1]]
        self.heads = nn.ModuleList(Conv(inputs, c, 1) for c in channels)
        self.downs = nn.ModuleList(
            nn.ModuleList([Conv(c, c), Conv(c, b)] if level else [])
            for level, (c, b) in enumerate(zip(channels, below, strict=True))
        )

    def parts(self, level: int) -> Sequence[nn.Module]:
        return [self.heads[level], self.downs[level]]

    def forward(self, x: Maps) -> list[Maps]:
        """[B, inputs, H, W] to a map of each level, the smallest first."""
        level, fade = self.newest()
        h = leaky(self.heads[level](x))
        maps = [h]
        for at in range(level, 0, -1):
            first, second = self.downs[at].children()
            h = leaky(first(h))
            h = F.avg_pool2d(leaky(second(blurred(h) if self.soft else h)), 2)
            if at == level and fade < 1.0:
                h = torch.lerp(leaky(self.heads[at - 1](F.avg_pool2d(x, 2))), h, fade)
            maps.append(h)
        return maps[::-1]


class Climbing(Growing):
    """What generators that grow share: an exit a level, the newest faded in, and maps of a condition beside their own."""

    def __init__(self, condition: int, outputs: int, channels: Sequence[int], soft: bool = False):
        super().__init__(len(channels))
        self.look = Trunk(condition, channels, soft) if condition else None
        self.exits = nn.ModuleList(Conv(c, outputs, 1) for c in channels)

    def stand(self, level: int, fade: float) -> None:
        """The look at the condition stands there too."""
        super().stand(level, fade)
        if self.look is not None:
            self.look.stand(level, fade)

    def parts(self, level: int) -> Sequence[nn.Module]:
        return [self.exits[level], *([] if self.look is None else self.look.parts(level))]

    def climb(self, first: Maps, step: Callable[[int, Maps], Maps], condition: Condition) -> Maps:
        """step(level, what comes in and what is seen) of each level, and the exit of the last."""
        level, fade = self.newest()
        seen = [] if self.look is None or condition.image is None else self.look(condition.image)
        h = before = first
        for at in range(level + 1):
            before, h = h, repeated(h) if at else h
            h = step(at, torch.cat([h, seen[at]], 1) if seen else h)
        made: Tensor = self.exits[level](h)
        if fade < 1.0:
            made = torch.lerp(repeated(self.exits[level - 1](before)), made, fade)
        return made


class Generator(Climbing):
    """[B, latent] and what is told to [B, C, H, W], not bounded."""

    def __init__(
        self,
        latent: int,
        outputs: int,
        condition: int,
        size: Size,
        width: float,
        classes: int = 0,
        embedding: int | None = None,
        grain: int | None = None,
    ):
        c = widths(size, width, grain)
        super().__init__(condition, outputs, c)
        self.sides = (size[0] >> (len(c) - 1), size[1] >> (len(c) - 1))
        self.heard = FromLatent(latent, classes, embedding)
        self.enter = Linear(embedding or latent, c[0] * math.prod(self.sides))
        below = [c[0], *c[:-1]]
        self.blocks = nn.ModuleList(
            nn.ModuleList([Conv(b + (n if condition else 0), n), *([Conv(n, n)] if level else [])])
            for level, (b, n) in enumerate(zip(below, c, strict=True))
        )

    def parts(self, level: int) -> Sequence[nn.Module]:
        return [*([self.heard, self.enter] if level == 0 else []), self.blocks[level], *super().parts(level)]

    def forward(self, z: Float[Tensor, "B k"], condition: Condition) -> Maps:
        told = pixel_norm(self.heard.told(z, condition))
        first = leaky(self.enter(told)).view(len(z), -1, *self.sides)
        return self.climb(pixel_norm(first), self._step, condition)

    def _step(self, level: int, h: Maps) -> Maps:
        for conv in self.blocks[level].children():
            h = pixel_norm(leaky(conv(h)))
        return h


class Critic(Growing):
    """[B, C, H, W] and what is told to one number an image; a label adds the product of its vector with the last features."""

    def __init__(
        self,
        inputs: int,
        size: Size,
        width: float,
        classes: int = 0,
        grain: int | None = None,
        soft: bool = False,
    ):
        c = widths(size, width, grain)
        super().__init__(len(c))
        self.trunk = Trunk(inputs, c, soft)
        self.exit = Exit(c[0], (size[0] >> (len(c) - 1), size[1] >> (len(c) - 1)), classes)

    def stand(self, level: int, fade: float) -> None:
        """The trunk stands there too."""
        super().stand(level, fade)
        self.trunk.stand(level, fade)

    def parts(self, level: int) -> Sequence[nn.Module]:
        return [*([self.exit] if level == 0 else []), *self.trunk.parts(level)]

    def forward(self, x: Maps, condition: Condition) -> Float[Tensor, " B"]:
        score: Tensor = self.exit(self.trunk(condition.beside(x))[0], condition)
        return score


class Exit(nn.Module):
    """The smallest map, and how much images differ, to one number an image."""

    def __init__(self, channels: int, sides: Size, classes: int):
        super().__init__()
        self.conv = Conv(channels + 1, channels)
        self.hidden, self.last = Linear(channels * math.prod(sides), channels), Linear(channels, 1)
        self.label = nn.Embedding(classes, channels) if classes else None
        if self.label is not None:
            nn.init.zeros_(self.label.weight)

    def forward(self, h: Maps, condition: Condition) -> Float[Tensor, " B"]:
        h = leaky(self.hidden(leaky(self.conv(with_deviation(h))).flatten(1)))
        score: Tensor = self.last(h)[:, 0]
        return score if self.label is None else score + (self.label(condition.label) * h).mean(1)
