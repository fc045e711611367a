"""StyleGAN2's networks (Karras et al., 2020, Analyzing and improving the image quality of StyleGAN): weights hear the style.

A style scales what enters a convolution, and the result is divided by the deviation that this is expected to give it: no map is
looked at, so that none can hide in a droplet. No growing: pictures of all sizes are added up (skip), or maps are (residual).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.images import Size
from sfumato.networks.alias_free import Band, Waves
from sfumato.networks.condition import Condition
from sfumato.networks.equalised import Conv, Linear, leaky
from sfumato.networks.filters import SOFT, blurred, doubled, halved
from sfumato.networks.layers import Maps
from sfumato.networks.mapping import Constant, Mapping, Noise, StyleGenerator, Styles
from sfumato.networks.progressive import Exit, widths
from sfumato.streams import Rngs

Architecture = Literal["skip", "residual"]


class Modulated(nn.Module):
    """conv(s x) / |s w|: the weights w of each image scaled by its style s, then, if `even`, brought to norm 1 a channel out.

    The style scales what comes in and the norm what goes out, which is the same and needs no weights an image.
    """

    def __init__(self, inputs: int, outputs: int, styles: int, side: int = 3, up: bool = False, even: bool = True):
        super().__init__()
        self.up, self.even = up, even
        self.conv = Conv(inputs, outputs, side, bias=False)
        self.style = Linear(styles, inputs, start=1.0)

    def factors(self, w: Float[Tensor, "B s"]) -> tuple[Float[Tensor, "B a"], Float[Tensor, "B b"] | None]:
        """What each channel is multiplied with before the convolution, and after it."""
        s = self.style(w)
        if not self.even:
            return s, None
        norm = s.square() @ self.conv.weight.square().sum((2, 3)).t()
        return s, (norm + 1e-8).rsqrt()

    def forward(self, x: Maps, w: Float[Tensor, "B s"]) -> Maps:
        """[B, inputs, H, W] to [B, outputs, H, W], or twice as large."""
        s, even = self.factors(w)
        x, weight = x * s[:, :, None, None], self.conv.weight
        if self.up:
            x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
            x = blurred(x, SOFT) * 4.0
        else:
            x = F.conv2d(x, weight, padding=weight.shape[2] // 2)
        return x if even is None else x * even[:, :, None, None]


class Layer(nn.Module):
    """A modulated convolution, noise, bias and LeakyReLU."""

    def __init__(self, inputs: int, outputs: int, sides: Size, styles: int, up: bool = False):
        super().__init__()
        self.conv = Modulated(inputs, outputs, styles, up=up)
        self.noise, self.bias = Noise(outputs, sides), nn.Parameter(torch.zeros(outputs, 1, 1))

    def forward(self, x: Maps, w: Float[Tensor, "B s"], rng: Rngs | None) -> Maps:
        """[B, inputs, H, W] to [B, outputs, H, W], or twice as large."""
        return leaky(self.noise(self.conv(x, w), rng) + self.bias)


class Shown(nn.Module):
    """A map as a picture: a modulated 1 x 1 convolution that is not evened."""

    def __init__(self, inputs: int, outputs: int, styles: int):
        super().__init__()
        self.conv = Modulated(inputs, outputs, styles, 1, even=False)
        self.bias = nn.Parameter(torch.zeros(outputs, 1, 1))

    def forward(self, x: Maps, w: Float[Tensor, "B s"]) -> Maps:
        """[B, inputs, H, W] to [B, outputs, H, W]."""
        shown: Tensor = self.conv(x, w) + self.bias
        return shown


class Down(nn.Module):
    """Two convolutions, the second of the halved map, beside a 1 x 1 convolution of the halved input, over sqrt(2).

    The paper's second one looks at the filtered map before every other pixel is left out.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv_1, self.conv_2 = Conv(inputs, inputs), Conv(inputs, outputs)
        self.skip = Conv(inputs, outputs, 1, bias=False)

    def forward(self, x: Maps) -> Maps:
        """[B, inputs, H, W] to [B, outputs, H / 2, W / 2]."""
        h = leaky(self.conv_2(halved(leaky(self.conv_1(x)))))
        return (h + self.skip(halved(x))) / math.sqrt(2)


