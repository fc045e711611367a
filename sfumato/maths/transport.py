"""Optimal transport from a law that can be drawn from to finitely many points: the semi-discrete dual, by averaged SGD.

The dual potential v has one number a point. Each y belongs to the point that minimises c(x, y_j) - v_j (a Laguerre cell), and
v is right when the cells have the weights of the points. Textures and `semi_discrete_wgan` use it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sfumato.errors import ShapeError

Draw = Callable[[int], Float[Tensor, "B d"]]
AT_ONCE = 1 << 24  # costs that are held at once
NEAR = 1 << 20  # and as many as stay in a processor's cache, for what is only looked for


class Cost(NamedTuple):
    """c(x, y) = |x - y|^power: 1 is the cost of W_1, 2 that of W_2^2."""

    power: int = 2

    def __call__(self, x: Float[Tensor, "B d"], y: Float[Tensor, "n d"]) -> Float[Tensor, "B n"]:
        if self.power == 1:
            return torch.cdist(x, y)
        # |x|^2 - 2 <x, y> + |y|^2 in one product
        return (x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T).clamp(min=0.0)


def assigned(
    x: Float[Tensor, "B d"],
    y: Float[Tensor, "n d"],
    v: Float[Tensor, " n"],
    cost: Cost = Cost(),  # noqa: B008
) -> tuple[Int64[Tensor, " B"], Float[Tensor, " B"]]:
    """The cell of each x, argmin_j c(x, y_j) - v_j, and that minimum: the c-transform of v.

    Example:
        >>> place, value = assigned(torch.tensor([[0.4]]), torch.tensor([[0.0], [1.0]]), torch.tensor([0.0, 0.5]))
        >>> int(place), round(float(value), 2)
        (1, -0.14)
    """
    rows = max(AT_ONCE // max(len(y), 1), 1)
    found = [(cost(part, y) - v).min(1) for part in x.split(rows)]
    return torch.cat([one.indices for one in found]), torch.cat([one.values for one in found])


def cell(x: Float[Tensor, "B d"], y: Float[Tensor, "n d"], v: Float[Tensor, " n"] | None = None) -> Int64[Tensor, " B"]:
    """argmin_j |x - y_j|^2 - v_j, the cell of each x alone: one product and one look for the largest, in a cache's reach.

    Without v it is the nearest y, to rounding.

    Example:
        >>> cell(torch.tensor([[0.4]]), torch.tensor([[0.0], [1.0]]), torch.tensor([0.0, 0.5])).tolist()
        [1]
    """
    lengths = y.square().sum(1)
    held = (-lengths if v is None else v - lengths)[None]
    twice = 2 * y.T
    x, rows = x.detach(), max(NEAR // len(y), 1)
    found = torch.empty(len(x), dtype=torch.int64, device=x.device)
    # One room for all parts: rooms that come and go leave holes too small for the next, and a process of gigabytes.
    room = x.new_empty(min(rows, len(x)), len(y))
    for part, out in zip(x.split(rows), found.split(rows), strict=True):
        torch.argmax(torch.addmm(held, part, twice, out=room[: len(part)]), 1, out=out)
    return found


def dual(
    x: Float[Tensor, "B d"],
    y: Float[Tensor, "n d"],
    v: Float[Tensor, " n"],
    weights: Float[Tensor, " n"] | None = None,
    cost: Cost = Cost(),  # noqa: B008
) -> Float[Tensor, ""]:
    """E_x min_j (c(x, y_j) - v_j) + sum_j w_j v_j: below the transport cost for any v, equal to it for the best one."""
    w = torch.full_like(v, 1 / len(y)) if weights is None else weights
    return assigned(x, y, v, cost)[1].mean() + (w * v).sum()


def ascend(
    draw: Draw,
    y: Float[Tensor, "n d"],
    *,
    steps: int,
    batch: int = 256,
    rate: float = 1.0,
    start: Float[Tensor, " n"] | None = None,
    weights: Float[Tensor, " n"] | None = None,
    cost: Cost = Cost(),  # noqa: B008
) -> Iterator[tuple[int, Float[Tensor, " n"]]]:
    """Averaged stochastic gradient ascent on the dual; yields the steps taken and the mean of the potentials so far.

    v_j rises by a_t (w_j - share of the batch in its cell), a_t = rate n / sqrt(t): the gradient of one number is of size
    1 / n, so the rate is in units of the cost. The mean is over the second half of the steps, in which v is near.
    Reference: Genevay, Cuturi, Peyre and Bach (2016), Stochastic optimization for large-scale optimal transport; Galerne,
    Leclaire and Rabin (2018), A texture synthesis model based on semi-discrete optimal transport in patch space.

    Raises: ShapeError: no points.
    """
    n = len(y)
    if n == 0:
        raise ShapeError("transport needs at least one point to go to; got none")
    v = torch.zeros(n, dtype=y.dtype, device=y.device) if start is None else start.clone()
    w = torch.full_like(v, 1 / n) if weights is None else weights
    mean, taken = v.clone(), 0
    for t in range(1, steps + 1):
        place = cell(draw(batch), y, v) if cost.power == 2 else assigned(draw(batch), y, v, cost)[0]
        share = torch.bincount(place, minlength=n).to(v.dtype) / batch
        v = v + rate * n / t**0.5 * (w - share)
        if 2 * t > steps:
            taken += 1
            mean = mean + (v - mean) / taken
        else:
            mean = v
        yield t, mean
