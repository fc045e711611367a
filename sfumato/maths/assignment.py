"""The assignment problem: which of equally many vectors belong together, so that all are near."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from sfumato.errors import CapabilityError


def solver() -> Callable[..., Any]:
    """SciPy's exact one.

    Raises: CapabilityError: SciPy is not installed.
    """
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError:
        raise CapabilityError("exact matching needs SciPy; pip install 'sfumato[textures]'") from None
    return linear_sum_assignment


def assigned(cost: Float64[Tensor, "n n"]) -> Int64[Tensor, " n"]:
    """The permutation s with the least sum_i cost[i, s_i], exactly.

    Raises: CapabilityError: see `solver`.

    Example:
        >>> assigned(torch.tensor([[0.0, 1.0], [-5.0, 2.0]]).double()).tolist()
        [1, 0]
    """
    return torch.from_numpy(solver()(cost.cpu().numpy())[1])


def matched(x: Float[Tensor, "n d"], y: Float[Tensor, "n d"]) -> Int64[Tensor, " n"]:
    """The permutation s with the least sum_i |x_i - y_(s_i)|^2: optimal transport between two batches."""
    place: Int64[Tensor, " n"] = assigned(-(x.double() @ y.double().T)).to(x.device)
    return place
