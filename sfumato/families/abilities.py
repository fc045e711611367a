"""Abilities: what a family may do beside drawing; metrics, restorers and commands ask for these and for no name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from sfumato.images import Images
from sfumato.networks.condition import NOTHING, Condition
from sfumato.streams import Rngs


class Denoises(ABC):
    """A family that can say what the clean image is."""

    @abstractmethod
    def denoiser(self, condition: Condition = NOTHING) -> Any:
        """A samplers.Denoiser, told this condition."""


class Decodes(ABC):
    """A family that turns latent vectors into images."""

    @abstractmethod
    def latent(self, n: int, rng: Rngs) -> Tensor:
        """n latent vectors from the prior."""

    @abstractmethod
    def decode(self, z: Tensor, condition: Condition) -> Images:
        """Their images; differentiable."""

    def picture(self, z: Tensor, condition: Condition) -> Images:
        """Their images as the family draws them: cleaned, where it has to clean what it decodes."""
        return self.decode(z, condition)

    def mapped(self, z: Tensor) -> Float[Tensor, "B c h w"]:
        """Latent vectors as maps, for networks that look at places; a plain vector is one pixel."""
        return z if z.ndim == 4 else z.flatten(1)[:, :, None, None]

    def unmapped(self, maps: Float[Tensor, "B c h w"], like: Tensor) -> Tensor:
        """The latent vectors that `mapped` was given, of the form of `like`."""
        return maps.reshape(len(maps), *like.shape[1:])


class Moves(Decodes):
    """A family that can be told to draw its image at another place."""

    @property
    @abstractmethod
    def moves(self) -> bool:
        """Whether its networks, as they are set, can."""

    @abstractmethod
    def moved(self, z: Tensor, condition: Condition, by: tuple[float, float]) -> Images:
        """The images of z, so many pixels down and to the right, with what comes in from outside."""


class Styles(Decodes):
    """A family whose layers each hear a style, made of a latent vector: coarse ones first."""

    @abstractmethod
    def styles(self, z: Tensor, condition: Condition) -> Float[Tensor, "B L s"]:
        """A style for every layer, the same one for all."""

    @abstractmethod
    def mean_style(self) -> Float[Tensor, "L s"]:
        """What is usual, for each layer."""

    @abstractmethod
    def paint(self, w: Float[Tensor, "B L s"], condition: Condition) -> Images:
        """Their images; differentiable."""


class Encodes(ABC):
    """A family that finds the latent vectors of images."""

    lossless: bool = False
    """Whether decoding brings every image back, so that the way there and back tells none from another."""

    @abstractmethod
    def encode(self, x: Images, condition: Condition) -> Tensor:
        """The latent vector that an image would be decoded from, as far as the family knows."""


class Enlarges(ABC):
    """A family that makes large images of small ones."""

    @abstractmethod
    def enlarge(self, y: Images, rng: Rngs, label: Int[Tensor, " n"] | None = None) -> Images:
        """Images of the size that it starts from, as large as it draws; of these classes, where it hears any."""


class Likelihood(ABC):
    """A family that gives a density to an image."""

    exact: bool = True
    """Whether the density is exact; else a lower bound."""
    density: bool = True
    """Whether `log_prob` is of a density of grey values; else it is the probability of a picture of few values."""

    @abstractmethod
    def log_prob(self, x: Images, condition: Condition, rng: Rngs) -> Float[Tensor, " B"]:
        """log p(x) in nats, the density on [-1, 1]^d; x has continuous values (the metric dequantises).

        Where `density` is False, x has values on the 8-bit grid and the answer is the log of a probability.
        """


class Rates(ABC):
    """A family that says how odd an image is, by a measure of its own."""

    @abstractmethod
    def rate(self, x: Images, rng: Rngs) -> Float[Tensor, " B"]:
        """The odder, the more."""


class Density(Likelihood):
    """A family whose density has a slope in the image, so that images can be moved to where they are likelier."""

    @abstractmethod
    def log_density(self, x: Images, condition: Condition) -> Float[Tensor, " B"]:
        """log p(x) in nats, on [-1, 1]^d; differentiable, and nothing is drawn."""
