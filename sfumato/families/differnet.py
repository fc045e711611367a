"""DifferNet: a flow on a network's features of usual images, which tells odd ones and draws none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from sfumato.config import Strict
from sfumato.errors import ConfigError
from sfumato.families.abilities import Rates
from sfumato.families.base import Batch, Family, Objective, Pass, Player, Stage, Terms, weights
from sfumato.families.optimizers import Adam, Optimizer
from sfumato.families.simple_laws import Normal
from sfumato.features.base import Features
from sfumato.features.lite0 import Lite0
from sfumato.images import Images, Size, to_uint8
from sfumato.kinds import build, choice
from sfumato.networks.condition import NOTHING
from sfumato.networks.couplings import Conditioner, Halves, dense
from sfumato.networks.invertible import ActNorm, Shuffle
from sfumato.networks.layers import rounded
from sfumato.networks.multi_scale import Level, MultiScale
from sfumato.networks.transformations import Affine, Transformation
from sfumato.streams import Rngs, uniforms

FIRST = 256  # images that features are brought to mean 0 and variance 1 by


class DifferNet(Family, Rates):
    """Loss: -log p(y) = -log N(f(y); 0, I) - log |det df/dy|, y the features of a turned image; odd is what has a large f(y).

    The score of an image is -log N(f(y); 0, I), the mean over several turns of it. The paper takes the means of AlexNet's
    last maps at three sizes and turns industrial parts all round; here features are a slot, and images are not turned by
    default, as most have an upright.
    Reference: Rudolph, Wandt and Rosenhahn (2021), Same same but DifferNet: Semi-supervised defect detection with
    normalizing flows.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = DifferNet(DifferNet.Config(width=8), DataSpec(channels=1, size=(8, 12)))
        >>> tuple(model.rate(torch.zeros(2, 1, 8, 12), rng=stream(0, "rate")).shape)
        (2,)
    """

    class Config(Strict):
        kind: Literal["differnet"] = "differnet"
        features: tuple[Annotated[Any, choice(Features)], ...] = Field(
            default=(Lite0.Config(layer="b4"), Lite0.Config()), min_length=1
        )
        """What images are seen through, all of it side by side; another size of one kind is another scale."""
        width: float = Field(default=128, gt=0)
        """Numbers in the hidden layers; the paper takes 2048."""
        couplings: int = Field(default=8, ge=1, le=64)
        """Couplings, with all numbers shuffled after each."""
        layers: int = Field(default=1, ge=0, le=16)
        """Hidden layers of each network beside the first."""
        coupling: Annotated[Any, choice(Transformation, "affine")] = Affine.Config(bound=3.0)
        """How a number is moved."""
        angle: float = Field(default=0.0, ge=0.0, le=180.0)
        """Images are turned by up to so many degrees either way; 180 where there is no upright."""
        views: int = Field(default=8, ge=1)
        """Turns of an image that its score is the mean of; one is enough where nothing is turned."""
        optimizer: Annotated[Any, choice(Optimizer, "adam")] = Adam.Config(betas=(0.8, 0.9), weight_decay=1e-5)
        """How the weights move."""

    draws: ClassVar[bool] = False

    def build(self) -> None:
        """The flow of as many numbers as all features have."""
        config = self.config
        if self.spec.condition:
            raise ConfigError(f"a {config.kind} rates images and restores none: train it on generation")
        self._seen: tuple[torch.device, list[Features]] = self._looking(torch.device("cpu"))
        dim = sum(features.dim for features in self._seen[1])
        network = partial(Conditioner, width=rounded(config.width, 1), middle=dense(config.layers), kernel=1)
        layers: list[Any] = [ActNorm(dim)]
        for i in range(config.couplings):
            layers += [Halves(dim, build(config.coupling), network, bool(i % 2)), Shuffle(dim)]
        self.base = Normal(Normal.Config())
        self.transform = MultiScale((dim, 1, 1), [Level(layers)])

    def check_size(self, size: Size) -> None:
        """Features are of grey or RGB images."""
        if self.spec.channels not in (1, 3):
            raise ConfigError(
                f"a {self.config.kind} looks at grey or RGB images; these have {self.spec.channels} channels"
            )

    def players(self, stage: Stage) -> Sequence[Player]:
        """One player, one loss."""
        return [Player("flow", [weights(self.transform)], [Objective(self.loss)], self.config.optimizer)]

    def fit(self, stage: Stage, images: Pass) -> Iterator[float]:
        """Bring features to mean 0 and variance 1, as the first images have them."""
        x, _ = next(iter(images.all(FIRST)))
        self.transform.settle(self.look(self.turned(x, images.stream("turn"))), NOTHING)
        yield 1.0

    def loss(self, batch: Batch) -> Terms:
        """-log p(y) for each number of y, in nats."""
        y = self.look(self.turned(batch.x, batch.rng))
        z, log_det = self.transform(y, NOTHING)
        return {"nats": -(self.base.log_prob(z) + log_det).mean() / z.shape[1]}

    @torch.no_grad()
    def rate(self, x: Images, rng: Rngs) -> Float[Tensor, " B"]:
        """-log N(f(y); 0, I), the mean over turns."""
        views = self.config.views if self.config.angle > 0 else 1
        scores = [self.base.log_prob(self.transform(self.look(self.turned(x, rng)), NOTHING)[0]) for _ in range(views)]
        return -torch.stack(scores).mean(0)

    def turned(self, x: Images, rng: Rngs) -> Images:
        """Each image by an angle of its own; what comes in at corners is mirrored."""
        if self.config.angle == 0:
            return x
        angle = (2 * uniforms(rng, len(x)) - 1) * torch.pi * self.config.angle / 180
        stretch = x.shape[2] / x.shape[3]  # places count from -1 to 1 along both sides, however long they are
        cos, sin, none = angle.cos(), angle.sin(), torch.zeros_like(angle)
        rows = torch.stack([cos, -sin * stretch, none, sin / stretch, cos, none], 1).view(-1, 2, 3)
        places = F.affine_grid(rows, list(x.shape), align_corners=False)
        return F.grid_sample(x, places, mode="bilinear", padding_mode="reflection", align_corners=False)

    @torch.no_grad()
    def look(self, x: Images) -> Float[Tensor, "B D 1 1"]:
        """All features of images, as channels of one pixel."""
        if self._seen[0] != x.device:
            self._seen = self._looking(x.device)
        pixels = to_uint8(x)
        return torch.cat([features(pixels) for features in self._seen[1]], 1)[:, :, None, None]

    def _looking(self, device: torch.device) -> tuple[torch.device, list[Features]]:
        return device, [build(features, device) for features in self.config.features]

    def deployed(self) -> Sequence[nn.Module]:
        """What moves features; the networks that see them are nobody's to train, count or save."""
        return (self.transform,)

    def notes(self) -> Sequence[str]:
        """Which features, with the digest of their weights."""
        return [f"sees {f.tag}: {f.dim} numbers, weights {f.digest[:12]}" for f in self._seen[1]]
