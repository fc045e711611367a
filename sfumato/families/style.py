"""What the style GANs share: codes mixed in training, truncation in drawing, path length, and the average w."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from sfumato.errors import ConfigError
from sfumato.families.abilities import Moves, Styles
from sfumato.families.adversarial import Adversarial, AdversarialConfig
from sfumato.families.base import Batch, Objective, Player, Stage, Terms
from sfumato.families.games import Game, Relativistic
from sfumato.families.optimizers import Optimizer
from sfumato.families.penalties import Penalty, ZeroCentred
from sfumato.families.style_adversaries import EVEN
from sfumato.images import Images, Size
from sfumato.kinds import choice
from sfumato.networks.alias_free import Waves
from sfumato.networks.condition import Condition
from sfumato.networks.mapping import StyleGenerator
from sfumato.streams import Rngs, normals

FOLLOWS = 0.01  # how fast the mean path length follows


class StyleConfig(AdversarialConfig):
    """What every style GAN can be told."""

    game: Annotated[Any, choice(Game, "relativistic")] = Relativistic.Config()
    """As in `gan`. The papers' is non_saturating with R1 alone (on = "real", every = 16), which loses most of what there is to
    draw in a short training (docs/results.md)."""
    penalties: list[Annotated[Any, choice(Penalty)]] = [ZeroCentred.Config(gamma=0.5, gamma_end=0.5, every=4)]
    """What steadies the critic: R1 and R2 on each fourth turn."""
    critic_turns: int = Field(default=1, ge=1)
    """Turns of the critic for one of the generator; each consumes a batch."""
    mixing: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of made images that hear a second code from a random layer on, so that layers do not rely on one another."""
    truncation: float = Field(default=1.0, ge=0.0)
    """psi, for drawing: w becomes mean + psi (w - mean); below 1 for usual images, 1 for all that was learnt."""
    path_length: float = Field(default=0.0, ge=0.0)
    """Weight of the path length's distance from its mean, on each fourth turn."""
    generator_optimizer: Annotated[Any, choice(Optimizer, "adamw")] = EVEN
    """How the generator moves; its mapping at a hundredth of the rate."""
    critic_optimizer: Annotated[Any, choice(Optimizer, "adamw")] = EVEN
    """How the critic moves."""


class Style(Adversarial, Styles, Moves, abstract=True):
    """G(z) = paint(f(z)), f a mapping; every layer hears a style."""

    mean_length: Tensor
    named: ClassVar[str] = "'stylegan2' or 'stylegan3'"
    """Networks that will do."""

    def connect_styles(self) -> None:
        """Both networks, and the mean path length.

        Raises: ConfigError: the generator hears no styles.
        """
        self.connect(self.config.game, self.config.penalties, self.config.critic_turns)
        self.register_buffer("mean_length", torch.zeros(()))
        if not isinstance(self.generator, StyleGenerator):
            raise ConfigError(
                f"{self.config.kind!r} needs a network that hears styles; leave `network` out, or name one as {self.named}"
            )

    @property
    def painter(self) -> StyleGenerator:
        """The generator."""
        assert isinstance(self.generator, StyleGenerator)
        return self.generator

    def players(self, stage: Stage) -> Sequence[Player]:
        """The critic's turns, then the generator's with its path length."""
        critic, generator = super().players(stage)
        if not self.config.path_length:
            return [critic, generator]
        return [critic, replace(generator, objectives=[*generator.objectives, Objective(self.path_loss, every=4)])]

    def fresh(self, batch: Batch) -> Images:
        """Of new codes, some of them mixed, with new noise; the mean w follows."""
        n, rng = len(batch.x), batch.rng
        w = self.painter.styles(self.latent(n, rng), batch.condition)
        self.painter.mapping.follow(w[:, 0])
        if self.config.mixing:
            w = self.mixed(w, self.painter.styles(self.latent(n, rng), batch.condition), batch)
        return self.painter.paint(w, batch.condition, rng)

    def mixed(self, w: Tensor, other: Tensor, batch: Batch) -> Tensor:
        """`other` from a random layer on, of those that are there already, for a share of the images."""
        n, layers = w.shape[:2]
        draw = torch.rand(2, n, generator=batch.rng, device=w.device)
        first = 1 + (draw[0] * (self.painter.heard - 1)).long()
        first = torch.where(draw[1] < self.config.mixing, first, layers)
        return torch.where((torch.arange(layers, device=w.device) >= first[:, None])[..., None], other, w)

    def path_loss(self, batch: Batch) -> Terms:
        """weight E (|J_w^T n| - mean)^2, n ~ N(0, I) / sqrt(pixels): a step of w is a step of one length in the image.

        On half of the batch, as published. Reference: Karras et al. (2020), StyleGAN2, section 3.2.
        """
        half = batch.pick(slice(0, max(len(batch.x) // 2, 1)))
        w = self.painter.styles(self.latent(len(half.x), half.rng), half.condition).contiguous()
        w = w if w.requires_grad else w.requires_grad_()
        length = self.path_lengths(w, half.condition, half.rng)
        with torch.no_grad():
            self.mean_length.lerp_(length.float().mean(), FOLLOWS)
        return {"path_length": self.config.path_length * (length - self.mean_length).square().mean()}

    def path_lengths(self, w: Tensor, condition: Condition, rng: Rngs) -> Float[Tensor, " B"]:
        """|J_w^T n| of each image: the root of the mean over layers of the squared slope in their style."""
        made = self.painter.paint(w, condition, rng)
        noise = normals(rng, len(made), *made.shape[1:]).to(made.dtype) / (made.shape[2] * made.shape[3]) ** 0.5
        (slope,) = torch.autograd.grad((made * noise).sum(), w, create_graph=True)
        return (slope[:, : self.painter.heard].square().sum(2).mean(1) + 1e-12).sqrt()

    def alarm(self, means: Mapping[str, float]) -> str:
        """None where truncation alone makes images alike."""
        return super().alarm(means) if self.config.truncation == 1.0 else ""

    def styles(self, z: Tensor, condition: Condition) -> Tensor:
        """[B, layers, length], truncated as the settings say."""
        return self.painter.mapping.truncated(self.painter.styles(z, condition), self.config.truncation)

    def mean_style(self) -> Tensor:
        """[layers, length]."""
        return self.painter.mapping.mean.expand(self.painter.layers, -1)

    def paint(self, w: Tensor, condition: Condition) -> Images:
        return self.painter.paint(w, condition)

    def decode(self, z: Tensor, condition: Condition) -> Images:
        """With the network's own noise."""
        return self.paint(self.styles(z, condition), condition)

    @property
    def moves(self) -> bool:
        """Where the picture begins with plane waves."""
        return isinstance(getattr(self.painter, "enter", None), Waves)

    def moved(self, z: Tensor, condition: Condition, by: tuple[float, float]) -> Images:
        """With the network's own noise, which stays."""
        waves: Any = self.painter.enter
        longest = max(self.spec.size)
        waves.transform[:2, 2] = waves.transform.new_tensor([-by[1] / longest, -by[0] / longest])
        try:
            return self.decode(z, condition)
        finally:
            waves.transform[:2, 2] = 0.0

    def draw(self, n: int, condition: Condition, size: Size, rng: Rngs) -> Images:
        """With new noise."""
        return self.painter.paint(self.styles(self.latent(n, rng), condition), condition, rng)

    def notes(self) -> Sequence[str]:
        """How far w is truncated, and how long the mean w is."""
        psi, mean = self.config.truncation, self.painter.mapping.mean
        return [f"Truncation: psi {psi:g}; |mean w| {float(mean.norm()):.3f}, kept with the weights"]
