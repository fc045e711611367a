"""Laws: what a decoder's image says of the pixels, p(x | decoded); a slot of the families that decode to a likelihood."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Generator, Tensor, nn

from sfumato.config import Strict
from sfumato.errors import CapabilityError
from sfumato.images import LEVEL, Images
from sfumato.kinds import Kind

Weight = Float[Tensor, "B 1 H W"]


class Law(Kind, nn.Module, ABC, root=True):
    """-log p(x | decoded), each pixel on its own; summed over pixels, never averaged, or the KL term would drown it."""

    density: ClassVar[bool] = True
    """Whether it is a density of grey values; else a probability of pictures of few values."""

    def __init__(self, config: Strict):
        super().__init__()
        self.config: Any = config

    @abstractmethod
    def nll(self, decoded: Images, x: Images, weight: Weight) -> Float[Tensor, " B"]:
        """Nats of each image while training, pixels counted by `weight`."""

    @abstractmethod
    def log_density(self, decoded: Images, x: Images) -> Float[Tensor, " B"]:
        """log p(x | decoded), the density on [-1, 1]^d or a probability, in nats.

        Raises: CapabilityError: it is a law of something else.
        """

    def taken(self, x: Images, rng: Generator) -> Images:
        """The images as this law takes them."""
        return x


class Gaussian(Law):
    """N(decoded, sigma^2 I) with one sigma for all pixels: the likeliest, sigma^2 = mean squared error of the batch.

    Then the loss is d / 2 log of that error, and neither sigma nor a beta is left to tune; what was found is a buffer.
    Reference: Rybkin, Daniilidis and Levine (2021), Simple and effective VAE training with calibrated decoders.
    """

    class Config(Strict):
        kind: Literal["gaussian"] = "gaussian"
        sigma: float | None = Field(default=None, gt=0.0)
        """A fixed standard deviation in place of the likeliest."""
        least: float = Field(default=1e-2, gt=0.0)
        """sigma never falls below this, 1.3 grey levels; images have 8 bits."""

    variance: Tensor

    def __init__(self, config: Strict):
        super().__init__(config)
        self.register_buffer("variance", torch.zeros(()))

    def _variance(self) -> Tensor:
        """What to draw and to measure with: the fixed one, that of the training, or 1 before there is any."""
        fixed = self.config.sigma
        return torch.full_like(self.variance, fixed**2) if fixed else torch.where(self.variance > 0, self.variance, 1.0)

    def nll(self, decoded: Images, x: Images, weight: Weight) -> Float[Tensor, " B"]:
        error, count = (weight * (x - decoded).square()).flatten(1).sum(1), weight.flatten(1).sum(1) * x.shape[1]
        if self.config.sigma is None:
            with torch.no_grad():
                v = (error.sum() / count.sum().clamp(min=1.0)).float().clamp(min=self.config.least**2)
                self.variance.copy_(torch.where(self.variance > 0, self.variance.lerp(v, 0.02), v))
        else:
            v = self._variance()
        return 0.5 * (error / v + count * (2 * math.pi * v).log())

    def log_density(self, decoded: Images, x: Images) -> Float[Tensor, " B"]:
        v, d = self._variance(), x[0].numel()
        return -0.5 * ((x - decoded).square().flatten(1).sum(1) / v + d * (2 * math.pi * v).log())


class Bernoulli(Law):
    """-t log p - (1 - t) log(1 - p), t = (x + 1) / 2 and p = (decoded + 1) / 2 in [0, 1]: a law of black and white.

    Of grey values it is no law, though papers use it so; with `binarise` each look at an image draws it in black and white
    with odds t, which is the benchmark of MNIST, and nats are those of these pictures.
    """

    class Config(Strict):
        kind: Literal["bernoulli"] = "bernoulli"
        binarise: bool = False
        """Draw black and white images anew at each look."""

    density = False

    def taken(self, x: Images, rng: Generator) -> Images:
        if not self.config.binarise:
            return x
        t = (x + 1) / 2
        return torch.where(torch.rand(x.shape, generator=rng, device=x.device) < t, 1.0, -1.0)

    def _each(self, decoded: Images, x: Images) -> Images:
        # torch's cross-entropy of probabilities refuses NaN, which has to reach the trainer, and autocast on a GPU.
        p = ((decoded.float() + 1) / 2).clamp(1e-6, 1 - 1e-6)
        t = (x + 1) / 2
        return -(t * p.log() + (1 - t) * (1 - p).log())

    def nll(self, decoded: Images, x: Images, weight: Weight) -> Float[Tensor, " B"]:
        return (weight * self._each(decoded, x)).flatten(1).sum(1)

    def log_density(self, decoded: Images, x: Images) -> Float[Tensor, " B"]:
        if not self.config.binarise:
            raise CapabilityError(
                "a Bernoulli law of grey values has no density on [-1, 1]; use likelihood = 'gaussian' or 'logistic', "
                "or binarise the images"
            )
        return -self._each(decoded, x).flatten(1).sum(1)


class Logistic(Law):
    """The mass that a logistic law around the decoded value gives to the 8-bit level of x, one learned scale for all.

    Reference: Salimans, Karpathy, Chen and Kingma (2017), PixelCNN++, with one component.
    """

    class Config(Strict):
        kind: Literal["logistic"] = "logistic"
        scale: float = Field(default=0.1, gt=0.0)
        """Where the scale starts."""

    def __init__(self, config: Strict):
        super().__init__(config)
        self.log_scale = nn.Parameter(torch.tensor(math.log(self.config.scale)))

    def _log_mass(self, decoded: Images, x: Images) -> Images:
        """log(F(x + half) - F(x - half)), the outermost levels open; in logs, for levels far out."""
        middle, half = ((x + 1) / LEVEL).round() * LEVEL - 1 - decoded.float(), LEVEL / 2
        s = self.log_scale.clamp(min=-7.0).exp()
        low, high = (middle - half) / s, (middle + half) / s
        # F(b) - F(a) = F(b) F(-a) (1 - exp(a - b))
        inside = F.logsigmoid(high) + F.logsigmoid(-low) + torch.log1p(-torch.exp(low - high))
        return torch.where(x < -1 + half, F.logsigmoid(high), torch.where(x > 1 - half, F.logsigmoid(-low), inside))

    def nll(self, decoded: Images, x: Images, weight: Weight) -> Float[Tensor, " B"]:
        return -(weight * self._log_mass(decoded, x)).flatten(1).sum(1)

    def log_density(self, decoded: Images, x: Images) -> Float[Tensor, " B"]:
        return (self._log_mass(decoded, x) - math.log(LEVEL)).flatten(1).sum(1)
