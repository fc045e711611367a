"""GPNN: a picture made of the exemplar's patches, the nearest ones to a coarser guess, so that all of them are used."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Generator, Tensor

from sfumato.families.scales import coarse_to_fine, noise_around, resized
from sfumato.families.texture import Texture, TextureConfig, Wish
from sfumato.images import Images
from sfumato.maths.patches import whole
from sfumato.maths.votes import averaged, windows

AT_ONCE = 1 << 21  # distances that are held at once


def complete(queries: Float[Tensor, "q d"], keys: Float[Tensor, "k d"], alpha: float) -> Int64[Tensor, " q"]:
    """argmin_j D_ij / (alpha + min_i D_ij) of each query, D the mean squared difference: keys that nobody is near to are near.

    Example:
        >>> complete(torch.tensor([[0.0], [0.4]]), torch.tensor([[0.1], [1.0]]), alpha=1e-3).tolist()
        [0, 1]
    """
    d, rows = queries.shape[1], max(AT_ONCE // len(keys), 1)
    lengths = keys.square().sum(1)[None]
    room = queries.new_empty(min(rows, len(queries)), len(keys))  # one for all parts: see `transport.cell`

    def distances(part: Tensor) -> Tensor:
        apart = torch.addmm(lengths, part, keys.T, alpha=-2.0, out=room[: len(part)])
        return apart.add_(part.square().sum(1)[:, None]).clamp_(min=0).div_(d)

    lack = torch.full_like(lengths[0], torch.inf)
    for part in queries.split(rows):
        lack = torch.minimum(lack, distances(part).amin(0))
    return torch.cat([distances(part).div_(alpha + lack).argmin(1) for part in queries.split(rows)])


class GPNN(Texture):
    """At each scale, a few times: each patch of the guess becomes the exemplar's patch of the best score; overlaps average.

    The score of a key is its distance over (alpha + how near any query comes to it): a small alpha makes the synthesis use
    every part of the exemplar, a large one lets it repeat what fits. The first guess is the coarsest exemplar with noise, or
    noise alone where another shape is asked for; at finer scales patches are compared with the exemplar as blurred as the
    guess is. Patches are compared by their first principal components. Nothing is trained.
    Reference: Granot, Feinstein, Shocher, Bagon and Irani (2022), Drop the GAN: in defense of patch nearest neighbors as single
    image generative models.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = GPNN(GPNN.Config(), DataSpec(channels=1, size=(8, 8)))
        >>> _ = model.known.fill_(1.0)  # `fit` does, when it reads the exemplar
        >>> tuple(model.sample(1, size=(8, 12), rng=stream(0, "sample")).shape)
        (1, 1, 8, 12)
    """

    class Config(TextureConfig):
        kind: Literal["gpnn"] = "gpnn"
        patch: int = Field(default=7, ge=1, le=31)
        """Rows and columns of a patch; less for a small exemplar."""
        coarsest: int = Field(default=21, ge=4)
        """The shorter side of the exemplar where the synthesis begins."""
        ratio: float = Field(default=0.75, gt=0.1, lt=1.0)
        """How much smaller each coarser scale is."""
        rounds: int = Field(default=4, ge=1, le=100)
        """Times that patches are replaced at each scale."""
        alpha: float = Field(default=0.005, gt=0.0)
        """How much of the exemplar may be left out, in squared differences of pixels from -1 to 1."""
        noise: float = Field(default=0.75, ge=0.0)
        """Standard deviation of the noise in the first guess."""
        components: int = Field(default=32, ge=1)
        """Principal components by which patches are compared."""

    random = False
    wraps = True

    def make(self, wish: Wish, rng: Generator) -> Images:
        """From coarse to fine."""
        config = self.config
        side = min(config.patch, *self.spec.size, *wish.size)
        self.require_patches(whole(self.known, side), side)
        x: Images | None = None
        blurred: Images | None = None
        for scale in coarse_to_fine(self, wish, config.coarsest, config.ratio, side):
            x = noise_around(self, scale.goal, config.noise, rng) if x is None else resized(x, scale.goal)
            u, counts = scale.u, whole(scale.known, side)
            if bool(counts.any()):
                values = windows(u, side).flatten(0, 1)[counts.flatten()]
                for turn in range(config.rounds):
                    seen = u if blurred is None or turn else resized(blurred, (u.shape[2], u.shape[3]))
                    keys = windows(seen, side).flatten(0, 1)[counts.flatten()]
                    queries = windows(x, side, wish.periodic)[0]
                    basis = principal(keys, config.components)
                    found = complete(queries @ basis, keys @ basis, config.alpha)
                    x = averaged(values[found][None], (x.shape[2], x.shape[3]), side, wish.periodic)
                    scale.watch((turn + 1) / config.rounds)
            blurred = u
        assert x is not None  # there is a finest scale
        return x


def principal(x: Float[Tensor, "n d"], count: int) -> Float[Tensor, "d k"]:
    """The directions in which vectors differ most; all of them where there are no more than asked for."""
    if x.shape[1] <= count:
        return torch.eye(x.shape[1], device=x.device)
    apart = x - x.mean(0)
    return torch.linalg.eigh(apart.T @ apart)[1][:, -count:]
