"""Resampling: the antialiased cubic filter that shrinks one axis, as a matrix, and TensorFlow 1's bilinear rule."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64
from torch import Tensor


def cubic_kernel(t: Float64[Tensor, " *shape"], a: float = -0.5) -> Float64[Tensor, " *shape"]:
    """Keys' cubic: (a+2)|t|^3 - (a+3)|t|^2 + 1 for |t| < 1, a(|t|^3 - 5|t|^2 + 8|t| - 4) for 1 <= |t| < 2, else 0.

    Reference: Keys (1981), Cubic convolution interpolation for digital image processing.
    """
    t = t.abs()
    near = (a + 2) * t**3 - (a + 3) * t**2 + 1
    far = a * (t**3 - 5 * t**2 + 8 * t - 4)
    return torch.where(t < 1, near, torch.where(t < 2, far, torch.zeros_like(t)))


def cubic_matrix(large: int, small: int) -> Float64[Tensor, "h H"]:
    """D with small = D large: row i weighs the pixels near (i + 1/2) large / small - 1/2; rows sum to 1.

    The kernel is stretched by large / small, which removes the frequencies that the small grid cannot hold, as Pillow's
    BICUBIC and MATLAB's imresize do.

    Example:
        >>> cubic_matrix(8, 4).sum(dim=1).round(decimals=9).tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    ratio = large / small
    centres = (torch.arange(small, dtype=torch.float64) + 0.5) * ratio - 0.5
    distance = torch.arange(large, dtype=torch.float64)[None] - centres[:, None]
    weights = cubic_kernel(distance / ratio)
    return weights / weights.sum(dim=1, keepdim=True)


def tensorflow_bilinear(x: Float[Tensor, "B C H W"], height: int, width: int) -> Float[Tensor, "B C h w"]:
    """y[i] = (1 - t) x[floor s] + t x[floor s + 1] with s = i H / h and t = s - floor s, along each axis.

    This is TensorFlow 1's resize_bilinear without align_corners: no half pixels, so that the first pixel stays where it
    is and the picture moves by half a pixel, and no antialiasing. The original FID and Inception Score code used it.

    Example:
        >>> tensorflow_bilinear(torch.tensor([[[[0.0, 1.0]]]]), 1, 4).flatten().tolist()
        [0.0, 0.5, 1.0, 1.0]
    """
    for axis, size in ((2, height), (3, width)):
        n = x.shape[axis]
        if n == size:
            continue
        place = torch.arange(size, dtype=torch.float32) * (n / size)
        low = place.floor()
        part = (place - low).to(x).view((-1, 1) if axis == 2 else (-1,))
        first, second = low.long().to(x.device), (low.long() + 1).clamp(max=n - 1).to(x.device)
        x = torch.lerp(x.index_select(axis, first), x.index_select(axis, second), part)
    return x
