"""Gaussian vectors after a measurement: what is left to say of x when y = A x + noise n is known, exactly.

Three routes, because three things are cheap in turn: some entries given exactly need solves of the size of the others with the
precision; any other linear measurement needs one solve of the size of y with the covariance; and where each image has a blur of
its own, an iteration on all of them at once is a hundred times faster than a factorisation for each.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Complex128, Float64
from torch import Tensor

from sfumato.maths.linear import conjugate_gradients


def completed(
    x: Float64[Tensor, "n d"],
    unknown: Bool[Tensor, " d"],
    mean: Float64[Tensor, " d"],
    precision: Float64[Tensor, "d d"],
    z: Float64[Tensor, "n d"] | None = None,
) -> Float64[Tensor, "n d"]:
    """x with its unknown entries replaced by their mean given the known ones or, with standard normal z, by a draw.

    x_u given x_k is N(m_u - P_uu^-1 P_uk (x_k - m_k), P_uu^-1), P the precision: with P_uu = L L^T, a draw adds L^-T z_u.
    Reference: Rue and Held (2005), Gaussian Markov random fields, theorem 2.5.

    Example:
        >>> both = torch.tensor([[1.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
        >>> x = torch.tensor([[2.0, 0.0]], dtype=torch.float64)
        >>> mean = torch.zeros(2, dtype=torch.float64)
        >>> round(float(completed(x, torch.tensor([False, True]), mean, both.inverse())[0, 1]), 9)
        1.0
    """
    places = unknown.nonzero()[:, 0]
    rows = precision[places]
    root = torch.linalg.cholesky(rows[:, places])
    pull = rows @ torch.where(unknown, 0.0, x - mean).T
    made = mean[places, None] - torch.cholesky_solve(pull, root)
    if z is not None:
        made = made + torch.linalg.solve_triangular(root.T, z[:, places].T, upper=True)
    out = x.clone()
    out[:, places] = made.T
    return out


def corrected(
    start: Float64[Tensor, "n d"],
    residual: Float64[Tensor, "n m"],
    cross: Float64[Tensor, "m d"],
    inner: Float64[Tensor, "m m"],
    noise: float,
) -> Float64[Tensor, "n d"]:
    """start + C A^T (A C A^T + noise^2 I)^-1 residual, told by cross = A C and inner = A C A^T.

    With start = the mean and residual = y - A start it is the posterior's mean. With start a draw of the prior and
    residual = y - A start - noise n it is a draw of the posterior (Matheron's rule).
    Reference: Wilson et al. (2020), Efficiently sampling functions from Gaussian process posteriors, theorem 1.

    Example:
        >>> one = torch.ones(1, 1, dtype=torch.float64)
        >>> round(corrected(0 * one, 3 * one, 2 * one, 4 * one, noise=2**0.5).item(), 9)
        1.0
    """
    summed = inner.clone()
    summed.diagonal().add_(noise**2)
    root = torch.linalg.cholesky(summed)
    return start + torch.cholesky_solve(residual.T, root).T @ cross


def spectrum(covariance: Float64[Tensor, "d d"], channels: int, size: tuple[int, int]) -> Complex128[Tensor, "H h C C"]:
    """What a covariance of images says of each frequency alone: the diagonal of F C F^H, channels against channels.

    All of C, if images knew no place; here a guess that makes an iteration short.

    Example:
        >>> spectrum(torch.eye(12, dtype=torch.float64), 3, (2, 2)).real[0, 0].tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    rows, columns = size
    parts = covariance.view(channels, rows, columns, channels, rows, columns)
    out = torch.empty(channels, channels, rows, columns, dtype=torch.complex128, device=covariance.device)
    for i in range(channels):
        for j in range(channels):  # a pair at a time, since complex numbers take twice the memory
            turned = torch.fft.fft2(torch.fft.ifft2(parts[i, :, :, j], dim=(2, 3)), dim=(0, 1))
            out[i, j] = turned.reshape(rows * columns, -1).diagonal().view(rows, columns)
    return out[..., : columns // 2 + 1].permute(2, 3, 0, 1)


def filtered(
    residual: Float64[Tensor, "n d"],
    forward: Callable[[Tensor], Tensor],
    adjoint: Callable[[Tensor], Tensor],
    covariance: Callable[[Tensor], Tensor],
    guess: Complex128[Tensor, "H h C C"],
    noise: float,
    steps: int = 200,
    tolerance: float = 1e-8,
) -> tuple[Float64[Tensor, "n d"], Float64[Tensor, " n"]]:
    """C A^T (A C A^T + noise^2 I)^-1 residual where every image has a filter A of its own; and how far off that still is.

    The other routes factorise a matrix for each A, seconds at 32 x 32 x 3. This one iterates on all images at once, helped
    by the inverse that would be exact if C knew no place: |a(f)|^2 S(f) + noise^2 at each frequency, S its `spectrum`.
    The second answer is |A C A^T v + noise^2 v - residual| / |residual| for each image.
    """
    n, channels, size = (
        len(residual),
        guess.shape[-1],
        (guess.shape[0], residual.shape[1] // guess.shape[-1] // guess.shape[0]),
    )
    impulse = residual.new_zeros(n, channels, *size)
    impulse[:, :, 0, 0] = 1.0
    gain = torch.fft.rfft2(forward(impulse.flatten(1)).view(n, channels, *size))[:, 0].abs().square()
    eye = torch.eye(channels, dtype=guess.dtype, device=guess.device)
    inverse = torch.linalg.inv(gain[..., None, None] * guess + noise**2 * eye)

    def precondition(v: Tensor) -> Tensor:
        turned = torch.einsum("nhwij,njhw->nihw", inverse, torch.fft.rfft2(v.view(n, channels, *size)))
        return torch.fft.irfft2(turned, s=size).flatten(1)

    def apply(v: Tensor) -> Tensor:
        return forward(covariance(adjoint(v))) + noise**2 * v

    v = conjugate_gradients(apply, residual, steps, tolerance, precondition)
    off = (apply(v) - residual).norm(dim=1) / residual.norm(dim=1).clamp(min=1e-30)
    return covariance(adjoint(v)), off


def log_density(
    x: Float64[Tensor, "n d"], mean: Float64[Tensor, " d"], root: Float64[Tensor, "d d"]
) -> Float64[Tensor, " n"]:
    """log N(x; mean, L L^T) in nats, L the lower Cholesky factor.

    Example:
        >>> zero, one = (torch.full((1, 1), value, dtype=torch.float64) for value in (0.0, 1.0))
        >>> round(log_density(zero, zero[0], one).item(), 4)
        -0.9189
    """
    white = torch.linalg.solve_triangular(root, (x - mean).T, upper=False)
    return -0.5 * (white.square().sum(0) + len(mean) * math.log(2 * math.pi)) - root.diagonal().log().sum()
