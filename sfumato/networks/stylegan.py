"""StyleGAN's generator (Karras, Laine and Aila, 2019): a learnt constant, and a style and noise for every layer.

It grows as progressive GAN does, and its critic is progressive GAN's with blurred halves. Droplets in its maps come from the
normalisation of each map, which tells nothing of how large it was beside the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.images import Size
from sfumato.networks.condition import Condition
from sfumato.networks.equalised import Conv, Linear, leaky
from sfumato.networks.filters import blurred
from sfumato.networks.layers import Maps
from sfumato.networks.mapping import Constant, Mapping, Noise, StyleGenerator, Styles
from sfumato.networks.progressive import Climbing, widths
from sfumato.streams import Rngs


def adaptive_norm(x: Maps, scale: Float[Tensor, "B C"], shift: Float[Tensor, "B C"]) -> Maps:
    """scale (x - mean) / sd + shift, mean and sd of each map of each image (AdaIN; Huang and Belongie, 2017).

    Example:
        >>> x = torch.tensor([1.0, 3.0]).view(1, 1, 1, 2)
        >>> adaptive_norm(x, torch.tensor([[2.0]]), torch.tensor([[5.0]])).flatten().round(decimals=3).tolist()
        [3.0, 7.0]
    """
    variance, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
    return torch.addcmul(shift[:, :, None, None], (x - mean) * (variance + 1e-8).rsqrt(), scale[:, :, None, None])


class Layer(nn.Module):
    """A convolution (where there is one), noise, bias, LeakyReLU, and the style."""

    def __init__(self, inputs: int, outputs: int, sides: Size, styles: int, up: bool = False):
        super().__init__()
        self.up, self.outputs = up, outputs
        self.conv = Conv(inputs, outputs, bias=False) if inputs else None
        self.noise, self.bias = Noise(outputs, sides), nn.Parameter(torch.zeros(outputs, 1, 1))
        self.style = Linear(styles, 2 * outputs)

    def forward(self, x: Maps, w: Float[Tensor, "B s"], rng: Rngs | None) -> Maps:
        """[B, inputs, H, W] to [B, outputs, H, W]."""
        x = x if self.conv is None else self.conv(x)
        x = leaky(self.noise(blurred(x) if self.up else x, rng) + self.bias)
        scale, shift = self.style(w).chunk(2, 1)
        return adaptive_norm(x, 1 + scale, shift)


class Generator(StyleGenerator, Climbing):
    """Two layers a level."""

    def __init__(
        self,
        latent: int,
        outputs: int,
        condition: int,
        size: Size,
        width: float,
        classes: int = 0,
        styles: int = 64,
        depth: int = 8,
        grain: int | None = None,
    ):
        c = widths(size, width, grain)
        Climbing.__init__(self, condition, outputs, c, soft=True)
        self.layers = 2 * len(c)
        self.mapping = Mapping(latent, styles, depth, classes)
        sides = [(size[0] >> level, size[1] >> level) for level in reversed(range(len(c)))]
        self.enter = Constant(c[0], sides[0])
        self.blocks = nn.ModuleList()
        for level, (n, side) in enumerate(zip(c, sides, strict=True)):
            beside = n if condition else 0
            enters = c[level - 1] + beside if level else c[0] + beside if condition else 0
            self.blocks.append(nn.ModuleList([Layer(enters, n, side, styles, up=level > 0), Layer(n, n, side, styles)]))

    @property
    def heard(self) -> int:
        return 2 * (int(self.level) + 1)

    def parts(self, level: int) -> Sequence[nn.Module]:
        return [*([self.mapping, self.enter] if level == 0 else []), self.blocks[level], *super().parts(level)]

    def paint(self, w: Styles, condition: Condition, rng: Rngs | None = None) -> Maps:
        def step(level: int, h: Maps) -> Maps:
            for i, layer in enumerate(self.blocks[level].children()):
                h = layer(h, w[:, 2 * level + i], rng)
            return h

        return self.climb(self.enter(w[:, 0]), step, condition)
