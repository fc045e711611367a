"""Ranks: how well one number tells two groups apart."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def auroc(usual: Float[Tensor, " m"], odd: Float[Tensor, " n"]) -> float:
    """The probability that an odd image has a higher score than a usual one, ties counted half.

    Example:
        >>> auroc(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 3.0]))
        0.875
    """
    usual = usual.sort().values
    below, with_ties = torch.searchsorted(usual, odd), torch.searchsorted(usual, odd, right=True)
    return float((below + with_ties).double().mean() / (2 * len(usual)))


def auroc_deviation(area: float, m: int, n: int) -> float:
    """Its standard deviation over draws of m usual and n odd images.

    Reference: Hanley and McNeil (1982), The meaning and use of the area under a receiver operating characteristic curve.

    Example:
        >>> round(auroc_deviation(0.5, 100, 100), 4)
        0.0409
    """
    odd, usual = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (n - 1) * (odd - area**2) + (m - 1) * (usual - area**2)
    return math.sqrt(max(variance, 0.0) / (m * n))
