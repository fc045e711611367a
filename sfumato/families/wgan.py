"""WGAN (Arjovsky, Chintala and Bottou, 2017): a critic estimates the Wasserstein-1 distance, a generator makes it small.

The critic's 1-Lipschitz bound is a slot (clip, gradient_penalty, spectral_norm). For restoration both networks see the
condition, and a reconstruction term weighs the pixels the task names (paper 000, chapter 3).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from sfumato.families.adversarial import Adversarial, AdversarialConfig
from sfumato.families.games import Wasserstein
from sfumato.families.optimizers import AdamW, Optimizer
from sfumato.families.penalties import GradientPenalty, Penalty
from sfumato.kinds import choice


class WGAN(Adversarial):
    """Critic: C(G(z, y), y) - C(x, y) + penalty. Generator: -C(G(z, y), y) + reconstruction |x - G(z, y)|_1 on the region.

    Reference: Arjovsky, Chintala and Bottou (2017), Wasserstein GAN; Gulrajani et al. (2017) for the gradient penalty.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = WGAN(WGAN.Config(width=8), DataSpec(channels=1, size=8))
        >>> tuple(model.sample(2, rng=stream(0, "sample")).shape)
        (2, 1, 8, 8)
    """

    class Config(AdversarialConfig):
        kind: Literal["wgan"] = "wgan"
        lipschitz: Annotated[Any, choice(Penalty, "gradient_penalty")] = GradientPenalty.Config()
        """What keeps the critic 1-Lipschitz: clip, gradient_penalty or spectral_norm."""
        critic_turns: int | None = Field(default=None, ge=1)
        """Turns of the critic for one of the generator; each consumes a batch. Left out: 1 beside a reconstruction term, which
        steadies the generator, and the paper's 5 without, where fewer lose variety (docs/results.md)."""
        generator_optimizer: Annotated[Any, choice(Optimizer, "adamw")] = AdamW.Config(lr=1e-3, betas=(0.5, 0.9))
        """How the generator moves."""
        critic_optimizer: Annotated[Any, choice(Optimizer, "adamw")] = AdamW.Config(lr=1e-3, betas=(0.5, 0.9))
        """How the critic moves."""

    def build(self) -> None:
        """Both networks."""
        config = self.config
        steadied = self.spec.condition > 0 and config.reconstruction > 0
        self.connect(Wasserstein.Config(), [config.lipschitz], config.critic_turns or (1 if steadied else 5))
