"""Gaussian field: white noise, filtered until it has the mean, the spectrum and the covariance of a picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from sfumato.families.base import Stage
from sfumato.families.texture import Plane, Texture, TextureConfig, Wish, a_window
from sfumato.images import Images, Size
from sfumato.maths.keyed import normals
from sfumato.maths.periodic import convolved, periodic_component
from sfumato.maths.regions import Box


def texton(
    x: Float[Tensor, "K C H W"], known: Float[Tensor, "K 1 H W"]
) -> tuple[Float[Tensor, " C"], Float[Tensor, "K C H W"]]:
    """The mean of what counts, and what white noise is convolved with: (p - m) / sqrt(n), 0 where nothing counts.

    p is the periodic component of each picture of which all counts, else the picture itself; n is how many pixels count in
    all the pictures.
    """
    n = known.sum()
    mean = (x * known).sum((0, 2, 3)) / n
    everywhere = (known.flatten(1).amin(1) == 1)[:, None, None, None]
    p = torch.where(everywhere, periodic_component(x), x)
    return mean, (p - mean[:, None, None]) * known / n.sqrt()


def field(
    mean: Float[Tensor, " C"], textons: Float[Tensor, "K C H W"], box: Box, seed: int, period: Size | None
) -> Float[Tensor, "C h w"]:
    """The pixels of a box of the plane m + sum_k t_k * noise_k."""
    rows, columns = textons.shape[2:]
    reach = Box(box.top - rows + 1, box.left - columns + 1, box.rows + rows - 1, box.columns + columns - 1)
    total = mean[:, None, None].expand(-1, box.rows, box.columns).clone()
    for k, one in enumerate(textons):
        total += convolved(one, normals(reach, 1, seed, f"field {k}", period).to(mean.device))
    return total


class GaussianField(Texture, Plane):
    """x = m + t * W: the stationary Gaussian law whose mean and covariance are the picture's, W white noise of the plane.

    The covariance at a step h is sum_x t(x) t(x + h), that of the picture's periodic component with zeros around it. All
    that is not in the spectrum, as edges and shapes, is lost: it is what other textures are held against, and the coarse start
    of `texto`.
    Reference: Galerne, Gousseau and Morel (2011), Random phase textures: theory and synthesis.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = GaussianField(GaussianField.Config(), DataSpec(channels=3, size=(8, 8)))
        >>> tuple(model.sample(1, size=(12, 40), rng=stream(0, "sample")).shape)
        (1, 3, 12, 40)
    """

    class Config(TextureConfig):
        kind: Literal["gaussian_field"] = "gaussian_field"

    random = False
    smallest = 2
    wraps = True
    mean: Tensor
    textons: Tensor

    def prepare(self) -> None:
        """Room for m and t."""
        self.register_buffer("mean", torch.zeros(self.spec.channels))
        self.register_buffer("textons", torch.zeros_like(self.exemplars))

    def learn(self, stage: Stage, rng: Generator) -> Iterator[float]:
        """Both in closed form."""
        self.mean[:], self.textons[:] = texton(self.exemplars, self.known)
        yield 1.0

    def block(self, row: int, column: int, seed: int, period: Size | None) -> Float[Tensor, "C s s"]:
        s = self.side
        return field(self.mean, self.textons, Box(row * s, column * s, s, s), seed, period)

    def make(self, wish: Wish, rng: Generator) -> Images:
        """A window of the plane."""
        return a_window(self, wish, rng)
