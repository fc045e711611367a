"""StyleGAN3's generator (Karras et al., 2021, Alias-free generative adversarial networks): maps are finely sampled signals.

A picture begins with plane waves, which can be moved; every layer's non-linearity is done on finer pixels and what they cannot
hold is taken out before they are left again. So details move with what they belong to. T: 3 x 3 convolutions, equivariant to
translation; R: 1 x 1 and round filters, to rotation too.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.images import Size
from sfumato.networks.alias_free import Band, Waves, bands, low_pass, round_low_pass
from sfumato.networks.condition import Condition
from sfumato.networks.equalised import GAIN, SLOPE, Linear
from sfumato.networks.filters import along, matrix
from sfumato.networks.layers import Maps, rounded
from sfumato.networks.mapping import Mapping, StyleGenerator, Styles
from sfumato.networks.stylegan2 import Trunk
from sfumato.streams import Rngs

TAPS = 6  # of a filter, for each pixel of the coarser side
STEADY = 0.999  # of the running magnitude of what enters a layer, a forward pass in training
DEEPEST = 4  # times the width, for the lowest cutoffs
FAINT = 0.25  # of the picture, so that training begins with small values


class Layer(nn.Module):
    """A modulated convolution of maps of magnitude 1, then bias and LeakyReLU on pixels twice as fine as the finer side's."""

    magnitude: Tensor
    up_rows: Tensor
    up_columns: Tensor
    down_rows: Tensor
    down_columns: Tensor
    whole: Tensor

    def __init__(
        self, inputs: int, outputs: int, beside: int, styles: int, into: Band, out: Band, side: int, shown: bool
    ):
        """`beside`: maps of a condition. `shown`: the last layer, which is linear and not evened."""
        super().__init__()
        self.into, self.out, self.shown, self.side = into, out, shown, side
        self.v = nn.Parameter(nn.init.normal_(torch.empty(outputs, inputs + beside, side, side)))
        self.bias = nn.Parameter(torch.zeros(outputs, 1, 1))
        self.style = Linear(styles, inputs + beside, start=1.0)
        self.register_buffer("magnitude", torch.ones(()))
        self._filters(side)

    def _filters(self, side: int) -> None:
        """Matrices from the pixels that come in to the fine ones, and on to those that go out."""
        into, out = self.into, self.out
        fine = max(into.rate, out.rate) * (1 if self.shown else 2)
        up, down = round(fine / into.rate), round(fine / out.rate)
        rise = torch.ones(1) if self.shown or up == 1 else low_pass(TAPS * up, into.cutoff, 2 * into.half_width, fine)
        fall = torch.ones(1) if self.shown or down == 1 else low_pass(TAPS * down, out.cutoff, 2 * out.half_width, fine)
        for axis, name in enumerate(("rows", "columns")):
            n, m = into.size[axis] + side - 1, out.size[axis]  # the convolution looks beyond the border
            padding = (m - 1) * down + 1 - n * up + len(rise) + len(fall) - 2
            first = (padding + up) // 2
            raised = matrix(n, rise, up=up, pad=(first, padding - first))
            self.register_buffer(f"up_{name}", raised, persistent=False)
            self.register_buffer(f"down_{name}", matrix(len(raised), fall, down=down), persistent=False)
        spare = side == 1 and not self.shown and not out.critical and down > 1
        whole = round_low_pass(TAPS * down, out.cutoff, 2 * out.half_width, fine) if spare else torch.empty(0)
        self.register_buffer("whole", whole, persistent=False)
        self.down = down

    def forward(self, x: Maps, w: Float[Tensor, "B s"]) -> Maps:
        """[B, inputs, H, W] to [B, outputs, H', W']."""
        if self.training:
            with torch.no_grad():
                self.magnitude.lerp_(x.float().square().mean(), 1 - STEADY)
        s, weight = self.style(w), self.v
        if self.shown:
            s = s / math.sqrt(weight[0].numel())
        x = F.conv2d(x * (s * self.magnitude.rsqrt())[:, :, None, None], weight, padding=self.side - 1)
        if self.shown:
            return along(x, self.up_rows, self.up_columns) + self.bias
        even = (s.square() @ weight.square().sum((2, 3)).t() + 1e-8).rsqrt()
        fine = along(x * even[:, :, None, None] + self.bias, self.up_rows, self.up_columns)
        return self._fall(F.leaky_relu(fine, SLOPE) * GAIN)

    def _fall(self, fine: Maps) -> Maps:
        if not len(self.whole):
            return along(fine, self.down_rows, self.down_columns)
        filters = self.whole.to(fine.dtype).expand(fine.shape[1], 1, -1, -1)
        return F.conv2d(fine, filters, stride=self.down, groups=len(filters))


class Generator(StyleGenerator):
    """Waves, `layers` filtered layers and one that shows; the first style moves the waves."""

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
        layers: int = 6,
        critical: int = 2,
        margin: int = 10,
        rotates: bool = False,
    ):
        super().__init__()
        lie = bands(size, layers, critical, margin)
        highest = max(size) / 2
        c = [rounded(width * min(highest / band.cutoff, DEEPEST) * (2 if rotates else 1), grain) for band in lie]
        self.layers = layers + 2
        self.mapping = Mapping(latent, styles, depth, classes)
        self.enter = Waves(c[0], styles, lie[0], max(size))
        coarsest = max(band.halvings for band in lie)
        seen = [rounded(width * min(2**k, DEEPEST), grain) for k in range(coarsest + 1)] if condition else []
        self.look = Trunk(condition, seen[::-1]) if condition else None
        self.blocks = nn.ModuleList()
        for i, out in enumerate(lie):
            before, shown = max(i - 1, 0), i == layers
            into, side = lie[before], 1 if rotates or shown else 3
            beside = seen[into.halvings] if seen else 0
            self.blocks.append(Layer(c[before], outputs if shown else c[i], beside, styles, into, out, side, shown))

    def paint(self, w: Styles, condition: Condition, rng: Rngs | None = None) -> Maps:
        """Nothing is drawn: there is no noise, which would stay where it is while the rest moves."""
        seen = [] if self.look is None or condition.image is None else self.look(condition.image)[::-1]
        h = self.enter(w[:, 0])
        for i, block in enumerate(self.blocks.children()):
            assert isinstance(block, Layer)
            h = torch.cat([h, framed(seen[block.into.halvings], block.into.size)], 1) if seen else h
            h = block(h, w[:, i + 1])
        return FAINT * h


def framed(x: Maps, size: Size) -> Maps:
    """x in the middle of zeros."""
    over = (size[0] - x.shape[2]) // 2, (size[1] - x.shape[3]) // 2
    return F.pad(x, [over[1], over[1], over[0], over[0]])
