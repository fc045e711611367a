"""Filters that resize maps: zeros between pixels, a separable filter, every n-th pixel. Tensors in, tensors out.

As a matrix along rows and one along columns: of maps of up to some hundred pixels that is ten times as fast on a processor as a
convolution with zeros in between, and it has any derivative.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sfumato.networks.layers import Maps

SOFT = (1.0, 3.0, 3.0, 1.0)  # binomial: the style networks' filter between two sizes
Pads = tuple[int, int]


def matrix(n: int, f: Float[Tensor, " k"], up: int = 1, down: int = 1, pad: Pads = (0, 0)) -> Float[Tensor, "m n"]:
    """What resizes a line of n pixels: `up` - 1 zeros after each, `pad` zeros before and after, the filter f times `up`, so
    that the mean stays, and every `down`-th pixel; m = (n up + pads - k) // down + 1. Negative pads cut.

    Example:
        >>> matrix(2, torch.tensor([0.5, 0.5]), up=2, pad=(1, 0)).tolist()
        [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
    """
    k, m = len(f), (n * up + sum(pad) - len(f)) // down + 1
    place = torch.arange(n)[None] * up + pad[0] - torch.arange(m)[:, None] * down  # of pixel n under the filter at m
    inside = (place >= 0) & (place < k)
    return torch.where(inside, f.flip(0)[place.clamp(0, k - 1)] * up, 0.0).to(f.dtype)


def along(x: Maps, rows: Float[Tensor, "h H"], columns: Float[Tensor, "w W"]) -> Maps:
    """The matrices along rows and columns: [B, C, H, W] to [B, C, h, w], channels last."""
    b, c, high, wide = x.shape
    lines = x.permute(0, 2, 3, 1)
    lines = (rows @ lines.reshape(b, high, wide * c)).view(-1, wide, c)
    return (columns @ lines).view(b, len(rows), len(columns), c).permute(0, 3, 1, 2)


def filtered(x: Maps, weights: tuple[float, ...], up: int = 1, down: int = 1, pad: Pads = (0, 0)) -> Maps:
    """`along` rows and columns by weights that add up to 1."""
    f = torch.tensor(weights) / sum(weights)
    rows, columns = (matrix(n, f, up, down, pad).to(x) for n in x.shape[2:])
    return along(x, rows, columns)


def doubled(x: Maps) -> Maps:
    """[B, C, H, W] to [B, C, 2H, 2W] by SOFT, which is linear interpolation; the border is as what is next to it."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear")


def halved(x: Maps) -> Maps:
    """[B, C, H, W] to [B, C, H / 2, W / 2] by SOFT, with zeros around."""
    return blurred(x, SOFT, 2)


def blurred(x: Maps, weights: tuple[float, ...] = (1.0, 2.0, 1.0), every: int = 1) -> Maps:
    """Every n-th pixel of a filtered map with zeros around; [B, C, H, W] to [B, C, H / every, W / every]."""
    f = torch.tensor(weights, dtype=x.dtype, device=x.device)
    f = (f / f.sum()).expand(x.shape[1], 1, 1, -1)
    half = (len(weights) - 1) // 2
    x = F.conv2d(x, f, stride=(1, every), padding=(0, half), groups=len(f))
    return F.conv2d(x, f.transpose(2, 3), stride=(every, 1), padding=(half, 0), groups=len(f))
