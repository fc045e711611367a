"""Semi-discrete optimal transport in two layers: first to a group of points, then to a point of the group.

With n points in K groups a map looks at K + n / K of them instead of n. It is no optimal map for the points any more, but
pushes the source to them as exactly, and costs little more.
Reference: Leclaire and Rabin (2021), A stochastic multi-layer algorithm for semi-discrete optimal transport with applications
to texture synthesis and style transfer, Journal of Mathematical Imaging and Vision 63.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Generator, Tensor

from sfumato.maths.clusters import k_means, nearest
from sfumato.maths.transport import Draw, cell

FAR = -1e30  # the potential of what nothing may go to


class Layers(NamedTuple):
    """Groups of points, and the potentials of both layers."""

    centres: Float[Tensor, "K d"]
    outer: Float[Tensor, " K"]
    """Potentials of the groups."""
    group: Int64[Tensor, " n"]
    """The group of each point."""
    inner: Float[Tensor, " n"]
    """Potentials of the points."""


def grouped(y: Float[Tensor, "n d"], groups: int, rng: Generator) -> Layers:
    """Points in groups by k-means, all potentials 0; a group that no point is in is never gone to.

    Example:
        >>> layers = grouped(torch.tensor([[0.0], [0.1], [9.0]]), 2, torch.Generator().manual_seed(0))
        >>> layers.group.bincount().sort().values.tolist()
        [1, 2]
    """
    centres = k_means(y, groups, rng)
    group = nearest(y, centres)
    outer = torch.where(torch.bincount(group, minlength=groups) > 0, 0.0, FAR).to(y)
    return Layers(centres, outer, group, y.new_zeros(len(y)))


def ascend_layers(
    draw: Draw, y: Float[Tensor, "n d"], layers: Layers, *, steps: int, batch: int = 256, rate: float = 1.0
) -> Iterator[tuple[int, Layers]]:
    """Averaged stochastic ascent in both layers at once; yields the steps taken and the layers with the mean potentials.

    The outer potentials rise as in `transport.ascend`, towards groups that get as much as they have points; an inner one by
    how far the share of its point is from an equal one of what reached its group. `rate` is in units of the cost, so inner
    steps are as much smaller as groups are.
    """
    n, K = len(y), len(layers.outer)
    counts = torch.bincount(layers.group, minlength=K)
    members = _members(layers.group, counts)
    there, points = members >= 0, y[members]
    lengths = points.square().sum(2)
    within = (y - layers.centres[layers.group]).square().sum(1).mean()
    near_by = within / y.var(0, unbiased=False).sum().clamp(min=1e-12)  # distances in a group, as a share of all
    outer, inner = layers.outer.clone(), layers.inner.clone()
    means, taken = (outer, inner), 0
    for t in range(1, steps + 1):
        x = draw(batch)
        k = cell(x, layers.centres, outer)
        near = lengths[k] - 2 * torch.bmm(points[k], x[:, :, None])[:, :, 0]
        near = near - torch.where(there, inner[members], FAR)[k]
        found = members[k, near.argmin(1)]
        reached = torch.bincount(k, minlength=K).to(inner.dtype) / batch
        share = torch.bincount(found, minlength=n).to(inner.dtype) / batch
        step = rate / t**0.5
        outer = torch.where(counts > 0, outer + step * K * (counts / n - reached), outer)
        inner = inner + step * n * near_by * ((reached / counts.clamp(min=1))[layers.group] - share)
        if 2 * t > steps:
            taken += 1
            means = (means[0] + (outer - means[0]) / taken, means[1] + (inner - means[1]) / taken)
        else:
            means = (outer, inner)
        yield t, layers._replace(outer=means[0], inner=means[1])


def _members(group: Int64[Tensor, " n"], counts: Int64[Tensor, " K"]) -> Int64[Tensor, "K m"]:
    """The points of each group in a row; -1 where a row has fewer than the longest."""
    order = group.argsort(stable=True)
    within = torch.arange(len(group), device=group.device) - (counts.cumsum(0) - counts)[group[order]]
    table = group.new_full((len(counts), int(counts.max())), -1)
    table[group[order], within] = order
    return table


def cell_in_layers(x: Float[Tensor, "B d"], y: Float[Tensor, "n d"], layers: Layers) -> Int64[Tensor, " B"]:
    """The point that each x goes to: its group by the outer potentials, then in the group by the inner ones.

    Each group works on all that reached it at once.
    """
    reached = cell(x, layers.centres, layers.outer)
    K = len(layers.outer)
    short = torch.int16 if K < 2**15 else torch.int64  # which sorts three times as fast
    places, points = (one.to(short).argsort(stable=True) for one in (reached, layers.group))
    counts = [torch.bincount(one, minlength=K).tolist() for one in (reached, layers.group)]
    parts = zip(
        x.index_select(0, places).split(counts[0]),
        y[points].split(counts[1]),
        layers.inner[points].split(counts[1]),
        strict=True,
    )
    first = (torch.tensor(counts[1]).cumsum(0) - torch.tensor(counts[1])).tolist()
    found = [cell(part, own, v) + start for (part, own, v), start in zip(parts, first, strict=True) if len(part)]
    return torch.empty_like(reached).index_copy_(0, places, points[torch.cat(found)])
