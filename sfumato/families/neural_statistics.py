"""Neural statistics: a picture moved until a fixed network's maps of it have the statistics of the exemplar's."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field, field_validator
from torch import Generator, Tensor

from sfumato.families.descent import descend
from sfumato.families.scales import coarse_to_fine, noise_around, resized
from sfumato.families.texture import Texture, TextureConfig, Wish
from sfumato.features.base import Features, Perceives, extractor
from sfumato.features.lite0 import Lite0
from sfumato.images import Images
from sfumato.kinds import choice
from sfumato.maths.sliced import directions, sliced

Rows = Float[Tensor, "n c"]
"""One vector a place of a map."""


def gram(made: Rows, true: Rows, rng: Generator) -> Float[Tensor, ""]:
    """|G(made) - G(true)|^2 / |G(true)|^2, with G = F^T F / n the mean products of channels."""
    one, other = (rows.T @ rows / len(rows) for rows in (made, true))
    return (one - other).square().sum() / other.square().sum().clamp(min=1e-12)


def along_lines(made: Rows, true: Rows, rng: Generator) -> Float[Tensor, ""]:
    """The sliced Wasserstein distance of the vectors, along as many lines as they have channels, over their mean square."""
    theta = directions(made.shape[1], made.shape[1], rng)
    return made.shape[1] * sliced(made, true, theta) / true.square().sum(1).mean().clamp(min=1e-12)


STATISTICS: dict[str, Callable[[Rows, Rows, Generator], Float[Tensor, ""]]] = {"gram": gram, "sliced": along_lines}


class NeuralStatistics(Texture):
    """x minimises the mean over maps F of a distance of statistics of F(x) and F(u), from coarse to fine.

    `gram` holds mean products of channels against each other, as Gatys et al.; `sliced` the whole laws of the vectors along
    random lines, which sees more than second moments. Features are those of EfficientNet-Lite0 unless others are
    named: offline, and ImageNet's. Where a mask says what counts, only places of a map count whose pixels mostly do.
    References: Gatys, Ecker and Bethge (2015), Texture synthesis using convolutional neural networks; Heitz, Vanhoey, Chambon
    and Belcour (2021), A sliced Wasserstein loss for neural texture synthesis; Gonthier, Gousseau and Ladjal (2022) for the
    scales.
    """

    class Config(TextureConfig):
        kind: Literal["neural_statistics"] = "neural_statistics"
        statistic: Literal["gram", "sliced"] = "sliced"
        """gram: mean products of channels; sliced: sliced Wasserstein distance of the vectors."""
        features: Annotated[Any, choice(Features, "lite0")] = Lite0.Config(layer="b4")
        """Whose maps: lite0 (offline), or vgg with its weights at hand."""
        maps: int = Field(default=5, ge=1, le=16)
        """How many maps are looked at, from the first on."""
        coarsest: int = Field(default=64, ge=8)
        """The shorter side of the exemplar where the synthesis begins."""
        turns: int = Field(default=150, ge=1)
        """Steps at each scale, each half as large as the next."""
        rate: float = Field(default=0.05, gt=0.0)
        """The step of Adam, on the scale of images."""
        noise: float = Field(default=0.3, ge=0.0)
        """Standard deviation of the noise that the coarsest picture starts as."""

        @field_validator("features")
        @classmethod
        def _perceives(cls, features: Any) -> Any:
            if not issubclass(features.owner, Perceives):
                raise ValueError(f"a loss cannot follow features {features.kind!r}; use lite0 or vgg")
            return features

    random = False
    smallest = 8

    def make(self, wish: Wish, rng: Generator) -> Images:
        """From coarse to fine."""
        config = self.config
        x: Images | None = None
        for scale in coarse_to_fine(self, wish, config.coarsest, 0.5, self.smallest):
            with torch.no_grad():
                true = self._maps(scale.u, scale.known)

            def loss(made: Images, true: list[Rows] = true) -> Float[Tensor, ""]:
                pairs = zip(self._maps(made), true, strict=True)
                statistic = STATISTICS[config.statistic]
                return torch.stack([statistic(one, other, rng) for one, other in pairs]).mean() + beyond(made)

            start = noise_around(self, scale.goal, config.noise, rng) if x is None else resized(x, scale.goal)
            x = descend(start, loss, config.turns, config.rate, scale.watch)
        assert x is not None  # there is a finest scale
        return x

    def _maps(self, x: Images, known: Tensor | None = None) -> list[Rows]:
        """The picture's own pixels, then maps, as rows of vectors; of what counts, if not all does."""
        features: Any = extractor(self.config.features, x.device)
        found: list[Tensor] = [x, *(one for _, one in islice(features.maps(x), self.config.maps))]
        rows = []
        for one in found:
            vectors = one.permute(0, 2, 3, 1).flatten(0, 2)
            if known is not None and bool((known < 1).any()):
                counts = torch.nn.functional.interpolate(known, one.shape[2:], mode="area").flatten() > 0.5
                self.require_patches(counts, 2)
                vectors = vectors[counts]
            rows.append(vectors)
        return rows


def beyond(x: Images) -> Float[Tensor, ""]:
    """How far pixels are beyond [-1, 1], squared in the mean."""
    return (x.abs() - 1).clamp(min=0).square().mean()
