"""Neighbours: exact nearest neighbours and supports made of balls, in blocks of pairs so that memory stays small.

Squared distances are first taken in float32 as |a|^2 + |b|^2 - 2 a . b, which is fast, and then again in float64 as
sum (a - b)^2 wherever the first could decide wrongly; so results are those of float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from sfumato.errors import ShapeError
from sfumato.maths.moments import finite

BLOCK = 1024  # rows of one block of pairs
SPARE = 4  # candidates beyond the k-th that float64 looks at again
CARE = 64 * torch.finfo(torch.float32).eps  # of |a|^2 + |b|^2: errors of a float32 squared distance stay below


@dataclass(frozen=True)
class Nearest:
    """The k nearest of some candidates for each query, nearest first."""

    distance: Float64[Tensor, "m k"]
    index: Int[Tensor, "m k"]


@dataclass(frozen=True)
class Support:
    """How queries lie in the union of balls around centres."""

    covering: Int[Tensor, "m"]
    """For each query, how many balls hold it."""
    reached: Bool[Tensor, "n"]
    """For each centre, whether its ball holds a query."""


def nearest(queries: Float[Tensor, "m d"], candidates: Float[Tensor, "n d"] | None = None, k: int = 1) -> Nearest:
    """The k nearest candidates of each query by Euclidean distance; among themselves, each without itself, if left out.

    Raises: ShapeError: fewer candidates than k, or other widths. DivergedError: a number is not finite.

    Example:
        >>> nearest(torch.tensor([[0.0], [1.0], [5.0]]), k=1).distance.flatten().tolist()
        [1.0, 1.0, 4.0]
    """
    alone = candidates is None
    others = queries if candidates is None else candidates
    check(queries, others)
    most = len(others) - alone
    if not 1 <= k <= most:
        raise ShapeError(
            f"{k} neighbours of each vector are asked for, but there are {most}; give more images or lower k"
        )
    left, right = centred(queries, others)
    kept = min(k + SPARE, most)
    distances, indices = [], []
    for first in range(0, len(left), BLOCK):
        rows = torch.arange(first, min(first + BLOCK, len(left)), device=left.device)
        square = squared(left[rows], right)
        if alone:
            square[torch.arange(len(rows), device=left.device), rows] = torch.inf
        candidate = square.topk(kept, dim=1, largest=False).indices
        exact = exactly(queries[rows], others, candidate)
        order = exact.argsort(dim=1, stable=True)[:, :k]
        distances.append(exact.gather(1, order).sqrt())
        indices.append(candidate.gather(1, order))
    return Nearest(torch.cat(distances), torch.cat(indices))


def supported(
    queries: Float[Tensor, "m d"], centres: Float[Tensor, "n d"], radii: Float64[Tensor, "n ..."]
) -> list[Support]:
    """|query - centre| <= radius for all pairs; with radii [n, r], one answer for each of the r sets of balls.

    Raises: ShapeError: other widths, or not a radius a centre. DivergedError: a number is not finite.
    """
    check(queries, centres)
    if len(radii) != len(centres):
        raise ShapeError(f"{len(radii)} radii for {len(centres)} centres; each centre needs one")
    limits = radii.reshape(len(centres), -1).T.square()  # [r, n]
    left, right = centred(queries, centres)
    covering = torch.zeros(len(limits), len(left), dtype=torch.long, device=left.device)
    reached = torch.zeros(len(limits), len(right), dtype=torch.bool, device=left.device)
    sizes = right.square().sum(1)
    for first in range(0, len(left), BLOCK):
        block = left[first : first + BLOCK]
        square = squared(block, right)
        doubt = CARE * (block.square().sum(1)[:, None] + sizes)
        for place, limit in enumerate(limits):
            inside = square <= limit.float()
            unsure = ((square - limit.float()).abs() <= doubt).nonzero()
            for rows, columns in zip(unsure[:, 0].split(BLOCK), unsure[:, 1].split(BLOCK), strict=True):
                exact = (queries[first + rows].double() - centres[columns].double()).square().sum(1)
                # A query and a centre may be the very pair that gave the radius, whose root was squared again
                inside[rows, columns] = exact <= limit[columns] * (1 + 4e-16)
            covering[place, first : first + BLOCK] = inside.sum(1)
            reached[place] |= inside.any(0)
    return [Support(covering[place], reached[place]) for place in range(len(limits))]


def check(x: Float[Tensor, "m d"], y: Float[Tensor, "n d"]) -> None:
    """Raises: ShapeError: not two sets of vectors of one width. DivergedError: a number is not finite."""
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) == 0:
        raise ShapeError(f"two sets of vectors of one width are needed; got {tuple(x.shape)} and {tuple(y.shape)}")
    finite(x), finite(y)


def centred(x: Float[Tensor, "m d"], y: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "m d"], Float[Tensor, "n d"]]:
    """Both without the mean of y, in float32: distances stay, and there is less to cancel."""
    mean = y.double().mean(0)
    return (x.double() - mean).float(), (y.double() - mean).float()


def squared(x: Float[Tensor, "m d"], y: Float[Tensor, "n d"]) -> Float[Tensor, "m n"]:
    """|x|^2 + |y|^2 - 2 x . y, not negative."""
    square = torch.addmm(y.square().sum(1)[None], x, y.T, alpha=-2.0)
    return square.add_(x.square().sum(1)[:, None]).clamp_(min=0)


def exactly(
    queries: Float[Tensor, "m d"], candidates: Float[Tensor, "n d"], index: Int[Tensor, "m k"]
) -> Float64[Tensor, "m k"]:
    """sum (query - candidate)^2 in float64 for the candidates of each query."""
    columns = [
        (queries.double() - candidates[places].double()).square().sum(1) for places in index.T
    ]  # one neighbour at a time: m d numbers and not m k d
    return torch.stack(columns, 1)
