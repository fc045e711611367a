"""Nearest fields: for each patch of a picture the most alike of some others, found by trying what neighbours found."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Generator, Tensor

from sfumato.maths.transport import cell

EXACT = 1 << 26  # pairs up to which all are compared
JUMPS = (8, 4, 2, 1)  # how far a neighbour is whose answer is tried
FITTED = 8192  # patches that the principal components are fitted to


def descriptors(
    x: Float[Tensor, "1 C H W"], side: int, sources: Bool[Tensor, "h w"], count: int, rng: Generator
) -> Float[Tensor, "h w d"]:
    """The first principal components, of the sources, of the side x side patch that begins at each place."""
    places = sources.nonzero()
    some = places[torch.randperm(len(places), generator=rng, device=rng.device)[:FITTED]]
    windows = x[0].unfold(1, side, 1).unfold(2, side, 1)
    rows = windows[:, some[:, 0], some[:, 1]].permute(1, 0, 2, 3).flatten(1)
    apart = rows - rows.mean(0)
    basis = torch.linalg.eigh(apart.T @ apart)[1][:, -count:]
    return F.conv2d(x, basis.T.reshape(-1, x.shape[1], side, side))[0].permute(1, 2, 0).contiguous()


def nearest_field(
    of: Float[Tensor, "h w d"],
    targets: Int64[Tensor, " n"],
    sources: Bool[Tensor, "h w"],
    rng: Generator,
    start: Int64[Tensor, " n"] | None = None,
    rounds: int = 4,
) -> tuple[Int64[Tensor, " n"], Float[Tensor, " n"]]:
    """For each target the source that is nearest by its descriptor, and the squared distance; places are numbered by rows.

    Few are all compared. Else each target begins with a random source, or with `start`, and then tries what its
    neighbours at 8, 4, 2 and 1 pixels found, moved along, and random places around what it has, ever nearer.
    Reference: Barnes, Shechtman, Finkelstein and Goldman (2009), PatchMatch; Rong and Tan (2006) for the jumps.

    Example:
        >>> of = torch.tensor([[[0.0], [5.0], [0.2], [5.1]]])
        >>> sources = torch.tensor([[True, True, False, False]])
        >>> nearest_field(of, torch.tensor([2, 3]), sources, torch.Generator().manual_seed(0))[0].tolist()
        [0, 1]
    """
    rows, columns = sources.shape
    flat, able = of.flatten(0, 1), sources.flatten()
    known = able.nonzero()[:, 0]
    x = flat[targets]
    if len(targets) * len(known) <= EXACT:
        found = known[cell(x, flat[known])]
        return found, (x - flat[found]).square().sum(1)
    random = torch.randint(len(known), (len(targets),), generator=rng, device=rng.device)
    best = known[random] if start is None else torch.where(able[start], start, known[random])
    far = (x - flat[best]).square().sum(1)
    number = torch.full((rows * columns,), -1, dtype=torch.int64, device=of.device)  # which target a place is
    number[targets] = torch.arange(len(targets), device=of.device)
    row, column = targets // columns, targets % columns

    def take(candidate_row: Tensor, candidate_column: Tensor, allowed: Tensor) -> None:
        nonlocal best, far
        inside = allowed & (candidate_row >= 0) & (candidate_row < rows)
        inside &= (candidate_column >= 0) & (candidate_column < columns)
        place = torch.where(inside, candidate_row * columns + candidate_column, best)
        inside &= able[place]
        distance = (x - flat[place]).square().sum(1)
        better = inside & (distance < far)
        best, far = torch.where(better, place, best), torch.where(better, distance, far)

    for _ in range(rounds):
        for jump in JUMPS:
            for down, across in ((jump, 0), (-jump, 0), (0, jump), (0, -jump)):
                near_row, near_column = row + down, column + across
                there = (near_row >= 0) & (near_row < rows) & (near_column >= 0) & (near_column < columns)
                neighbour = number[torch.where(there, near_row * columns + near_column, 0)]
                there &= neighbour >= 0
                said = best[neighbour.clamp(min=0)]
                take(said // columns - down, said % columns - across, there)
        radius = max(rows, columns)
        while radius >= 1:
            moved = torch.randint(-radius, radius + 1, (2, len(targets)), generator=rng, device=rng.device)
            take(best // columns + moved[0], best % columns + moved[1], torch.ones_like(best, dtype=torch.bool))
            radius //= 2
    return best, far
