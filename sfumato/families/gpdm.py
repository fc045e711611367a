"""GPDM: a picture moved, from coarse to fine, until its patches have the exemplar's law along random directions."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Generator, Tensor

from sfumato.families.descent import descend
from sfumato.families.scales import coarse_to_fine, noise_around, resized
from sfumato.families.texture import Texture, TextureConfig, Wish
from sfumato.images import Images
from sfumato.maths.patches import whole
from sfumato.maths.sliced import apart, directions


class GPDM(Texture):
    """x minimises E_theta W_1(theta * P(x), theta * P(u)): the sliced Wasserstein distance of all patches, at each scale.

    A projection of all patches is a convolution with one random filter, and the distance of two rows of numbers is sorting;
    new filters are drawn at every step. The coarsest picture starts as noise around the exemplar's mean, each other one as
    the one before, enlarged. Nothing is trained.
    Reference: Elnekave and Weiss (2022), Generating natural images with direct patch distributions matching.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = GPDM(GPDM.Config(turns=2), DataSpec(channels=1, size=(8, 8)))
        >>> _ = model.known.fill_(1.0)  # `fit` does, when it reads the exemplar
        >>> tuple(model.sample(1, size=(8, 12), rng=stream(0, "sample")).shape)
        (1, 1, 8, 12)
    """

    class Config(TextureConfig):
        kind: Literal["gpdm"] = "gpdm"
        patch: int = Field(default=7, ge=1, le=31)
        """Rows and columns of a patch; less for a small exemplar."""
        projections: int = Field(default=64, ge=1, le=4096)
        """Random filters in each step."""
        coarsest: int = Field(default=21, ge=4)
        """The shorter side of the exemplar where the synthesis begins."""
        ratio: float = Field(default=0.85, gt=0.1, lt=1.0)
        """How much smaller each coarser scale is."""
        turns: int = Field(default=100, ge=1)
        """Steps at each scale; the paper takes 300."""
        rate: float = Field(default=0.03, gt=0.0)
        """The step of Adam, on the scale of images."""
        noise: float = Field(default=0.75, ge=0.0)
        """Standard deviation of the noise that the coarsest picture starts as."""

    random = False
    wraps = True

    def make(self, wish: Wish, rng: Generator) -> Images:
        """From coarse to fine."""
        config = self.config
        side = min(config.patch, *self.spec.size, *wish.size)
        self.require_patches(whole(self.known, side), side)
        x: Images | None = None
        for scale in coarse_to_fine(self, wish, config.coarsest, config.ratio, side):
            counts = whole(scale.known, side)
            if not bool(counts.any()):  # a thin mask leaves no patch at coarse scales
                continue
            start = noise_around(self, scale.goal, config.noise, rng) if x is None else resized(x, scale.goal)
            loss = partial(self._distance, u=scale.u, counts=counts, side=side, periodic=wish.periodic, rng=rng)
            x = descend(start, loss, config.turns, config.rate, scale.watch)
        assert x is not None  # the finest scale has a patch
        return resized(x, wish.size)

    def _distance(
        self, x: Images, u: Images, counts: Tensor, side: int, periodic: bool, rng: Generator
    ) -> Float[Tensor, ""]:
        filters = directions(self.config.projections, self.spec.channels * side**2, rng)
        filters = filters.view(-1, self.spec.channels, side, side)
        if periodic:
            x = F.pad(x, (0, side - 1, 0, side - 1), mode="circular")
        made = F.conv2d(x, filters)[0].flatten(1)
        true = F.conv2d(u, filters).transpose(0, 1)[:, counts]
        return apart(made, true, power=1).mean()
