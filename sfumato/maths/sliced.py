"""Sliced Wasserstein distances: clouds of vectors, compared along random directions, where optimal transport is sorting."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor


def directions(count: int, d: int, rng: Generator) -> Float[Tensor, "k d"]:
    """Unit vectors in uniformly random directions."""
    return F.normalize(torch.randn(count, d, generator=rng, device=rng.device), dim=1)


def quantiles(y: Float[Tensor, "k m"], n: int) -> Float[Tensor, "k n"]:
    """Each row in order of size; where n is not m, its quantile function at the middles of n equal parts.

    Example:
        >>> quantiles(torch.tensor([[3.0, 1.0]]), 2).tolist(), quantiles(torch.tensor([[3.0, 1.0]]), 4).tolist()
        ([[1.0, 3.0]], [[1.0, 1.5, 2.5, 3.0]])
    """
    ordered, m = y.sort(1).values, y.shape[1]
    if n == m:
        return ordered
    place = ((torch.arange(n, device=y.device, dtype=y.dtype) + 0.5) * (m / n) - 0.5).clamp(0, m - 1)
    low = place.long().clamp(max=max(m - 2, 0))
    return torch.lerp(ordered[:, low], ordered[:, (low + 1).clamp(max=m - 1)], place - low)


def apart(x: Float[Tensor, "k n"], y: Float[Tensor, "k m"], power: int = 2) -> Float[Tensor, " k"]:
    """W_p^p between the laws of two rows of numbers, |F_x^-1 - F_y^-1|^p in the mean; exact where they are equally many.

    Example:
        >>> apart(torch.tensor([[0.0, 4.0]]), torch.tensor([[5.0, 1.0]])).tolist()
        [1.0]
    """
    gap = x.sort(1).values - quantiles(y, x.shape[1])
    return (gap.square() if power == 2 else gap.abs()).mean(1)


def sliced(
    x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], theta: Float[Tensor, "k d"], power: int = 2
) -> Float[Tensor, ""]:
    """The mean over directions of W_p^p between the projections of two clouds.

    Reference: Rabin, Peyre, Delon and Bernot (2011), Wasserstein barycenter and its application to texture mixing.
    """
    return apart(theta @ x.T, theta @ y.T, power).mean()
