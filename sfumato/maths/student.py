"""Student's law and what Cochran and Cox made of it for sums of variances that are known unequally well, without SciPy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959964  # the 97.5 % point of the normal law
NORMAL = 1e5  # degrees of freedom from which the law is taken for the normal one
FAINTEST = 1e-26  # smallest p that is told apart

Floats = NDArray[np.float64]


def student_p(t: Any, freedom: float) -> Any:
    """P(|T| >= |t|) for T with `freedom` degrees of freedom: the share of its density beyond |t|.

    With t = sqrt(freedom) / tan(phi) the integrand is sin(phi)^(freedom - 1), which Gauss' rule integrates from 0 to phi.

    Example:
        >>> round(student_p(2.262, 9), 3), round(student_p(1.96, 1e6), 3)
        (0.05, 0.05)
    """
    t = np.abs(np.asarray(t, dtype=np.float64))
    if freedom > NORMAL:
        p = np.vectorize(math.erfc, otypes=[float])(t / math.sqrt(2))
    else:
        places, weights = np.polynomial.legendre.leggauss(200)
        end = np.arctan2(math.sqrt(freedom), t)
        tail = (np.sin(end[..., None] * (places + 1) / 2) ** (freedom - 1) * weights).sum(-1) * end
        whole = math.sqrt(math.pi) * math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom + 1) / 2))
        p = np.minimum(tail / whole, 1.0)
    return float(p) if p.ndim == 0 else p


def student_t(p: Any, freedom: float) -> Any:
    """The t with P(|T| >= t) = p: what |t| has to reach at a two-sided level p.

    Read from a table of 4,000 points of `student_p`, to four digits.

    Example:
        >>> round(student_t(0.05, 1), 3), round(student_t(0.05, 9), 3), round(student_t(0.05, math.inf), 3)
        (12.706, 2.262, 1.96)
    """
    faintness, size = _table(min(float(freedom), 2 * NORMAL))
    u = -np.log(np.clip(np.asarray(p, dtype=np.float64), FAINTEST, 1.0))
    t = np.where(u > faintness[0], np.exp(np.interp(u, faintness, size)), 0.0)
    return float(t) if t.ndim == 0 else t


@lru_cache(maxsize=256)
def _table(freedom: float) -> tuple[Floats, Floats]:
    """-log p, rising, and the log of the t that belongs to it."""
    size = np.linspace(math.log(1e-6), math.log(1e27), 4000)  # with one degree of freedom the faintest p needs 6e25
    faintness = -np.log(np.maximum(student_p(np.exp(size), freedom), 1e-300))
    rising = np.concatenate([[True], np.diff(faintness) > 0])  # p is 0 in floating point beyond some t
    return faintness[rising], size[rising]


def cochran_cox_half(level: Any, variances: Floats, freedoms: Sequence[float]) -> Any:
    """Half the width of the interval of a sum of independent errors: sum_c V_c t_c(level) / sqrt(sum_c V_c).

    `variances` [..., c] are those of the components, each estimated with its own degrees of freedom; a component without
    variance asks for nothing. The critical value is the mean of Student's, weighted by the variances.
    Reference: Cochran and Cox (1957), Experimental designs, section 4.14.

    Example:
        >>> round(cochran_cox_half(0.05, np.array([1.0, 0.0]), [math.inf, 1]), 3)
        1.96
    """
    total = variances.sum(-1)
    reach = sum(variances[..., c] * student_t(level, freedom) for c, freedom in enumerate(freedoms))
    half = np.divide(reach, np.sqrt(total), out=np.zeros_like(np.asarray(reach, float)), where=np.asarray(total) > 0)
    return float(half) if half.ndim == 0 else half


def cochran_cox_p(gap: Any, variances: Floats, freedoms: Sequence[float]) -> Any:
    """The level at which the interval of `cochran_cox_half` just reaches 0; 1 for no gap, and for no gap without variance."""
    gap = np.abs(np.asarray(gap, dtype=np.float64))
    low, high = np.zeros_like(gap), np.full_like(gap, -math.log(FAINTEST))  # of -log p
    for _ in range(50):
        middle = (low + high) / 2
        inside = cochran_cox_half(np.exp(-middle), variances, freedoms) <= gap
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    p = np.where(gap > 0, np.exp(-low), 1.0)
    return float(p) if p.ndim == 0 else p


def holm(p: Any) -> Any:
    """Holm's step-down correction over the last axis: the k-th smallest of m is multiplied by m - k + 1, kept in order.

    Reference: Holm (1979), A simple sequentially rejective multiple test procedure.

    Example:
        >>> holm([0.01, 0.04, 0.03]).tolist()
        [0.03, 0.06, 0.06]
    """
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p, axis=-1, kind="stable")
    left = p.shape[-1] - np.arange(p.shape[-1])
    corrected = np.maximum.accumulate(np.minimum(np.take_along_axis(p, order, -1) * left, 1.0), axis=-1)
    answer = np.empty_like(p)
    np.put_along_axis(answer, order, corrected, -1)
    return answer


def holm_levels(p: Any, alpha: float) -> Any:
    """The level at which each interval is drawn, so that it leaves 0 out where, and only where, Holm's correction rejects.

    The k-th smallest of m is judged at alpha / (m - k + 1); from the first that is not rejected on, all at its level.
    """
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    levels = np.empty_like(p)
    for rank, place in enumerate(order):
        level = alpha / (len(p) - rank)
        levels[place] = level
        if p[place] > level:
            levels[order[rank:]] = level
            break
    return levels
