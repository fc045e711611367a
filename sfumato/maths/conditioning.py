"""Gaussian vectors after a measurement: what is left to say of x when y = A x + noise n is known, exactly.

Two routes, because two matrices are cheap in turn: some entries given exactly need solves of the size of the others with the
precision; any other linear measurement needs one solve of the size of y with the covariance.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float64
from torch import Tensor


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
