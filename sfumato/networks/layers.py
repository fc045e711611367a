"""The parts that networks share: time embedding, residual block, attention. Tensors in, tensors out."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Maps = Float[Tensor, "B C H W"]


def rounded(channels: float, grain: int | None = None) -> int:
    """The nearest multiple of `grain`, at least one; left out, of 8, or of 16 from 32 on, which is fast.

    Example:
        >>> rounded(22), rounded(79), rounded(79, grain=1)
        (24, 80, 79)
    """
    step = grain or (16 if channels >= 32 else 8)
    return max(round(channels / step), 1) * step


def group_norm(channels: int, per_group: int = 8) -> nn.GroupNorm:
    """Group normalisation with about `per_group` channels a group; the number of groups divides any channel count."""
    groups = max(channels // per_group, 1)
    while channels % groups:
        groups -= 1
    return nn.GroupNorm(groups, channels)


def zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    """A convolution that starts at zero, so that the network starts as the identity around it."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def sinusoidal(time: Float[Tensor, " B"], dim: int) -> Float[Tensor, "B d"]:
    """cos and sin of 1000 time / 10000^(i / (dim/2)): the positional encoding of a time in [0, 1].

    Reference: Vaswani et al. (2017), Attention is all you need.
    """
    half = dim // 2
    rates = torch.exp(-math.log(10_000) / max(half, 1) * torch.arange(half, device=time.device))
    angles = 1000.0 * time[:, None] * rates[None]
    return F.pad(torch.cat([angles.cos(), angles.sin()], dim=1), (0, dim - 2 * half))


class TimeEmbedding(nn.Module):
    """Linear(SiLU(Linear(sinusoidal(time)))): a time in [0, 1] as a vector for every block."""

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim
        self.layers = nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, time: Float[Tensor, " B"]) -> Float[Tensor, "B d"]:
        """[B] to [B, dim]."""
        out: Tensor = self.layers(sinusoidal(time, self.dim))
        return out


class Mixed(NamedTuple):
    """Two vectors for every image, and where the second one counts: 0 to 1, of a size that the maps' divides."""

    here: Float[Tensor, "B d"]
    there: Float[Tensor, "B d"]
    share: Float[Tensor, "B 1 H W"]


class ResidualBlock(nn.Module):
    """x + conv(act(norm(conv(act(norm(x)))))), the second norm scaled and shifted by the embedding where there is one.

    `rescale` divides the sum by sqrt(2), so that its variance does not grow from block to block (Song et al., 2021).
    Reference: He et al. (2016), Identity mappings in deep residual networks; Dhariwal and Nichol (2021) for the scale-shift.
    """

    def __init__(self, inputs: int, outputs: int, embedding: int = 0, dropout: float = 0.0, rescale: bool = False):
        super().__init__()
        self.factor = 2**-0.5 if rescale else 1.0
        self.norm_1, self.conv_1 = group_norm(inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm_2, self.conv_2 = group_norm(outputs), zeroed(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.modulation = nn.Linear(embedding, 2 * outputs) if embedding else None
        self.dropout = nn.Dropout(dropout)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Maps, embedding: Float[Tensor, "B d"] | Mixed | None = None) -> Maps:
        """[B, inputs, H, W] to [B, outputs, H, W]."""
        h = self.norm_2(self.conv_1(F.silu(self.norm_1(x))))
        if self.modulation is not None and embedding is not None:
            scale, shift = self._modulated(embedding, h).chunk(2, dim=1)
            h = torch.addcmul(shift, h, 1 + scale)
        out: Tensor = self.skip(x) + self.conv_2(self.dropout(F.silu(h)))
        return out * self.factor if self.factor != 1.0 else out

    def _modulated(self, embedding: Float[Tensor, "B d"] | Mixed, like: Maps) -> Maps:
        assert self.modulation is not None
        if isinstance(embedding, Tensor):
            made: Tensor = self.modulation(F.silu(embedding))[:, :, None, None]
            return made
        here, there = (self.modulation(F.silu(one))[:, :, None, None] for one in embedding[:2])
        return torch.lerp(here, there, F.adaptive_avg_pool2d(embedding.share, (like.shape[2], like.shape[3])))


class Attention(nn.Module):
    """x + proj(softmax(q k^T / sqrt(d)) v) over all pixels of a small map, in heads of about 32 channels.

    Reference: Vaswani et al. (2017); Zhang et al. (2019), Self-attention generative adversarial networks.
    """

    def __init__(self, channels: int, per_head: int = 32, twice: bool = False):
        """`twice`: its gradient has a gradient, which a fused attention's has not; for critics with penalties."""
        super().__init__()
        self.twice = twice
        self.heads = max(channels // per_head, 1)
        while channels % self.heads:
            self.heads -= 1
        self.norm = group_norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Maps) -> Maps:
        """[B, C, H, W] to the same."""
        batch, channels, height, width = x.shape
        # Pixels become rows; on channels_last tensors this is a view, not a copy.
        rows = self.qkv(self.norm(x)).permute(0, 2, 3, 1).reshape(batch, height * width, 3, self.heads, -1)
        q, k, v = (part.transpose(1, 2) for part in rows.unbind(2))
        if self.twice:
            h = (q @ k.transpose(2, 3) / math.sqrt(q.shape[3])).softmax(3) @ v
        else:
            h = F.scaled_dot_product_attention(q, k, v)
        h = h.transpose(1, 2).reshape(batch, height, width, channels)
        out: Tensor = x + self.proj(h.permute(0, 3, 1, 2))
        return out
