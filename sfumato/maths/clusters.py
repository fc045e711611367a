"""Clusters: k-means, from a start that is spread out."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Generator, Tensor

from sfumato.errors import ShapeError

AT_ONCE = 1 << 16  # vectors whose distances are held at once


def k_means(x: Float[Tensor, "n d"], count: int, rng: Generator, rounds: int = 20) -> Float[Tensor, "k d"]:
    """Centres that `rounds` of Lloyd's algorithm find; one that no vector is nearest to stays where it was.

    Raises: ShapeError: fewer vectors than centres. Reference: Arthur and Vassilvitskii (2007) for the start.

    Example:
        >>> x = torch.tensor([[0.0], [0.2], [5.0], [5.2]])
        >>> sorted(round(float(c), 3) for c in k_means(x, 2, torch.Generator().manual_seed(0)).flatten())
        [0.1, 5.1]
    """
    if len(x) < count:
        raise ShapeError(f"{len(x)} vectors are too few for {count} centres; give more, or ask for fewer")
    centres = spread_out(x, count, rng)
    for _ in range(rounds):
        place = nearest(x, centres)
        sums = torch.zeros_like(centres).index_add_(0, place, x)
        counts = torch.bincount(place, minlength=count).to(x.dtype)[:, None]
        moved = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
        if torch.equal(moved, centres):
            break
        centres = moved
    return centres


def nearest(x: Float[Tensor, "n d"], centres: Float[Tensor, "k d"]) -> Int64[Tensor, " n"]:
    """The number of the centre nearest to each vector."""
    return torch.cat([torch.cdist(part, centres).argmin(1) for part in x.split(AT_ONCE)])


def spread_out(x: Float[Tensor, "n d"], count: int, rng: Generator) -> Float[Tensor, "k d"]:
    """k-means++: each next centre is drawn with odds that go with its squared distance from those there are."""
    first = int(torch.randint(len(x), (1,), generator=rng, device=rng.device))
    centres, apart = [x[first]], (x - x[first]).square().sum(1)
    for _ in range(count - 1):
        odds = (apart.double() + 1e-30).cumsum(0)
        edge = torch.rand(1, generator=rng, device=rng.device, dtype=torch.float64).to(odds.device) * odds[-1]
        place = int(torch.searchsorted(odds, edge).clamp(max=len(x) - 1))
        centres.append(x[place])
        apart = torch.minimum(apart, (x - x[place]).square().sum(1))
    return torch.stack(centres)
