"""The engine of flows: images are moved, one to one, to a law that is known, so that each has an exact density.

`nice`, `realnvp`, `glow`, `flow_pp` and `tarflow` are short files that say which layers move them.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Annotated, Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Generator, Tensor, nn

from sfumato.config import Strict
from sfumato.errors import ConfigError
from sfumato.families.abilities import Decodes, Density, Encodes
from sfumato.families.base import Batch, Family, Objective, Pass, Player, Stage, Terms, weights
from sfumato.families.dequantisation import Dequantisation, Uniform
from sfumato.families.optimizers import Adamax, Optimizer
from sfumato.families.simple_laws import Normal, SimpleLaw
from sfumato.images import LEVEL, Images, Size
from sfumato.kinds import build, choice
from sfumato.networks.condition import Condition
from sfumato.networks.couplings import Conditioner, Middle
from sfumato.networks.invertible import Squeeze
from sfumato.networks.layers import rounded
from sfumato.networks.multi_scale import Level, MultiScale, Seen
from sfumato.streams import Rngs

FIRST = 256  # images that what is set once is set from


class FlowConfig(Strict):
    """What every flow can be told."""

    width: float = Field(default=64, gt=0)
    """Channels of the networks that say how numbers are moved; parity solves for it."""
    dequantisation: Annotated[Any, choice(Dequantisation, "uniform")] = Uniform.Config()
    """How levels are spread: uniform, variational (learnt noise) or gaussian (and one step of cleaning)."""
    base: Annotated[Any, choice(SimpleLaw, "normal")] = Normal.Config()
    """The law that images are moved to: normal or logistic."""
    temperature: float = Field(default=1.0, ge=0.0)
    """What latent numbers are multiplied by when images are drawn, on every level; under 1: likelier images, less varied."""
    labels: bool = False
    """Tell the networks the class of each image; the data must have labels."""
    optimizer: Annotated[Any, choice(Optimizer, "adamax")] = Adamax.Config(lr=2e-3, clip=50.0)
    """How the weights move."""


class Flow(Family, Density, Encodes, Decodes, abstract=True):
    """log p(x) = log p(z) + log |det dz/dx|, z = f(x); the loss is its negative, in bits for each number of an image.

    For restoration the networks see the condition, and pixels that the task does not ask for are noise in training: of what
    is given nothing has to be learnt, and it is put back when images are drawn.
    References: Dinh, Krueger and Bengio (2015), NICE; Papamakarios et al. (2021), Normalizing flows for probabilistic
    modeling and inference.
    """

    lossless = True

    def build(self) -> None:
        """The networks, and the slots."""
        config = self.config
        self.base: SimpleLaw = build(config.base)
        self.dequantisation: Dequantisation = build(config.dequantisation)
        self.dequantisation.connect(self.spec.channels, config.width)
        self.transform = self.layers()

    @abstractmethod
    def layers(self) -> MultiScale:
        """What moves images."""

    @property
    def exact(self) -> bool:  # type: ignore[override]
        """Whether the likelihood is; else it is a bound."""
        return self.dequantisation.exact

    def conditioner(self, middle: Middle, width: float) -> Callable[[int, int], Conditioner]:
        """Makes the networks of couplings from their inputs and outputs; they see what was observed and hear labels."""
        classes = self.spec.classes if self.labelled else 0
        return partial(Conditioner, width=rounded(width, 1), middle=middle, seen=self._seen(), classes=classes)

    def multi_scale(self, levels: Sequence[Level]) -> MultiScale:
        """The levels, told what was observed at the size of each."""
        squeezes = sum(isinstance(layer, Squeeze) for level in levels for layer in level.layers)
        seen = Seen(self.spec.condition, self._seen(), squeezes) if self.spec.condition else None
        return MultiScale((self.spec.channels, *self.spec.size), levels, seen)

    def _seen(self) -> int:
        return rounded(self.config.width / 2, 4) if self.spec.condition else 0

    def players(self, stage: Stage) -> Sequence[Player]:
        """One player, one loss."""
        moving = weights(self.transform, self.dequantisation)
        return [Player("flow", [moving], [Objective(self.loss)], self.config.optimizer)]

    def fit(self, stage: Stage, images: Pass) -> Iterator[float]:
        """Set what is set once (ActNorm) from the first images; half of their pixels are noise where a training has it."""
        x, label = next(iter(images.all(FIRST)))
        if self.spec.condition:
            rng = images.stream("noise")
            noise = levels_like(x, rng)
            x = torch.where(torch.rand(x.shape, generator=rng, device=x.device) < 0.5, noise, x)
        y = self.dequantisation.spread(x, images.stream("dequantise"))[0]
        nothing = x.new_zeros(len(x), self.spec.condition, *self.spec.size) if self.spec.condition else None
        self.transform.settle(y, Condition(nothing, label if self.labelled else None))
        yield 1.0

    def loss(self, batch: Batch) -> Terms:
        """Bits per dimension, or a bound of them."""
        x, weight = batch.x, batch.observation.weight
        if self.spec.condition:
            x = torch.where(weight > 0, x, levels_like(x, batch.rng))
        y, rest = self.dequantisation.spread(x, batch.rng)
        nats = (self.log_density(y, batch.condition) + rest).mean()
        return {"bits": -(nats / self.spec.dimensions + math.log(LEVEL)) / math.log(2)}

    def log_density(self, x: Images, condition: Condition) -> Float[Tensor, " B"]:
        """log p(z) + log |det dz/dx|, of what levels are spread to."""
        z, log_det = self.transform(x, condition)
        return self.base.log_prob(z) + log_det

    @torch.no_grad()
    def log_prob(self, x: Images, condition: Condition, rng: Rngs) -> Float[Tensor, " B"]:
        """Exact where levels are spread evenly, as x is; else the bound for the levels that x is around."""
        if self.exact:
            return self.log_density(x, condition)
        y, rest = self.dequantisation.spread(((x + 1) / LEVEL).round() * LEVEL - 1, rng)
        return self.log_density(y, condition) + rest

    def latent(self, n: int, rng: Rngs) -> Float[Tensor, "n d"]:
        """z from the base, times the temperature."""
        return self.config.temperature * self.base.draw(n, self.spec.dimensions, rng)

    def encode(self, x: Images, condition: Condition) -> Float[Tensor, "B d"]:
        """All latent numbers, in the order in which they leave the levels."""
        z: Tensor = self.transform(x, condition)[0]
        return z

    def mapped(self, z: Float[Tensor, "B d"]) -> Float[Tensor, "B c h w"]:
        """The parts that leave the levels, laid out in one size."""
        return self.transform.mapped(z)

    def unmapped(self, maps: Float[Tensor, "B c h w"], like: Tensor) -> Float[Tensor, "B d"]:
        return self.transform.unmapped(maps)

    def picture(self, z: Float[Tensor, "B d"], condition: Condition) -> Images:
        """Decoded, and cleaned of the noise that levels were spread by, where that is wide."""
        return self.dequantisation.cleaned(self.decode(z, condition), lambda y: self.log_density(y, condition))

    def decode(self, z: Float[Tensor, "B d"], condition: Condition) -> Images:
        """The images: `decode(encode(x))` is x."""
        return self.transform.inverse(z, condition)

    def draw(self, n: int, condition: Condition, size: Size, rng: Rngs) -> Images:
        """Pictures, with what is given put back."""
        if tuple(size) != tuple(self.spec.size):
            only = " x ".join(map(str, self.spec.size))
            raise ConfigError(f"a {self.config.kind} draws images of {only}, the size that it was trained at")
        return condition.imposed(self.picture(self.latent(n, rng), condition))

    def deployed(self) -> Sequence[nn.Module]:
        """What moves numbers to images."""
        return (self.transform,)

    def companions(self) -> Sequence[nn.Module]:
        """What spreads levels while training and rating."""
        return (self.dequantisation,)


def require_halves(channels: int, size: Size, kind: str, levels: int = 1) -> None:
    """An image has to be halved once, or to have channels that can say something of each other.

    Raises: ConfigError: it cannot, and has not.
    """
    if channels < 2 and not levels:
        raise ConfigError(f"a {kind} of grey images has to halve them once; set levels = 1 or more")
    if channels < 2 and not halvings(size, 1):
        raise ConfigError(f"images of {size[0]} x {size[1]} cannot be halved, as a {kind} does; make both sides even")


def levels_like(x: Images, rng: Generator) -> Images:
    """Images of random levels."""
    return torch.randint(256, x.shape, generator=rng, device=x.device) * LEVEL - 1


def halvings(size: Size, wanted: int) -> int:
    """How often both sides can be halved, at most as often as is wanted.

    Example:
        >>> halvings((28, 28), 3), halvings((7, 8), 3)
        (2, 0)
    """
    count = 0
    while count < wanted and not any(side % 2 ** (count + 1) for side in size):
        count += 1
    return count
