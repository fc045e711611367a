"""Graph cuts: large patches that overlap by a lot, joined along the cheapest seam of any shape."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Generator, Tensor

from sfumato.errors import CapabilityError
from sfumato.families.quilting import Patches
from sfumato.families.texture import Texture, TextureConfig, Wish
from sfumato.images import LEVEL, Images
from sfumato.maths.rectangles import patch_side

FINE = 16  # a cost is a whole number of so many parts of a grey level


def sparse() -> Any:
    """SciPy's sparse matrices, with its graphs.

    Raises: CapabilityError: SciPy is not installed.
    """
    try:
        import scipy.sparse.csgraph
    except ImportError:
        raise CapabilityError("graph cuts need SciPy; pip install 'sfumato[textures]'") from None
    return scipy.sparse


def seam(difference: Float[Tensor, "h w"], old: Bool[Tensor, "h w"], new: Bool[Tensor, "h w"]) -> Bool[Tensor, "h w"]:
    """Which pixels become new: the labels, as told where `old` or `new`, with the least sum of d(p) + d(q) over neighbours
    p and q of which one is old and one is new.

    It is a minimum cut between old and new, found as a maximum flow. Costs are rounded to 1/16 grey level.

    Raises: CapabilityError: see `sparse`.

    Example:
        >>> d = torch.tensor([[9.0, 1.0, 1.0, 9.0], [9.0, 9.0, 1.0, 1.0]])
        >>> old = torch.tensor([[True, False, False, False]]).expand(2, 4)
        >>> seam(d, old, old.flip(1)).int().tolist()
        [[0, 0, 1, 1], [0, 0, 0, 1]]
    """
    sp = sparse()
    node = torch.arange(difference.numel()).view_as(difference)
    source, sink = node.numel(), node.numel() + 1
    cost = (difference.cpu() / LEVEL * FINE).round().int()
    largest = 8 * int(cost.max()) + 1  # more than the borders of any one pixel cost together
    ends, prices = [], []
    for p, q, price in (
        (node[:, :-1], node[:, 1:], cost[:, :-1] + cost[:, 1:]),
        (node[:-1], node[1:], cost[:-1] + cost[1:]),
    ):
        ends += [torch.stack([p, q]).flatten(1), torch.stack([q, p]).flatten(1)]
        prices += [price.flatten()] * 2
    for fixed, told in ((old.cpu(), (source, None)), (new.cpu(), (None, sink))):
        some = node[fixed]
        ends.append(torch.stack([some if end is None else torch.full_like(some, end) for end in told]))
        prices.append(torch.full_like(some, largest, dtype=torch.int32))
    (tails, heads), capacity = torch.cat(ends, 1).numpy(), torch.cat(prices).numpy()
    graph = sp.csr_matrix((capacity, (tails, heads)), shape=(sink + 1, sink + 1))
    rest = graph - sp.csgraph.maximum_flow(graph, source, sink).flow
    rest.eliminate_zeros()
    reached = sp.csgraph.breadth_first_order(rest, source, return_predecessors=False)
    becomes = torch.ones(sink + 1, dtype=torch.bool)
    becomes[torch.from_numpy(reached).long()] = False
    return becomes[:-2].view_as(difference).to(difference.device)


def fixed(
    there: Bool[Tensor, "s s"], around: Bool[Tensor, "s+2 s+2"]
) -> tuple[Bool[Tensor, "s s"], Bool[Tensor, "s s"]]:
    """What of a patch must stay old, having a neighbour outside that is there, and what must be new, or next to what must.

    Example:
        >>> around = torch.zeros(5, 5, dtype=torch.bool)
        >>> around[:, :3] = True
        >>> [part.int().tolist() for part in fixed(around[1:-1, 1:-1], around)]
        [[[1, 1, 0], [1, 0, 0], [1, 1, 0]], [[0, 0, 1], [0, 1, 1], [0, 0, 1]]]
    """

    def beside(mask: Bool[Tensor, "h w"]) -> Bool[Tensor, "h-2 w-2"]:
        return mask[:-2, 1:-1] | mask[2:, 1:-1] | mask[1:-1, :-2] | mask[1:-1, 2:]

    outside = around.clone()
    outside[1:-1, 1:-1] = False
    old = there & beside(outside)
    return old, ~there | (beside(F.pad(~there, (1, 1, 1, 1))) & ~old)


class GraphCut(Texture):
    """Patch by patch in raster order, each fitting as in quilting; the seam is the minimum cut of |d(p)| + |d(q)|.

    d = u - y is the difference of the new patch u to what is there, y, and p and q are neighbours on both sides of the seam.
    Patches are large, half of the exemplar, and overlap by a third: the seam may take any way through the overlap, and round
    islands too, so that whole things can stay whole. On a torus the last patches are cut against the first ones.
    What the paper also does is left out: old seams do not count, and no patch is laid over a bad seam later.
    Reference: Kwatra, Schoedl, Essa, Turk and Bobick (2003), Graphcut textures: image and video synthesis using graph cuts.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = GraphCut(GraphCut.Config(), DataSpec(channels=1, size=(16, 16)))
        >>> _ = model.known.fill_(1.0)
        >>> tuple(model.sample(1, size=(21, 30), rng=stream(0, "sample")).shape)
        (1, 1, 21, 30)
    """

    class Config(TextureConfig):
        kind: Literal["graph_cut"] = "graph_cut"
        patch: int | None = Field(default=None, ge=1, le=1024)
        """Rows and columns of a patch; left out: half of the exemplar, 3 to 64. At most the largest square that counts."""
        tolerance: float = Field(default=0.1, ge=0.0)
        """How much worse than the best a patch may fit, as a share of the best error."""

    random = False
    wraps = True

    def make(self, wish: Wish, rng: Generator) -> Images:
        """The picture is a torus, or a part of one that is larger than what is laid."""
        side = patch_side(self.known, self.config.patch, part=2)
        if wish.periodic:
            side = min(side, max(2 * min(wish.size) // 3, 1))  # a patch has to leave room for one that closes the ring
        step = side - min(max(side // 3, 1), side - 1)
        rows, columns = (max(-(-(length - (not wish.periodic) * (side - step)) // step), 1) for length in wish.size)
        torus = wish.size if wish.periodic else (rows * step + side, columns * step + side)
        starts = [
            [i * length // n for i in range(n)] if wish.periodic else [i * step for i in range(n)]
            for length, n in zip(torus, (rows, columns), strict=True)
        ]
        patches = Patches(self.exemplars, self.known, side)
        canvas = self.exemplars.new_zeros(self.spec.channels, *torus)
        laid = torch.zeros(torus, dtype=torch.bool, device=canvas.device)
        for i, top in enumerate(starts[0]):
            for j, left in enumerate(starts[1]):
                y = torch.arange(top - 1, top + side + 1, device=canvas.device)[:, None] % torus[0]
                x = torch.arange(left - 1, left + side + 1, device=canvas.device) % torus[1]
                around, inner = laid[y, x], (y[1:-1], x[1:-1])
                there, place = around[1:-1, 1:-1], canvas[:, inner[0], inner[1]]
                patch = patches.choose(place, there.float(), self.config.tolerance, rng)
                if bool(there.any()):
                    difference = (patch - place).square().sum(0).sqrt() * there
                    patch = torch.where(seam(difference, *fixed(there, around)), patch, place)
                canvas[:, inner[0], inner[1]] = patch
                laid[inner] = True
                wish.watch((i * columns + j + 1) / (rows * columns))
        return canvas[None, :, : wish.size[0], : wish.size[1]]
