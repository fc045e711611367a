"""GAN (Goodfellow et al., 2014): a critic tells real from made images, a generator learns what it cannot tell.

The game is a slot. The default is relativistic with R1 and R2 on every turn (R3GAN): no second learning rate, no extra
turns, no normalisation in the critic, one weight gamma. The others stand beside it as their papers have them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from sfumato.families.adversarial import Adversarial, AdversarialConfig
from sfumato.families.games import Game, Relativistic
from sfumato.families.optimizers import AdamW, Optimizer
from sfumato.families.penalties import Penalty, ZeroCentred
from sfumato.kinds import choice


class GAN(Adversarial):
    """Critic: game(C(x, y), C(G(z, y), y)) + penalties. Generator: the game's loss + reconstruction |x - G(z, y)|_1.

    Reference: Goodfellow et al. (2014), Generative adversarial nets; Huang et al. (2024) for the default.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = GAN(GAN.Config(width=8, game="hinge"), DataSpec(channels=1, size=8))
        >>> tuple(model.sample(2, rng=stream(0, "sample")).shape)
        (2, 1, 8, 8)
    """

    class Config(AdversarialConfig):
        kind: Literal["gan"] = "gan"
        game: Annotated[Any, choice(Game, "relativistic")] = Relativistic.Config()
        """minimax, non_saturating, hinge, least_squares, f_divergence, began, wasserstein or relativistic."""
        penalties: list[Annotated[Any, choice(Penalty)]] = [ZeroCentred.Config()]
        """What steadies the critic: zero_centred (R1, R2), spectral_norm, lecam, gradient_penalty, clip; any, or none."""
        critic_turns: int = Field(default=1, ge=1)
        """Turns of the critic for one of the generator; each consumes a batch."""
        generator_optimizer: Annotated[Any, choice(Optimizer, "adamw")] = AdamW.Config(
            lr=1e-3, betas=(0.0, 0.9), betas_end=(0.0, 0.99)
        )
        """How the generator moves."""
        critic_optimizer: Annotated[Any, choice(Optimizer, "adamw")] = AdamW.Config(
            lr=1e-3, betas=(0.0, 0.9), betas_end=(0.0, 0.99)
        )
        """How the critic moves."""

    def build(self) -> None:
        """Both networks."""
        self.connect(self.config.game, self.config.penalties, self.config.critic_turns)
