"""Pictures as parts of a plane that repeats them: their periodic component, without the jump at the borders."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def periodic_component(u: Float[Tensor, "... H W"]) -> Float[Tensor, "... H W"]:
    """p = u - s, where s is the smoothest picture whose jumps at the borders are those of u; p has the mean of u.

    s solves Delta s = v on the torus, with v the differences of opposite borders, in one Fourier transform. The spectrum of
    p lacks the cross of bright lines that the jumps give to the spectrum of u.
    Reference: Moisan (2011), Periodic plus smooth image decomposition.

    Example:
        >>> ramp = torch.arange(8.0).expand(8, 8)
        >>> bool(periodic_component(ramp).std() < ramp.std() / 2)
        True
    """
    x = u.double()
    rows, columns = x.shape[-2:]
    v = torch.zeros_like(x)
    down, across = x[..., -1, :] - x[..., 0, :], x[..., :, -1] - x[..., :, 0]
    v[..., 0, :] += down
    v[..., -1, :] -= down
    v[..., :, 0] += across
    v[..., :, -1] -= across
    q = 2 * (2 * math.pi * torch.arange(rows, dtype=x.dtype, device=x.device) / rows).cos()
    r = 2 * (2 * math.pi * torch.arange(columns // 2 + 1, dtype=x.dtype, device=x.device) / columns).cos()
    laplacian = q[:, None] + r[None] - 4
    laplacian[0, 0] = 1.0
    smooth = torch.fft.rfft2(v) / laplacian
    smooth[..., 0, 0] = 0.0
    return (x - torch.fft.irfft2(smooth, s=(rows, columns))).to(u.dtype)


def convolved(kernel: Float[Tensor, "C h w"], noise: Float[Tensor, "1 H W"]) -> Float[Tensor, "C a b"]:
    """sum_h k(h) n(x - h) at the a = H - h + 1, b = W - w + 1 places where the kernel lies inside, by Fourier transforms.

    Example:
        >>> convolved(torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[1.0, 0.0, 3.0]]])).round().tolist()
        [[[2.0, 3.0]]]
    """
    size = (noise.shape[1], noise.shape[2])
    product = torch.fft.rfft2(kernel, s=size) * torch.fft.rfft2(noise)
    return torch.fft.irfft2(product, s=size)[:, kernel.shape[1] - 1 :, kernel.shape[2] - 1 :]
