"""Student's law: its 97.5 % point and its two-sided p, without SciPy."""

from __future__ import annotations

import math

import numpy as np

Z95 = 1.959964  # the 97.5 % point of the normal law


def student_95(freedom: float) -> float:
    """The 97.5 % point of Student's law; degrees of freedom are rounded down, which widens the interval.

    Example:
        >>> student_95(2.9), student_95(math.inf)
        (4.303, 1.959964)
    """
    table = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
    if freedom < len(table) + 1:
        return table[max(int(freedom), 1) - 1]
    if not math.isfinite(freedom):
        return Z95
    # Abramowitz and Stegun (1964), 26.7.5, two terms: within 0.002 of the exact quantile from 11 on.
    return Z95 + (Z95**3 + Z95) / (4 * freedom) + (5 * Z95**5 + 16 * Z95**3 + 3 * Z95) / (96 * freedom**2)


def student_p(t: float, freedom: float) -> float:
    """P(|T| >= |t|) for T with `freedom` degrees of freedom: 1 - the integral of its density over -|t|..|t|.

    With t = sqrt(freedom) tan(theta) the integrand is cos(theta)^(freedom - 1), which Gauss' rule integrates.

    Example:
        >>> round(student_p(2.262, 9), 3), round(student_p(1.96, 1e6), 3)
        (0.05, 0.05)
    """
    if freedom > 1e5:
        return math.erfc(abs(t) / math.sqrt(2))
    places, weights = np.polynomial.legendre.leggauss(200)
    end = math.atan(abs(t) / math.sqrt(freedom))
    tail = (np.cos(end + (math.pi / 2 - end) * (places + 1) / 2) ** (freedom - 1) * weights).sum() * (math.pi / 2 - end)
    whole = math.sqrt(math.pi) * math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom + 1) / 2))
    return float(min(tail / whole, 1.0))
