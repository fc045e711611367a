"""The adversarial engine: a critic tells real from made images, a generator makes its scores high; what scores are worth is a
game, what steadies the critic is a list of penalties. `gan` and `wgan` are short files that set its defaults.

For restoration both networks see the condition, and a reconstruction term weighs the pixels that the task names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from sfumato.config import Strict
from sfumato.errors import ConfigError
from sfumato.families.abilities import Decodes
from sfumato.families.adversaries import Adversaries, Modern
from sfumato.families.augment import Augmentation, DiffAugment
from sfumato.families.base import Batch, Family, Objective, Player, Stage, Terms, weighted_mean, weights
from sfumato.families.games import Game
from sfumato.families.penalties import Penalty, Score
from sfumato.images import Images, Size
from sfumato.kinds import build, choice
from sfumato.networks.condition import Condition
from sfumato.streams import Rngs, normals, stream

LOOKED_AT, COLLAPSED = 32, 0.35  # images that are held against one another; share of real variety that alarms


def variety(x: Images) -> Tensor:
    """The root of the mean variance of a pixel over images."""
    return x.detach().float().var(0).mean().sqrt()


class AdversarialConfig(Strict):
    """What every adversarial family can be told."""

    width: float = Field(default=32, gt=0)
    """Channels of the widest map of the generator; parity solves for it."""
    embedding: int | None = Field(default=None, ge=4)
    """Length of the vector, made of z, that tells every block; parity's fine knob. Left out: z itself."""
    critic_width: float | None = Field(default=None, gt=0)
    """Channels of the widest map of the critic; the generator's width when left out."""
    latent: int = Field(default=64, ge=1)
    """Length of z."""
    network: Annotated[Any, choice(Adversaries, "residual")] = Modern.Config()
    """residual (modern), dcgan, biggan_deep or published (paper 000)."""
    share_batch: bool = False
    """Let all turns of a round see one batch, which is consumed once, as in paper 000's code."""
    reconstruction: float = Field(default=50.0, ge=0.0)
    """lambda_recon, the weight of the reconstruction term; it needs a condition and is left out without one."""
    project: bool = True
    """Let both losses see G with the measurement put back, so that seams count; paper 000 judges G itself."""
    labels: bool = False
    """Tell both networks the class of each image, the critic by projection; the data must have labels."""
    augment: Annotated[Any, choice(Augmentation, "diffaugment")] = DiffAugment.Config()
    """Changes through which the critic sees images, for small data: diffaugment (none as it stands) or ada."""


