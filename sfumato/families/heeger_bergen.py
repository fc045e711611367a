"""Heeger-Bergen: noise, given the histograms of a picture and of the bands of its steerable pyramid, in turn."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Generator, Tensor

from sfumato.families.texture import Texture, TextureConfig, Wish
from sfumato.images import Images
from sfumato.maths.patches import depth
from sfumato.maths.periodic import periodic_component
from sfumato.maths.rectangles import largest_part
from sfumato.maths.steerable import Pyramid, decomposed, recomposed

COARSEST = 4  # rows and columns of what is coarser than all bands, at least


def matched(x: Float[Tensor, "... h w"], y: Float[Tensor, "... a b"]) -> Float[Tensor, "... h w"]:
    """x with the histogram of y: the value with n values below it becomes the quantile (n + 1/2) / (h w) of y.

    Quantiles between values are interpolated where the numbers of pixels differ.

    Example:
        >>> matched(torch.tensor([[0.3, 0.1, 0.2]]), torch.tensor([[5.0, 7.0, 6.0]])).tolist()
        [[7.0, 5.0, 6.0]]
    """
    flat, values = x.flatten(-2), y.flatten(-2).sort(-1).values
    n, m = flat.shape[-1], values.shape[-1]
    place = ((torch.arange(n, device=x.device, dtype=torch.float64) + 0.5) * (m / n) - 0.5).clamp(0, m - 1)
    low = place.floor().long()
    quantiles = torch.lerp(values[..., low], values[..., (low + 1).clamp(max=m - 1)], (place - low).to(values.dtype))
    order = flat.argsort(dim=-1, stable=True)
    return torch.empty_like(flat).scatter_(-1, order, quantiles).view_as(x)


def principal(x: Float[Tensor, "C H W"]) -> tuple[Float[Tensor, " C"], Float[Tensor, "C C"]]:
    """The mean colour, and as columns the axes in which colours have no covariance."""
    flat = x.flatten(1).double()
    mean = flat.mean(1)
    covariance = (flat - mean[:, None]) @ (flat - mean[:, None]).T / flat.shape[1]
    return mean.to(x.dtype), torch.linalg.eigh(covariance).eigenvectors.to(x.dtype)


class HeegerBergen(Texture):
    """White noise, given in turn the histogram of the picture and those of all bands of its steerable pyramid.

    x <- h(x), x <- P^-1 h_b(P x), again and again, with h the monotone map to the exemplar's histogram; colours are turned to
    their principal axes and matched one by one. It knows how much there is of each scale and orientation, not where they
    meet: stochastic textures come out well, structured ones as their noise. The pyramid is that of a torus, so
    the picture meets itself at its borders; the exemplar's own is of its periodic component.
    Of several exemplars, and of what a mask leaves, the largest rectangle counts.
    Reference: Heeger and Bergen (1995), Pyramid-based texture analysis/synthesis.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = HeegerBergen(HeegerBergen.Config(), DataSpec(channels=1, size=(16, 16)))
        >>> _ = model.known.fill_(1.0)
        >>> tuple(model.sample(1, size=(21, 30), rng=stream(0, "sample")).shape)
        (1, 1, 21, 30)
    """

    class Config(TextureConfig):
        kind: Literal["heeger_bergen"] = "heeger_bergen"
        scales: int = Field(default=4, ge=1, le=10)
        """Scales of the pyramid, each half as large as the one before; fewer where exemplar or picture are small."""
        orientations: int = Field(default=4, ge=2, le=8)
        """Directions in which a scale is looked at."""
        turns: int = Field(default=5, ge=1, le=100)
        """How often the histograms are matched."""

    random = False
    wraps = True

    def make(self, wish: Wish, rng: Generator) -> Images:
        """Noise, matched in turns."""
        u = largest_part(self.exemplars, self.known)
        scales = min(self.config.scales, depth(min(*u.shape[1:], *wish.size), COARSEST))
        mean, axes = principal(u)
        y = torch.einsum("ij,ihw->jhw", axes, u - mean[:, None, None])
        wanted = decomposed(periodic_component(y), scales, self.config.orientations)
        x = torch.randn(self.spec.channels, *wish.size, generator=rng, device=rng.device)
        for turn in range(self.config.turns):
            found = decomposed(matched(x, y), scales, self.config.orientations)
            bands = [matched(one, other) for one, other in zip(found.bands, wanted.bands, strict=True)]
            x = recomposed(Pyramid(matched(found.high, wanted.high), bands, matched(found.low, wanted.low)))
            wish.watch((turn + 1) / self.config.turns)
        return (torch.einsum("ij,jhw->ihw", axes, matched(x, y)) + mean[:, None, None])[None]
