"""WGAN (Arjovsky, Chintala and Bottou, 2017): a critic estimates the Wasserstein-1 distance, a generator makes it small.

The critic's 1-Lipschitz bound is a slot (clip, gradient_penalty, spectral_norm). For restoration both networks see the
condition, and a reconstruction term weighs the pixels the task names (paper 000, chapter 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from sfumato.config import Strict
from sfumato.families.adversaries import Adversaries, Modern
from sfumato.families.base import (
    Batch,
    Decodes,
    Family,
    Objective,
    Player,
    Stage,
    Terms,
    weighted_mean,
    weights,
)
from sfumato.families.lipschitz import GradientPenalty, Lipschitz
from sfumato.families.optimizers import AdamW, Optimizer
from sfumato.images import Images, Size
from sfumato.kinds import build, choice
from sfumato.networks.condition import Condition
from sfumato.streams import Rngs, normals


class WGAN(Family, Decodes):
    """Critic: C(G(z, y), y) - C(x, y) + penalty. Generator: -C(G(z, y), y) + reconstruction |x - G(z, y)|_1 on the region.

    Reference: Arjovsky, Chintala and Bottou (2017), Wasserstein GAN; Gulrajani et al. (2017) for the gradient penalty.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = WGAN(WGAN.Config(width=8), DataSpec(channels=1, size=8))
        >>> tuple(model.sample(2, rng=stream(0, "sample")).shape)
        (2, 1, 8, 8)
    """

    class Config(Strict):
        kind: Literal["wgan"] = "wgan"
        width: float = Field(default=32, gt=0)
        """Channels of the widest map of the generator; parity solves for it."""
        embedding: int | None = Field(default=None, ge=4)
        """Length of the vector, made of z, that tells every block; parity's fine knob. Left out: z itself."""
        critic_width: float | None = Field(default=None, gt=0)
        """Channels of the widest map of the critic; the generator's width when left out."""
        latent: int = Field(default=64, ge=1)
        """Length of z."""
        network: Annotated[Any, choice(Adversaries, "residual")] = Modern.Config()
        """residual (modern) or published (paper 000)."""
        lipschitz: Annotated[Any, choice(Lipschitz, "gradient_penalty")] = GradientPenalty.Config()
        """clip, gradient_penalty or spectral_norm."""
        critic_turns: int | None = Field(default=None, ge=1)
        """Turns of the critic for one of the generator; each consumes a batch. Left out: 1 beside a reconstruction term, which
        steadies the generator, and the paper's 5 without, where fewer lose variety (docs/results.md)."""
        share_batch: bool = False
        """Let all turns of a round see one batch, which is consumed once, as in paper 000's code."""
        reconstruction: float = Field(default=50.0, ge=0.0)
        """lambda_recon, the weight of the reconstruction term; it needs a condition and is left out without one."""
        project: bool = True
        """Let both losses see G with the measurement put back, so that seams count; paper 000 judges G itself."""
        labels: bool = False
        """Tell both networks the class of each image, the critic by projection; the data must have labels."""
        generator_optimizer: Annotated[Any, choice(Optimizer, "adamw")] = AdamW.Config(lr=1e-3, betas=(0.5, 0.9))
        """How the generator moves."""
        critic_optimizer: Annotated[Any, choice(Optimizer, "adamw")] = AdamW.Config(lr=1e-3, betas=(0.5, 0.9))
        """How the critic moves."""

    def build(self) -> None:
        """Both networks, the critic wrapped by its Lipschitz slot."""
        networks: Adversaries = build(self.config.network)
        self.lipschitz: Lipschitz = build(self.config.lipschitz)
        classes = self.spec.classes if self.labelled else 0
        self.generator: nn.Module = networks.generator(
            self.spec, self.config.width, self.config.latent, classes, self.config.embedding
        )
        critic = networks.critic(self.spec, self.config.critic_width or self.config.width, classes)
        self.critic: nn.Module = self.lipschitz.wrap(critic)

    def players(self, stage: Stage) -> Sequence[Player]:
        """The critic's turns, then the generator's."""
        config = self.config
        steadied = self.spec.condition > 0 and config.reconstruction > 0
        return [
            Player(
                "critic",
                [weights(self.critic)],
                [Objective(self.critic_loss)],
                config.critic_optimizer,
                turns=config.critic_turns or (1 if steadied else 5),
                fresh=not config.share_batch,
                after_step=lambda batch: self.lipschitz.after(self.critic),
            ),
            Player(
                "generator",
                [weights(self.generator)],
                [Objective(self.generator_loss)],
                config.generator_optimizer,
                fresh=not config.share_batch,
            ),
        ]

    def critic_loss(self, batch: Batch) -> Terms:
        """-(E C(x, y) - E C(G(z, y), y)) and what keeps C 1-Lipschitz."""
        condition = batch.condition
        with torch.no_grad():
            made = self.make(batch)
        penalty = self.lipschitz.penalty(lambda x: self.score(x, condition), batch.x, made, batch.rng)
        real_score, made_score = self.score(batch.x, condition).mean(), self.score(made, condition).mean()
        return {"real": -real_score, "made": made_score, **penalty}

    def generator_loss(self, batch: Batch) -> Terms:
        """-E C(G(z, y), y), and |x - G(z, y)|_1 where the task's loss looks."""
        condition = batch.condition
        made = self.make(batch)
        terms = {"adversarial": -self.score(made, condition).mean()}
        if condition.image is not None and self.config.reconstruction > 0:
            distance = weighted_mean((made - batch.x).abs(), batch.observation.weight)
            terms["reconstruction"] = self.config.reconstruction * distance
        return terms

    def make(self, batch: Batch) -> Images:
        """G(z, y), with the measurement put back where `project` is on."""
        made = self.decode(self.latent(len(batch.x), batch.rng), batch.condition)
        return batch.observation.project(made) if self.config.project else made

    def score(self, x: Images, condition: Condition) -> Tensor:
        """C(x, y), one number an image."""
        score: Tensor = self.critic(x, condition)
        return score

    def latent(self, n: int, rng: Rngs) -> Tensor:
        """z from a standard normal law, [n, latent]."""
        return normals(rng, n, self.config.latent)

    def decode(self, z: Tensor, condition: Condition) -> Images:
        """G(z, y)."""
        made: Tensor = self.generator(z, condition)
        return made

    def draw(self, n: int, condition: Condition, size: Size, rng: Rngs) -> Images:
        """One pass of the generator."""
        return self.decode(self.latent(n, rng), condition)

    def deployed(self) -> Sequence[nn.Module]:
        """The generator; the critic stays at home."""
        return (self.generator,)