class Adversarial(Family, Decodes, abstract=True):
    """Critic: the game's loss on C(x, y) and C(G(z, y), y), and penalties. Generator: the game's, and reconstruction."""

    variety: Tensor
    game: Game
    penalties: nn.ModuleList
    turns: int
    """Turns of the critic for one of the generator."""

    def connect(self, game: Strict, penalties: Sequence[Strict], critic_turns: int) -> None:
        """Make both networks, the critic wrapped by its penalties."""
        config, classes = self.config, self.spec.classes if self.labelled else 0
        networks: Adversaries = build(config.network)
        self.game, self.turns = build(game), critic_turns
        self.augment: Augmentation = build(config.augment)
        if self.augment.follows and not self.game.signed:
            raise ConfigError(
                f"augment = {config.augment.kind!r} needs scores above 0 for real images, which those of game "
                f"{self.game.config.kind!r} need not be; use game = 'non_saturating', or augment = 'diffaugment'"
            )
        self.penalties = nn.ModuleList(build(one) for one in penalties)
        self.generator: nn.Module = networks.generator(
            self.spec, config.width, config.latent, classes, config.embedding
        )
        critic = self.game.judge(networks, self.spec, config.critic_width or config.width, classes)
        for penalty in self._steadying():
            critic = penalty.wrap(critic)
        self.critic: nn.Module = critic
        self.register_buffer("variety", torch.zeros(()))

    def _steadying(self) -> list[Penalty]:
        return [part for part in self.penalties if isinstance(part, Penalty)]

    def players(self, stage: Stage) -> Sequence[Player]:
        """The critic's turns, then the generator's."""
        config, fresh = self.config, not self.config.share_batch
        return [
            Player(
                "critic",
                [weights(self.critic)],
                [Objective(self.critic_loss), *self._lazy()],
                config.critic_optimizer,
                turns=self.turns,
                fresh=fresh,
                after_step=self.after_critic,
                gauges=self.augment.gauges,
            ),
            Player(
                "generator",
                [weights(self.generator)],
                [Objective(self.generator_loss)],
                config.generator_optimizer,
                fresh=fresh,
            ),
        ]

    def after_critic(self, batch: Batch) -> None:
        """What penalties do once the critic has moved; and how much real images differ is remembered."""
        for penalty in self._steadying():
            penalty.after(self.critic)
        if len(batch.x) > 1:
            self.variety.lerp_(variety(batch.x), torch.where(self.variety > 0, 0.1, 1.0))

    def alarm(self, means: Mapping[str, float]) -> str:
        """Images that are all alike, where there is no observation to make them differ."""
        if self.spec.condition or not bool(self.variety):
            return ""
        share = float(variety(self.sample(LOOKED_AT, rng=stream(0, "alarm", device=self.device))) / self.variety)
        return f"mode collapse: made images differ by {share:.0%} of what real ones do" if share < COLLAPSED else ""

    def critic_loss(self, batch: Batch) -> Terms:
        """The game's loss, and what keeps the critic steady."""
        with torch.no_grad():
            made = self.make(batch)
        rate = self.rater(batch)
        (real, shown), condition = self.seen([batch.x, made], batch)
        terms: dict[str, Tensor] = {}
        for penalty in self._steadying():
            if penalty.every == 1:
                terms |= penalty.penalty(rate, batch.x, made, batch.rng, batch.progress)
        scores = self.score(real, condition), self.score(shown, condition)
        self.augment.look(scores[0], batch.progress)
        return {**self.game.critic(*scores), **terms}

    def _lazy(self) -> list[Objective]:
        """Penalties that are not for every turn, each an objective of its own."""
        lazy = [penalty for penalty in self._steadying() if penalty.every > 1]
        return [Objective(partial(self.penalty_loss, penalty), penalty.every) for penalty in lazy]

    def penalty_loss(self, penalty: Penalty, batch: Batch) -> Terms:
        """One penalty alone."""
        made = batch.x
        if not penalty.of_real:
            with torch.no_grad():
                made = self.make(batch)
        return penalty.penalty(self.rater(batch), batch.x, made, batch.rng, batch.progress)

    def generator_loss(self, batch: Batch) -> Terms:
        """The game's loss, and |x - G(z, y)|_1 where the task's loss looks."""
        made = self.make(batch)
        (real, shown), condition = self.seen([batch.x, made], batch)
        rated = self.score(real, condition) if self.game.paired else None
        terms = {"adversarial": self.game.generator(rated, self.score(shown, condition))}
        if batch.condition.image is not None and self.config.reconstruction > 0:
            distance = weighted_mean((made - batch.x).abs(), batch.observation.weight)
            terms["reconstruction"] = self.config.reconstruction * distance
        return terms

    def make(self, batch: Batch) -> Images:
        """New images, with the measurement put back where `project` is on."""
        made = self.fresh(batch)
        return batch.observation.project(made) if self.config.project else made

    def fresh(self, batch: Batch) -> Images:
        """G(z, y) of a new z."""
        return self.decode(self.latent(len(batch.x), batch.rng), batch.condition)

    def seen(self, images: list[Images], batch: Batch) -> tuple[list[Images], Condition]:
        """What the critic sees of them: image i of each, and its condition, through the same changes."""
        told = batch.condition
        if not self.augment.changes:
            return images, told
        n, beside = len(images), [told.image] if told.image is not None else []
        changed = self.augment([*images, *beside], self.spec.channels, batch.rng)
        return changed[:n], Condition(changed[n] if beside else None, told.label)

    def rater(self, batch: Batch) -> Score:
        """Scores as the critic gives them through the changes that `seen` draws next, so that slopes are those of images."""
        if not self.augment.changes:
            return partial(self.score, condition=batch.condition)
        state = batch.rng.get_state()

        def rate(x: Images) -> Tensor:
            again = Generator(device=batch.rng.device)
            again.set_state(state)
            (shown,), condition = self.seen([x], replace(batch, rng=again))
            return self.score(shown, condition)

        return rate

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