class Trunk(nn.Module):
    """Images to a map of each level, the smallest first."""

    def __init__(self, inputs: int, channels: list[int]):
        super().__init__()
        self.enter = Conv(inputs, channels[-1], 1)
        self.downs = nn.ModuleList(
            Down(channels[level], channels[level - 1]) for level in reversed(range(1, len(channels)))
        )

    def forward(self, x: Maps) -> list[Maps]:
        """[B, inputs, H, W] to as many maps as there are levels."""
        maps = [leaky(self.enter(x))]
        for down in self.downs:
            maps.append(down(maps[-1]))
        return maps[::-1]


class Critic(nn.Module):
    """[B, C, H, W] and what is told to one number an image."""

    def __init__(self, inputs: int, size: Size, width: float, classes: int = 0, grain: int | None = None):
        super().__init__()
        c = widths(size, width, grain)
        self.trunk = Trunk(inputs, c)
        self.exit = Exit(c[0], (size[0] >> (len(c) - 1), size[1] >> (len(c) - 1)), classes)

    def forward(self, x: Maps, condition: Condition) -> Float[Tensor, " B"]:
        score: Tensor = self.exit(self.trunk(condition.beside(x))[0], condition)
        return score


class Generator(StyleGenerator):
    """One layer at the smallest size, two at each other; the last style is also that of the picture."""

    def __init__(
        self,
        latent: int,
        outputs: int,
        condition: int,
        size: Size,
        width: float,
        classes: int = 0,
        styles: int = 64,
        depth: int = 2,
        grain: int | None = None,
        architecture: Architecture = "skip",
        waves: bool = False,
    ):
        super().__init__()
        c = widths(size, width, grain)
        sides = [(size[0] >> level, size[1] >> level) for level in reversed(range(len(c)))]
        self.architecture, self.layers = architecture, 2 * len(c)
        self.mapping = Mapping(latent, styles, depth, classes)
        coarse = Band(min(2.0, max(sides[0]) / 4), max(sides[0]) / 4, len(c) - 1, max(sides[0]), sides[0])
        self.enter = Waves(c[0], styles, coarse, max(size)) if waves else Constant(c[0], sides[0])
        self.look = Trunk(condition, c) if condition else None
        self.blocks, self.shows, self.skips = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for level, (n, side) in enumerate(zip(c, sides, strict=True)):
            below, beside = c[max(level - 1, 0)], n if condition else 0
            layers = [Layer(below, n, side, styles, up=True)] if level else []
            self.blocks.append(nn.ModuleList([*layers, Layer(n + beside, n, side, styles)]))
            if architecture == "skip" or level == len(c) - 1:
                self.shows.append(Shown(n, outputs, styles))
            if architecture == "residual" and level:
                self.skips.append(Conv(below, n, 1, bias=False))

    def paint(self, w: Styles, condition: Condition, rng: Rngs | None = None) -> Maps:
        seen = [] if self.look is None or condition.image is None else self.look(condition.image)
        h, picture, heard = self.enter(w[:, 0]), None, 0
        for level, block in enumerate(self.blocks):
            before, (*up, last) = h, block.children()
            for layer in up:
                h, heard = layer(h, w[:, heard], rng), heard + 1
            h, heard = last(torch.cat([h, seen[level]], 1) if seen else h, w[:, heard], rng), heard + 1
            if self.skips and level:
                h = (h + self.skips[level - 1](doubled(before))) / math.sqrt(2)
            if self.architecture == "skip":
                shown = self.shows[level](h, w[:, heard])
                picture = shown if picture is None else doubled(picture) + shown
        return self.shows[-1](h, w[:, heard]) if picture is None else picture
