"""Plateau: whether a noisy series still falls."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def flat(values: Sequence[float], least: float = 1.0) -> bool:
    """Whether the slope of the least-squares line is less than `least` standard errors below 0.

    Neighbouring losses are of different batches, so that their errors are taken as independent.

    Example:
        >>> flat([5.0, 4.1, 2.9, 2.0, 1.1, 0.0]), flat([1.0, 0.8, 1.1, 0.9, 1.0, 0.9, 1.1])
        (False, True)
    """
    y, x = np.asarray(values, dtype=np.float64), np.arange(len(values), dtype=np.float64)
    x -= x.mean()
    slope = float(x @ y / (x @ x))
    rest = y - y.mean() - slope * x
    error = float(np.sqrt(rest @ rest / max(len(y) - 2, 1) / (x @ x)))
    return slope > -least * error
