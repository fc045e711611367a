"""Growing GAN (Speck et al., 2023): an in-painter that learns at 4 pixels first and doubles, the blocks it has learnt frozen.

Adversarial, squared and perceptual error together. Three weights and the share of a stage in which new blocks are faded in
are not printed; ours are a first choice and were not tuned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from sfumato.errors import ConfigError
from sfumato.families.base import Batch, Family, Group, Objective, Player, Stage, Terms, weighted_mean, weights
from sfumato.families.games import NonSaturating
from sfumato.families.growth import Grows, Growth
from sfumato.families.optimizers import AdamW, Optimizer
from sfumato.features.base import Features, Perceives, extractor
from sfumato.features.lite0 import Lite0
from sfumato.images import Images, Size
from sfumato.kinds import choice
from sfumato.maths.plateau import flat
from sfumato.networks.condition import Condition
from sfumato.networks.growing import NORMS, Critic, Generator, levels_of
from sfumato.networks.growth import Growing
from sfumato.networks.layers import rounded
from sfumato.streams import Rngs

Half = Literal["generator", "critic"]
GAME = NonSaturating(NonSaturating.Config())  # binary cross-entropy


class GrowingGAN(Grows, Family):
    """G: -w_a log C(G(y), y) + w_s (G(y) - x)^2 + w_p |N(G(y)) - N(x)| / (c h w), N the first two maps of a trained network.

    Paper 002's eq. 1 takes one norm over a batch; here each image has its own, so that copies of a batch change nothing.

    Reference: Speck, Pekarek Rosin, Kerzel and Wermter (2023), The importance of growing up: progressive growing GANs for
    image inpainting; Karras et al. (2018) for fading in.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> model = GrowingGAN(GrowingGAN.Config(width=6), DataSpec(channels=3, size=16, condition=4))
        >>> [stage.name for stage in model.stages()]
        ['4 x 4', '8 x 8', '16 x 16']
    """

    class Config(Growth):
        kind: Literal["growing_gan"] = "growing_gan"
        width: float = Field(default=24, gt=0)
        """Channels of every map, rounded to a multiple of 3; parity solves for it. 24 gives 328,887 weights at 64 x 64."""
        normalisation: Literal["spectral", "batch", "instance", "none"] = "spectral"
        """One choice for both networks."""
        skips: bool = False
        """Add what enters a down block to what leaves the up block of its size; as many weights, and not the paper's."""
        freeze: list[Half] = ["generator", "critic"]
        """Whose learnt blocks no longer move once a larger resolution is there."""
        patience: int | None = Field(default=None, ge=4)
        """Adaptive growing: go on to the next resolution once the error of so many looks no longer falls."""
        mask: bool = True
        """Tell both networks which pixels are known."""
        adversarial: float = Field(default=0.01, ge=0.0)
        """Weight of the binary cross-entropy of the critic; 0 leaves the critic out."""
        squared: float = Field(default=10.0, ge=0.0)
        """Weight of the squared error, w_s, where the task's loss looks."""
        perceptual: float = Field(default=10.0, ge=0.0)
        """Weight of the perceptual error, w_p."""
        perceptual_form: Literal["root", "mean"] = "root"
        """root as printed, |d|_2 / (c h w), which falls as images grow; or mean, |d|_2^2 / (c h w), which does not."""
        features: Annotated[Any, choice(Features, "lite0")] = Lite0.Config(layer="b4")
        """Whose maps are compared: lite0 (offline), or vgg with its weights at hand, as in the paper."""
        generator_optimizer: Annotated[Any, choice(Optimizer, "adamw")] = AdamW.Config(
            lr=1e-3, betas=(0.5, 0.99), decay="constant"
        )
        """How the generator moves."""
        critic_optimizer: Annotated[Any, choice(Optimizer, "adamw")] = AdamW.Config(
            lr=1e-3, betas=(0.5, 0.99), decay="constant"
        )
        """How the critic moves."""

        @field_validator("features")
        @classmethod
        def _perceives(cls, features: Any) -> Any:
            if not issubclass(features.owner, Perceives):
                raise ValueError(f"a loss cannot follow features {features.kind!r}; use lite0 or vgg")
            return features

    errors: Tensor

    def build(self) -> None:
        """Both networks with all their levels, and the errors that tell when to grow."""
        c, spec = self.config, self.spec
        if not spec.condition:
            raise ConfigError("'growing_gan' restores and does not generate; give it a task such as inpainting")
        told, width, norm = spec.condition - (not c.mask), rounded(c.width, 3), NORMS[c.normalisation]
        self.generator = Generator(told, spec.channels, spec.size, width, norm, c.skips)
        self.critic = Critic(spec.channels + told, spec.size, width, norm)
        self.begin_growth(levels_of(spec.size))
        if c.patience and (c.fade >= 1 or not c.squared):
            raise ConfigError(
                "patience looks at the squared error once new blocks are there; set fade < 1 and squared > 0"
            )
        self.register_buffer("errors", torch.zeros(c.patience or 0))

    def check_size(self, size: Size) -> None:
        """Raises: ConfigError: the sides are odd or shorter than 4."""
        levels_of(size)

    def growing(self) -> Sequence[Growing]:
        return (self.generator, self.critic)

    def learnt(self) -> Callable[[Mapping[str, float]], bool] | None:
        return self._learnt if self.config.patience else None

    def grow(self, stage: Stage) -> None:
        """Both networks stand at the stage's resolution; what was learnt before is frozen."""
        super().grow(stage)
        self.errors.zero_()
        self.train(self.training)

    def train(self, mode: bool = True) -> GrowingGAN:
        """Frozen blocks do not move by their statistics either."""
        super().train(mode)
        if mode and self.config.grow:
            for module in self.frozen():
                module.eval()
        return self

    def frozen(self) -> Sequence[nn.Module]:
        """What smaller resolutions brought, of the networks that freeze it."""
        networks: Mapping[str, Growing] = {"generator": self.generator, "critic": self.critic}
        level = int(self.generator.level)
        halves = [networks[name] for name in self.config.freeze] if self.config.grow else []
        return [part for network in halves for below in range(level) for part in network.parts(below)]

    def players(self, stage: Stage) -> Sequence[Player]:
        """The critic, where there is a game, then the generator; of each the newest blocks, or all so far."""
        c, level = self.config, self.level_of(stage)
        critic = Player(
            "critic", [self._moving("critic", self.critic, level)], [Objective(self.critic_loss)], c.critic_optimizer
        )
        generator = Player(
            "generator",
            [self._moving("generator", self.generator, level)],
            [Objective(self.generator_loss)],
            c.generator_optimizer,
        )
        return [critic, generator] if c.adversarial else [generator]

    def _moving(self, name: Half, network: Growing, level: int) -> Group:
        first = level if self.config.grow and name in self.config.freeze else 0
        return weights(*(part for each in range(first, level + 1) for part in network.parts(each)))

    def critic_loss(self, batch: Batch) -> Terms:
        """What is real, and what was made, with the known pixels put back."""
        with torch.no_grad():
            made = batch.observation.project(self.answer(batch.condition, batch.within))
        return GAME.critic(self.score(batch.x, batch.condition), self.score(made, batch.condition))

    def generator_loss(self, batch: Batch) -> Terms:
        """The three terms; errors where the task's loss looks."""
        c, made = self.config, self.answer(batch.condition, batch.within)
        terms = {"squared": c.squared * weighted_mean((made - batch.x).square(), batch.observation.weight)}
        shown = batch.observation.project(made)
        if c.perceptual:
            terms["perceptual"] = c.perceptual * self.perceived(shown, batch.x)
        if c.adversarial:
            terms["adversarial"] = c.adversarial * GAME.generator(None, self.score(shown, batch.condition))
        return terms

    def perceived(self, made: Images, x: Images) -> Tensor:
        """sum over two maps of the mean over images of |N(made) - N(x)|_2 / (c h w), or of its square over c h w."""
        features: Any = extractor(self.config.features, x.device)
        pairs = zip(range(2), features.maps(made), features.maps(x.detach()), strict=False)  # a third is never made
        apart = [(ours - theirs).flatten(1) for _, (_, ours), (_, theirs) in pairs]
        squares = [d.square().sum(1) for d in apart]
        if self.config.perceptual_form == "root":
            squares = [(square + 1e-12).sqrt() for square in squares]
        return torch.stack([s.mean() / d.shape[1] for s, d in zip(squares, apart, strict=True)]).sum()

    def answer(self, condition: Condition, within: float) -> Images:
        """G(y) while training: the newest blocks are faded in by the share of the stage that is over."""
        self.fade_in(within)
        return self.made(condition)

    def made(self, condition: Condition) -> Images:
        """G(y)."""
        answer: Tensor = self.generator(self._told(condition).image)
        return answer

    def score(self, x: Images, condition: Condition) -> Tensor:
        """C(x, y)."""
        score: Tensor = self.critic(x, self._told(condition))
        return score

    def _told(self, condition: Condition) -> Condition:
        assert condition.image is not None
        return condition if self.config.mask else Condition(condition.image[:, :-1])

    def _learnt(self, means: Mapping[str, float]) -> bool:
        """Whether the error of the last looks no longer falls; never in the last resolution, nor while blocks are faded in."""
        if int(self.generator.level) == self.levels - 1 or float(self.generator.fade) < 1.0:
            return False
        self.errors.copy_(torch.cat([self.errors[1:], self.errors.new_tensor([means["generator.squared"]])]))
        return bool(self.errors[0] > 0) and flat(self.errors.tolist())

    def draw(self, n: int, condition: Condition, size: Size, rng: Rngs) -> Images:
        """The one answer; nothing is drawn."""
        return self.made(condition)

    def deployed(self) -> Sequence[nn.Module]:
        """The generator; the critic stays at home."""
        return (self.generator,)
