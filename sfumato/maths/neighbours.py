"""Neighbours: exact nearest neighbours and supports made of balls, in blocks of pairs so that memory stays small.

Squared distances are first taken in float32 as ``|a|^2 + |b|^2 - 2 a . b``, which is fast, and then again in float64 as
sum (a - b)^2 wherever the first could decide wrongly; so results are those of float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from sfumato.errors import ShapeError
from sfumato.maths.moments import finite
from sfumato.maths.precision import full_precision

BLOCK = 1024  # rows and columns of one block of pairs: 4 MB, which a processor's cache holds
FEW = 16  # queries whose candidates are looked at together in float64, in the cache again
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

    covering: Int[Tensor, " m"]
    """For each query, how many balls hold it."""
    reached: Bool[Tensor, " n"]
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
    rough, candidate = roughly(left, None if alone else right, min(k + SPARE, most))
    exact = exactly(queries, others, candidate)
    order = exact.argsort(dim=1, stable=True)[:, :k]
    exact, index = exact.gather(1, order), candidate.gather(1, order)
    if candidate.shape[1] < most:
        # Whoever float32 cannot tell from the k-th may be nearer than it: if that is more than were kept, look at them all
        limit = exact[:, -1] + CARE * (left.square().sum(1) + right.square().sum(1).max())
        unsure = ((rough[:, -1] <= limit) & (exact[:, -1] > 0)).nonzero()[:, 0]
        for rows in unsure.split(BLOCK):
            table = squared(left[rows], right)
            for row, square in zip(rows.tolist(), table, strict=True):
                near = square <= limit[row]
                if alone:
                    near[row] = False
                places = near.nonzero()[:, 0]
                every = (queries[row].double() - others[places].double()).square().sum(1)
                exact[row], found = every.topk(k, largest=False)
                index[row] = places[found]
    return Nearest(exact.sqrt(), index)


def roughly(
    left: Float[Tensor, "m d"], right: Float[Tensor, "n d"] | None, kept: int
) -> tuple[Float[Tensor, "m kept"], Int[Tensor, "m kept"]]:
    """The smallest float32 squared distances of each row and where they are; every pair is computed once."""
    values = torch.full((len(left), kept), torch.inf, device=left.device)
    places = torch.zeros(len(left), kept, dtype=torch.long, device=left.device)

    def merge(first: int, square: Tensor, offset: int) -> None:
        rows = slice(first, first + len(square))
        value, place = square.topk(min(kept, square.shape[1]), dim=1, largest=False, sorted=False)
        both, at = torch.cat([values[rows], value], 1).topk(kept, dim=1, largest=False)
        values[rows], places[rows] = both, torch.cat([places[rows], place + offset], 1).gather(1, at)

    for first in range(0, len(left), BLOCK):
        block = left[first : first + BLOCK]
        others = left if right is None else right
        for second in range(first if right is None else 0, len(others), BLOCK):
            square = squared(block, others[second : second + BLOCK])
            if right is None and first == second:
                square.fill_diagonal_(torch.inf)
            merge(first, square, second)
            if right is None and first != second:
                merge(second, square.T.contiguous(), first)
    return values, places


def supported(
    queries: Float[Tensor, "m d"],
    centres: Float[Tensor, "n d"],
    radii: Float64[Tensor, "n ..."],
    reverse: Float64[Tensor, "m ..."] | None = None,
) -> list[Support]:
    """``|query - centre| <= radius`` for all pairs; with radii [n, r], one answer for each of the r sets of balls.

    With `reverse`, radii of balls around the queries, there follow answers with the parts exchanged, from the same distances.

    Raises: ShapeError: other widths, or not a radius a centre. DivergedError: a number is not finite.
    """
    check(queries, centres)
    for count, name, given in ((len(centres), "centres", radii), (len(queries), "centres", reverse)):
        if given is not None and len(given) != count:
            raise ShapeError(f"{len(given)} radii for {count} {name}; each centre needs one")
    left, right = centred(queries, centres)
    forth = radii.reshape(len(centres), -1).square()
    back = forth.new_zeros(len(queries), 0) if reverse is None else reverse.reshape(len(queries), -1).square()
    # A query and a centre may be the very pair that gave a radius, whose root was squared again
    forth, back = forth * (1 + 4e-16), back * (1 + 4e-16)
    counts = [zeros(left, torch.long) for _ in forth.T] + [zeros(right, torch.long) for _ in back.T]
    hits = [zeros(right, torch.bool) for _ in forth.T] + [zeros(left, torch.bool) for _ in back.T]
    doubt = CARE * float(left.square().sum(1).max() + right.square().sum(1).max())
    for first in range(0, len(left), BLOCK):
        rows = slice(first, first + BLOCK)
        for second in range(0, len(right), BLOCK):
            columns = slice(second, second + BLOCK)
            square = squared(left[rows], right[columns])
            for i in range(len(counts)):
                turned = i >= forth.shape[1]
                limit = back[rows, i - forth.shape[1]][:, None] if turned else forth[columns, i][None]
                inside = square <= (limit + doubt).float()
                # Only what lies near the limit is looked at again: few of the pairs within it
                unsure = (inside & (square > (limit - doubt).float())).nonzero()
                for some in unsure.split(BLOCK):
                    difference = queries[first + some[:, 0]].double() - centres[second + some[:, 1]].double()
                    bound = limit.expand(square.shape)[some[:, 0], some[:, 1]]
                    inside[some[:, 0], some[:, 1]] = difference.square().sum(1) <= bound
                inside = inside.T if turned else inside
                into, onto = (columns, rows) if turned else (rows, columns)
                counts[i][into] += inside.sum(1)
                hits[i][onto] |= inside.any(0)
    return [Support(covering, reached) for covering, reached in zip(counts, hits, strict=True)]


def zeros(like: Tensor, dtype: torch.dtype) -> Tensor:
    """A zero for each row of another tensor."""
    return torch.zeros(len(like), dtype=dtype, device=like.device)


def check(x: Float[Tensor, "m d"], y: Float[Tensor, "n d"]) -> None:
    """Raises: ShapeError: not two sets of vectors of one width. DivergedError: a number is not finite."""
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) == 0:
        raise ShapeError(f"two sets of vectors of one width are needed; got {tuple(x.shape)} and {tuple(y.shape)}")
    finite(x), finite(y)


def centred(x: Float[Tensor, "m d"], y: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "m d"], Float[Tensor, "n d"]]:
    """Both without the mean of y, in float32: distances stay, and there is less to cancel."""
    mean = y.double().mean(0)
    if x.dtype == y.dtype == torch.float32:
        mean = mean.float()  # any constant will do, as long as it is the same for both
    return (x - mean).float(), (y - mean).float()


def squared(x: Float[Tensor, "m d"], y: Float[Tensor, "n d"]) -> Float[Tensor, "m n"]:
    """``|x|^2 + |y|^2 - 2 x . y``, not negative."""
    with full_precision(x.device):
        square = torch.addmm(y.square().sum(1)[None], x, y.T, alpha=-2.0)
    return square.add_(x.square().sum(1)[:, None]).clamp_(min=0)


def exactly(
    queries: Float[Tensor, "m d"], candidates: Float[Tensor, "n d"], index: Int[Tensor, "m k"]
) -> Float64[Tensor, "m k"]:
    """sum (query - candidate)^2 in float64 for the candidates of each query."""
    square = torch.empty(index.shape, dtype=torch.float64, device=queries.device)
    for first in range(0, len(queries), FEW):
        rows = slice(first, first + FEW)
        difference = candidates[index[rows]].double()
        difference -= queries[rows, None]
        square[rows] = difference.square_().sum(2)
    return square
