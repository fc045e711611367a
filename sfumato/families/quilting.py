"""Image quilting: patches that agree with what is laid already, cut where they agree most."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float, Float64, Int64
from pydantic import Field
from torch import Generator, Tensor

from sfumato.families.texture import Texture, TextureConfig, Wish
from sfumato.images import LEVEL, Images
from sfumato.maths.patches import whole
from sfumato.maths.rectangles import patch_side

SAME = LEVEL**2 / 100  # errors that differ by less are equal: no two pictures of 8 bits are that near


class Patches:
    """All s x s patches of some pictures of which all counts, to be chosen from.

    Example:
        >>> x = torch.arange(16.0).view(1, 1, 4, 4)
        >>> errors = Patches(x, torch.ones(1, 1, 4, 4), 2).errors(x[0, :, 1:3, 2:], torch.ones(2, 2))
        >>> errors.argmin().item(), round(errors[0, 0, 0].item(), 6)
        (5, 144.0)
    """

    def __init__(self, x: Float[Tensor, "K C H W"], known: Float[Tensor, "K 1 H W"], side: int):
        self.x, self.side = x, side
        self.whole = whole(known, side)
        self.size = (x.shape[2], x.shape[3])
        self.spectra = torch.fft.rfft2(x.double())
        self.squares = torch.fft.rfft2(x.double().square().sum(1))

    def errors(self, laid: Float[Tensor, "C s s"], there: Float[Tensor, "s s"]) -> Float64[Tensor, "K h w"]:
        """E(o) = sum_p m(p) |u(o + p) - y(p)|^2 at all places o, with m 1 where y is there; infinite where not all counts.

        Multiplied out, its two sums over p are correlations, so three Fourier transforms give it at all places.
        """
        y, m = laid.double(), there.double()
        mixed = (self.spectra * torch.fft.rfft2(m * y, s=self.size).conj()).sum(1)
        spectrum = self.squares * torch.fft.rfft2(m, s=self.size).conj() - 2 * mixed
        rows, columns = self.whole.shape[1:]
        errors = torch.fft.irfft2(spectrum, s=self.size)[:, :rows, :columns] + (m * y.square()).sum()
        return errors.clamp(min=0).where(self.whole, torch.inf)

    def choose(
        self, laid: Float[Tensor, "C s s"], there: Float[Tensor, "s s"], tolerance: float, rng: Generator
    ) -> Float[Tensor, "C s s"]:
        """One of the patches whose error is at most (1 + tolerance) times the least, each with the same probability."""
        errors = self.errors(laid, there)
        fit = (errors <= errors.min() * (1 + tolerance) + SAME).nonzero()
        k, top, left = fit[int(torch.randint(len(fit), (1,), generator=rng, device=rng.device))].tolist()
        return self.x[k, :, top : top + self.side, left : left + self.side]


def cheapest_path(error: Float[Tensor, "h w"]) -> Int64[Tensor, " h"]:
    """The columns c(0), ..., c(h - 1) with |c(i) - c(i - 1)| <= 1 and the least sum_i e(i, c(i)), by dynamic programming.

    Example:
        >>> cheapest_path(torch.tensor([[1.0, 0.0, 9.0], [9.0, 9.0, 0.0], [9.0, 0.0, 9.0]])).tolist()
        [1, 2, 1]
    """
    w = error.shape[1]
    edge = error.new_full((1,), torch.inf)
    total, steps = error[0], []
    for row in error[1:]:
        wide = torch.cat([edge, total, edge])
        least, step = torch.stack([wide[:w], wide[1:-1], wide[2:]]).min(0)
        total = row + least
        steps.append(step - 1)
    path = [int(total.argmin())]
    for step in reversed(steps):
        path.append(path[-1] + int(step[path[-1]]))
    return torch.tensor(path[::-1], device=error.device)


def kept(error: Float[Tensor, "h w"]) -> Bool[Tensor, "h w"]:
    """What of an overlap stays as it was: all before the cheapest path."""
    return torch.arange(error.shape[1], device=error.device) < cheapest_path(error)[:, None]


class Quilting(Texture):
    """Patch by patch in raster order: a random one of those with E(o) <= (1 + t) min E, cut along the cheapest path.

    E is the squared error to what is laid already, in the overlap of side / 6 at the left and the top. In each overlap the
    border runs where the two patches differ least: the path of least summed squared difference, from end to end.
    Every pixel is one of the exemplar's, and nearly all lie in pieces copied verbatim.
    Reference: Efros and Freeman (2001), Image quilting for texture synthesis and transfer.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = Quilting(Quilting.Config(), DataSpec(channels=1, size=(16, 16)))
        >>> _ = model.known.fill_(1.0)
        >>> tuple(model.sample(1, size=(21, 30), rng=stream(0, "sample")).shape)
        (1, 1, 21, 30)
    """

    class Config(TextureConfig):
        kind: Literal["quilting"] = "quilting"
        patch: int | None = Field(default=None, ge=1, le=1024)
        """Rows and columns of a patch; left out: a quarter of the exemplar, 3 to 32. At most the largest square that counts."""
        tolerance: float = Field(default=0.1, ge=0.0)
        """How much worse than the best a patch may fit, as a share of the best error."""

    random = False

    def make(self, wish: Wish, rng: Generator) -> Images:
        """As many patches as cover the picture, and a little more, which is cut off."""
        side = patch_side(self.known, self.config.patch)
        overlap = min(max(side // 6, 1), side - 1)
        step = side - overlap
        rows, columns = (max(-(-(length - overlap) // step), 1) for length in wish.size)
        patches = Patches(self.exemplars, self.known, side)
        canvas = self.exemplars.new_zeros(self.spec.channels, rows * step + overlap, columns * step + overlap)
        for i in range(rows):
            for j in range(columns):
                there = canvas.new_zeros(side, side)
                there[: overlap if i else 0] = 1.0
                there[:, : overlap if j else 0] = 1.0
                place = canvas[:, i * step : i * step + side, j * step : j * step + side]
                patch = patches.choose(place, there, self.config.tolerance, rng)
                error, stays = (patch - place).square().sum(0), there.new_zeros(side, side, dtype=torch.bool)
                if i and overlap:
                    stays[:overlap] |= kept(error[:overlap].T).T
                if j and overlap:
                    stays[:, :overlap] |= kept(error[:, :overlap])
                place.copy_(torch.where(stays, place, patch))
                wish.watch((i * columns + j + 1) / (rows * columns))
        return canvas[None, :, : wish.size[0], : wish.size[1]]
