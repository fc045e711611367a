"""Count, mean and scatter of vectors as one tensor [d + 2, d], which others may add to, send and join."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor


def packed(vectors: Float64[Tensor, "n d"]) -> Float64[Tensor, "d+2 d"]:
    """n in row 0; then up to d vectors as they are from row 2 on, more as mean (row 1) and scatter about it (the rest)."""
    n, d = vectors.shape
    state = vectors.new_zeros(d + 2, d)
    state[0] = n
    if n <= d:
        state[2 : n + 2] = vectors
    else:
        state[1], state[2:] = scatter(vectors)
    return state


def joined(states: Any) -> Float64[Tensor, "d+2 d"]:
    """The state of the vectors of several states; a stack of them is what torchmetrics gathers from processes.

    Once there are more than d: S = S_a + S_b + n_a n_b / (n_a + n_b) (m_a - m_b)(m_a - m_b)^T, as in `maths.moments`, which
    loses no digits to a large mean; a plain sum of squares would.
    Reference: Chan, Golub and LeVeque (1983), Algorithms for computing the sample variance.
    """
    total = states[0]
    for other in states[1:]:
        a, b, d = int(total[0, 0]), int(other[0, 0]), total.shape[1]
        if a + b <= d:
            total = packed(torch.cat([total[2 : a + 2], other[2 : b + 2]]))
        else:
            mean_a, scatter_a = (total[1], total[2:]) if a > d else scatter(total[2 : a + 2])
            mean_b, scatter_b = (other[1], other[2:]) if b > d else scatter(other[2 : b + 2])
            step = mean_b - mean_a
            total = torch.empty_like(total)
            total[0], total[1] = a + b, mean_a + step * (b / (a + b))
            torch.add(scatter_a, scatter_b, out=total[2:]).addr_(step, step, alpha=a * b / (a + b))
    return total


def scatter(vectors: Float64[Tensor, "n d"]) -> tuple[Float64[Tensor, " d"], Float64[Tensor, "d d"]]:
    """m, the mean of x, and sum (x - m)(x - m)^T; zeros where there are none."""
    mean = vectors.sum(0) / max(len(vectors), 1)
    return mean, (vectors - mean).T @ (vectors - mean)
