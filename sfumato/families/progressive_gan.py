"""Progressive GAN (Karras et al., 2018): generator and critic grow together, from images of about 4 pixels to the full size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field

from sfumato.errors import ConfigError
from sfumato.families.adversarial import Adversarial, AdversarialConfig
from sfumato.families.adversaries import Adversaries
from sfumato.families.base import Batch, Player, Stage, Terms, weights
from sfumato.families.games import Game, Wasserstein
from sfumato.families.growth import Grows, Growth
from sfumato.families.optimizers import Optimizer
from sfumato.families.penalties import Drift, GradientPenalty, Penalty
from sfumato.families.style_adversaries import EVEN, Progressive
from sfumato.kinds import choice
from sfumato.networks.growth import Growing
from sfumato.networks.progressive import repeated


class GrowingAdversarial(Grows, Adversarial, abstract=True):
    """An adversarial family whose two networks grow; the blocks of earlier sizes go on learning."""

    grown: ClassVar[str] = "'progressive' or 'stylegan'"
    """Networks that will do."""

    def growing(self) -> Sequence[Growing]:
        """The critic and the generator, as their turns are.

        Raises: ConfigError: they do not grow.
        """
        networks = [network for network in (self.critic, self.generator) if isinstance(network, Growing)]
        if len(networks) < 2:
            raise ConfigError(
                f"{self.config.kind!r} needs networks that grow; leave `network` out, or name one as {self.grown}"
            )
        return networks

    def players(self, stage: Stage) -> Sequence[Player]:
        """The critic's turns, then the generator's, of what has grown so far."""
        levels = range(self.level_of(stage) + 1)
        return [
            replace(player, groups=[weights(*(part for level in levels for part in network.parts(level)))])
            for player, network in zip(super().players(stage), self.growing(), strict=True)
        ]

    def critic_loss(self, batch: Batch) -> Terms:
        return super().critic_loss(self.faded(batch))

    def penalty_loss(self, penalty: Penalty, batch: Batch) -> Terms:
        return super().penalty_loss(penalty, self.faded(batch))

    def generator_loss(self, batch: Batch) -> Terms:
        return super().generator_loss(self.faded(batch))

    def faded(self, batch: Batch) -> Batch:
        """New blocks as far as they are faded in, and real images with as much of what only these can draw."""
        self.fade_in(batch.within)
        level, fade = self.growing()[0].newest()
        if level == 0 or fade == 1.0:
            return batch
        return replace(batch, x=torch.lerp(repeated(F.avg_pool2d(batch.x, 2)), batch.x, fade))


class ProgressiveGAN(GrowingAdversarial):
    """WGAN-GP with drift, played at each resolution in turn; new blocks are faded in.

    Reference: Karras, Aila, Laine and Lehtinen (2018), Progressive growing of GANs for improved quality, stability, and
    variation.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> model = ProgressiveGAN(ProgressiveGAN.Config(width=8), DataSpec(channels=3, size=16))
        >>> [stage.name for stage in model.stages()]
        ['4 x 4', '8 x 8', '16 x 16']
    """

    class Config(AdversarialConfig, Growth):
        kind: Literal["progressive_gan"] = "progressive_gan"
        game: Annotated[Any, choice(Game, "wasserstein")] = Wasserstein.Config()
        """As in `gan`; the paper's is Wasserstein's."""
        penalties: list[Annotated[Any, choice(Penalty)]] = [GradientPenalty.Config(), Drift.Config()]
        """What steadies the critic."""
        critic_turns: int = Field(default=1, ge=1)
        """Turns of the critic for one of the generator; each consumes a batch."""
        network: Annotated[Any, choice(Adversaries, "progressive")] = Progressive.Config()
        """progressive, or stylegan, whose networks grow too."""
        generator_optimizer: Annotated[Any, choice(Optimizer, "adamw")] = EVEN
        """How the generator moves."""
        critic_optimizer: Annotated[Any, choice(Optimizer, "adamw")] = EVEN
        """How the critic moves."""

    def build(self) -> None:
        """Both networks with all their levels."""
        self.connect(self.config.game, self.config.penalties, self.config.critic_turns)
        self.begin_growth(self.growing()[0].levels)
