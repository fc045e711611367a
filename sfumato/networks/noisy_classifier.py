"""A classifier of noisy images, which is told how noisy they are: what classifier guidance takes its slope from."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.images import Size
from sfumato.networks.layers import Maps, ResidualBlock, TimeEmbedding, group_norm, rounded
from sfumato.networks.unet import level_count


class NoisyClassifier(nn.Module):
    """The way down of a U-Net, one residual block a level, the mean over places, and a linear layer.

    Reference: Dhariwal and Nichol (2021), Diffusion models beat GANs on image synthesis, appendix C.

    Example:
        >>> import torch
        >>> NoisyClassifier(3, 10, (16, 24), 8)(torch.zeros(5, 3, 16, 24), torch.rand(5)).shape
        torch.Size([5, 10])
    """

    def __init__(self, channels: int, classes: int, size: Size, width: float):
        super().__init__()
        widths = [rounded(width * min(2**level, 4)) for level in range(level_count(size, 4))]
        self.time = TimeEmbedding(max(round(4 * width), 8))
        self.enter = nn.Conv2d(channels, widths[0], 3, padding=1)
        below = [widths[0], *widths[:-1]]
        self.blocks = nn.ModuleList(ResidualBlock(a, b, self.time.dim) for a, b in zip(below, widths, strict=True))
        self.norm, self.head = group_norm(widths[-1]), nn.Linear(widths[-1], classes)

    def forward(self, x: Maps, time: Float[Tensor, " B"]) -> Float[Tensor, "B K"]:
        """Logits of each class."""
        h, told = self.enter(x), self.time(time)
        for level, block in enumerate(self.blocks):
            h = block(F.avg_pool2d(h, 2) if level else h, told)
        out: Tensor = self.head(F.silu(self.norm(h)).mean((2, 3)))
        return out
