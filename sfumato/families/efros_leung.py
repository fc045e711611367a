"""Non-parametric sampling: pixel by pixel, each from a place of the picture that looks as its neighbours do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Generator, Tensor

from sfumato.errors import ConfigError
from sfumato.families.texture import Texture, TextureConfig, Wish
from sfumato.images import LEVEL, Images, Size
from sfumato.maths.patches import whole
from sfumato.maths.rectangles import largest_square

SEED = 1  # the seed is what lies at most so far from its middle
SHARPNESS = 6.4  # the window's side in standard deviations of its Gaussian weights, as in the paper
SAME = LEVEL**2 / 10  # mean errors that differ by less are equal


def rings(size: Size, apart: int, rng: Generator) -> Iterator[tuple[int, Int64[Tensor, "n 2"]]]:
    """Pixels round the middle, ring r after ring r, in batches of pixels that lie `apart` or more from one another.

    Each ring is cut at a random place into equal pieces, and a batch has one pixel of each: pixels of a batch do not see one
    another, so that to make them at once is to make them one after the other.

    Example:
        >>> from sfumato.streams import stream
        >>> places = torch.cat([batch for _, batch in rings((4, 5), 3, stream(0, "order"))])
        >>> len(places), len(places.unique(dim=0))
        (19, 19)
    """
    middle = torch.tensor([size[0] // 2, size[1] // 2])
    for r in range(1, int(middle.max()) + 1):
        side = torch.arange(-r, r)
        edges = [(torch.full_like(side, -r), side), (side, -torch.full_like(side, -r))]
        half = torch.cat([torch.stack(edge, 1) for edge in edges])
        ring = torch.cat([half, -half]) + middle
        turn = int(torch.randint(len(ring), (1,), generator=rng, device=rng.device))
        ring = ring.roll(turn, 0)
        inside = (ring >= 0).all(1) & (ring < torch.tensor(size)).all(1)
        pieces = max(len(ring) // apart, 1)
        for at in range(-(-len(ring) // pieces)):
            starts = torch.arange(pieces) * len(ring) // pieces
            ends = (torch.arange(pieces) + 1) * len(ring) // pieces
            places = starts[starts + at < ends] + at
            places = places[inside[places]]
            if len(places):
                yield r, ring[places]


class EfrosLeung(Texture):
    """x(p) = u(q), q random of those with d(p, q) <= (1 + t) min d, d the mean of |u(q + h) - x(p + h)|^2 over what is known.

    h runs over a window with Gaussian weights. The picture grows in rings round a seed of 3 x 3 pixels of the exemplar; pixels
    of a ring that do not see one another are made at once. A window smaller than what repeats loses it; where no place
    looks alike, the growth may slip into noise or copy verbatim.
    Reference: Efros and Leung (1999), Texture synthesis by non-parametric sampling; without its threshold on the best error.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = EfrosLeung(EfrosLeung.Config(), DataSpec(channels=1, size=(16, 16)))
        >>> _ = model.known.fill_(1.0)
        >>> tuple(model.sample(1, size=(9, 12), rng=stream(0, "sample")).shape)
        (1, 1, 9, 12)
    """

    class Config(TextureConfig):
        kind: Literal["efros_leung"] = "efros_leung"
        window: int = Field(default=11, ge=3, le=63)
        """Rows and columns of a neighbourhood, an odd number; at most half the largest square that counts, and at least 3."""
        tolerance: float = Field(default=0.1, ge=0.0)
        """How much worse than the best a place may fit, as a share of the best error."""
        places: int = Field(default=20_000, ge=1, le=1_000_000)
        """Places of the exemplar that are compared at most, drawn at random for each picture; time rises with it."""

    random = False

    def make(self, wish: Wish, rng: Generator) -> Images:
        """Ring by ring."""
        half = min(self.config.window, max(largest_square(self.known) // 2, 3)) // 2
        w, (rows, columns), C = 2 * half + 1, wish.size, self.spec.channels
        windows = self._windows(w, rng)
        parts = torch.cat([windows.square().sum(1).flatten(1), -2 * windows.flatten(1)], 1).T.contiguous()
        h = torch.arange(-half, half + 1, device=windows.device).square()
        weights = (-(h[:, None] + h) / (2 * (w / SHARPNESS) ** 2)).exp()
        canvas = self.exemplars.new_zeros(C, rows + 2 * half, columns + 2 * half)
        there = canvas.new_zeros(canvas.shape[1:])  # what lies outside the picture is never there
        seen, made = canvas.unfold(1, w, 1).unfold(2, w, 1), there.unfold(0, w, 1).unfold(1, w, 1)
        self._sow(canvas[:, half:-half, half:-half], there[half:-half, half:-half], windows, rng)
        last = max(rows // 2, columns // 2)
        for ring, batch in rings(wish.size, w, rng):
            y, x = batch.to(canvas.device).T
            new = there[y + half, x + half] == 0
            y, x = y[new], x[new]
            if len(y):
                pick = self._picked(parts, seen[:, y, x].transpose(0, 1), made[y, x] * weights, rng)
                canvas[:, y + half, x + half] = windows[pick, :, half, half].T
                there[y + half, x + half] = 1.0
            wish.watch(ring / last)
        return canvas[None, :, half:-half, half:-half]

    def _picked(
        self, parts: Float[Tensor, "d n"], seen: Float[Tensor, "b C w w"], m: Float[Tensor, "b w w"], rng: Generator
    ) -> Int64[Tensor, " b"]:
        """For each neighbourhood a random one of the places that fit; multiplied out, sum m |u - x|^2 is a matrix product."""
        x = seen * m[:, None]
        d = torch.cat([m.flatten(1), x.flatten(1)], 1) @ parts + (seen * x).sum((1, 2, 3))[:, None]
        d /= m.sum((1, 2))[:, None]
        fit = d <= d.amin(1, keepdim=True).clamp(min=0) * (1 + self.config.tolerance) + SAME
        number = fit.sum(1)
        which = (torch.rand(len(fit), generator=rng, device=rng.device) * number).long().clamp(max=number - 1)
        return fit.nonzero()[number.cumsum(0) - number + which, 1]

    def _windows(self, w: int, rng: Generator) -> Float[Tensor, "n C w w"]:
        places = whole(self.known, w).nonzero()
        if len(places) == 0:
            raise ConfigError(f"no {w} x {w} neighbourhood lies in the mask; give a larger mask")
        if len(places) > self.config.places:
            some = torch.randperm(len(places), generator=rng, device=rng.device)[: self.config.places]
            places = places[some.sort().values]
        k, top, left = places.T
        return self.exemplars.unfold(2, w, 1).unfold(3, w, 1)[k, :, top, left].contiguous()

    @staticmethod
    def _sow(
        canvas: Float[Tensor, "C H W"], there: Float[Tensor, "H W"], windows: Float[Tensor, "n C w w"], rng: Generator
    ) -> None:
        """Lay 3 x 3 pixels of the exemplar, or what of them lies inside, into the middle."""
        one = windows[int(torch.randint(len(windows), (1,), generator=rng, device=rng.device))]
        middle = one.shape[1] // 2
        rows, columns = there.shape
        for y in range(-SEED, SEED + 1):
            for x in range(-SEED, SEED + 1):
                row, column = rows // 2 + y, columns // 2 + x
                if 0 <= row < rows and 0 <= column < columns:
                    canvas[:, row, column] = one[:, middle + y, middle + x]
                    there[row, column] = 1.0
