"""The default U-Net (Ronneberger et al., 2015) of both families: residual blocks, attention on small maps, an embedding in
every block. A denoiser embeds the time; a generator embeds its latent vector.

Laid out for few operations a parameter: maps are halved by averaging and doubled by repeating after a 1 x 1 convolution on
the small map, so no convolution at full size does more than its two in a residual block.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.images import Size
from sfumato.networks.layers import Attention, Maps, Mixed, ResidualBlock, group_norm, rounded, zeroed


def level_count(size: Size, wanted: int, smallest: int = 4) -> int:
    """How many levels fit: a map is halved while its sides stay even and at least `smallest` long.

    Example:
        >>> level_count((24, 40), 4)
        3
    """
    levels = 1
    while levels < wanted and all(side % 2 == 0 and side // 2 >= smallest for side in size):
        size, levels = (size[0] // 2, size[1] // 2), levels + 1
    return levels


class UNet(nn.Module):
    """Maps of `inputs` channels to maps of `outputs` channels, told an embedding vector.

    `width` times each multiplier is the number of channels of a level, rounded to multiples of `grain`. Levels whose longer
    side is at most `attention` attend. The last convolution starts at zero. `rescale` is told to the residual blocks.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: Size,
        width: float,
        multipliers: Sequence[int] = (1, 2, 4, 4),
        blocks: int = 1,
        attention: int = 8,
        embedding: int = 0,
        dropout: float = 0.0,
        grain: int | None = None,
        rescale: bool = False,
    ):
        super().__init__()
        levels = level_count(size, len(multipliers))
        channels = [rounded(width * multiplier, grain) for multiplier in multipliers[:levels]]
        sides = [max(size) >> level for level in range(levels)]

        def stack(first: int, c: int, side: int) -> nn.ModuleList:
            sizes = [first] + [c] * (blocks - 1)
            attend = [Attention(c)] if side <= attention else []
            return nn.ModuleList([*(ResidualBlock(s, c, embedding, dropout, rescale) for s in sizes), *attend])

        self.enter = nn.Conv2d(inputs, channels[0], 3, padding=1)
        below = [channels[0], *channels[:-1]]
        self.down = nn.ModuleList(stack(b, c, s) for b, c, s in zip(below, channels, sides, strict=True))
        self.middle = stack(channels[-1], channels[-1], sides[-1])
        self.narrow = nn.ModuleList(nn.Conv2d(deep, shallow, 1) for shallow, deep in pairwise(channels))
        self.up = nn.ModuleList(stack(2 * c, c, s) for c, s in zip(channels, sides, strict=True))
        self.exit = nn.Sequential(
            group_norm(channels[0]), nn.SiLU(), zeroed(nn.Conv2d(channels[0], outputs, 3, padding=1))
        )

    def forward(self, x: Maps, embedding: Float[Tensor, "B d"] | Mixed | None = None) -> Maps:
        """[B, inputs, H, W] and [B, embedding] to [B, outputs, H, W]."""
        h = self.enter(x)
        skips = []
        for level, part in enumerate(self.down):
            h = run(part, F.avg_pool2d(h, 2) if level else h, embedding)
            skips.append(h)
        h = run(self.middle, h, embedding)
        for level in reversed(range(len(self.up))):
            h = run(self.up[level], torch.cat([h, skips[level]], dim=1), embedding)
            if level:
                h = F.interpolate(self.narrow[level - 1](h), scale_factor=2.0, mode="nearest")
        out: Tensor = self.exit(h)
        return out


def run(part: nn.Module, h: Maps, embedding: Float[Tensor, "B d"] | Mixed | None) -> Maps:
    """Residual blocks take the embedding, attention does not."""
    for layer in part.children():
        h = layer(h, embedding) if isinstance(layer, ResidualBlock) else layer(h)
    return h
