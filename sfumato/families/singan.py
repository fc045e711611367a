"""SinGAN (Shaham, Dekel and Michaeli, 2019): a pyramid of GANs that learn the patches of one picture, from coarse to fine."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Generator, Tensor, nn

from sfumato.errors import ConfigError
from sfumato.families.base import Batch, Objective, Player, Stage, Terms, weighted_mean, weights
from sfumato.families.games import Wasserstein
from sfumato.families.optimizers import Adam, Optimizer
from sfumato.families.penalties import GradientPenalty, Penalty
from sfumato.families.texture import Texture, TextureConfig, Wish
from sfumato.images import Images, Size
from sfumato.kinds import build, choice
from sfumato.maths.rectangles import largest_box
from sfumato.maths.regions import Box
from sfumato.networks.layers import rounded
from sfumato.networks.singan import LEAST, Pyramid, ScaleCritic, begin_as, enlarged, ratios, shrunk

FAST = 0.8  # share of a scale's turns before the rates fall
SLOW = 0.1  # what they fall to


class SinGAN(Texture):
    """x_n = x + G_n(sigma_n z_n + x), x the picture of the scale below, enlarged; at each scale a WGAN on patches of 11 x 11.

    Generator: -E C_n(x_n) + alpha |x_n* - y_n|^2, where y_n is the exemplar at that scale and x_n* comes of a fixed z* at the
    coarsest scale and of no noise elsewhere. Critic: E C_n(x_n) - E C_n(y_n) + lambda (|grad C_n| - 1)^2; C_n is the mean
    over positions, and slopes are against the root of the mean squared difference of pixels, so that lambda goes with all
    sizes. sigma_n is `noise` times the error of x_(n + 1)*, enlarged. One scale after the other is trained, each beginning with
    the weights of the one below. Scales count from 0, the finest. Of a masked exemplar the critic sees the largest rectangle
    that counts, and the reconstruction all that does.
    Reference: Shaham, Dekel and Michaeli (2019), SinGAN: learning a generative model from a single natural image. The paper
    has 2,000 turns a scale and doubles the channels every four scales.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = SinGAN(SinGAN.Config(width=2), DataSpec(channels=3, size=(16, 12)))
        >>> len(model.stages()), tuple(model.sample(1, size=(20, 30), rng=stream(0, "sample")).shape)
        (8, (1, 3, 20, 30))
    """

    class Config(TextureConfig):
        kind: Literal["singan"] = "singan"
        pictures: Literal[1] = 1
        """Exemplars that are looked at: it learns one."""
        width: float = Field(default=32, gt=0)
        """Channels inside the networks of the coarsest scale."""
        doubling: int = Field(default=0, ge=0)
        """Scales after which the channels double; 0 for never."""
        factor: float = Field(default=0.75, gt=0.1, lt=1.0)
        """Sides of a scale over those of the next finer one; made a little larger, so that the coarsest comes out right."""
        coarsest: int = Field(default=25, ge=4)
        """The shorter side at the coarsest scale; half of the exemplar's where that is less."""
        largest: int = Field(default=250, ge=4)
        """The longer side at the finest scale; a larger exemplar is made smaller, and what comes out as much larger."""
        turns: int = Field(default=500, ge=1, le=10_000_000)
        """Rounds at each scale; after 80 % of them the rates fall to a tenth."""
        critic_turns: int = Field(default=3, ge=1)
        """Turns of a critic in each round."""
        generator_turns: int = Field(default=3, ge=1)
        """Turns of a generator in each round."""
        reconstruction: float = Field(default=10.0, ge=0.0)
        """alpha, the weight of the reconstruction."""
        noise: float = Field(default=0.1, ge=0.0)
        """sigma_n over the root mean squared error of the scale below."""
        penalties: list[Annotated[Any, choice(Penalty)]] = [GradientPenalty.Config(weight=0.1)]
        """What steadies the critics: gradient_penalty, zero_centred, spectral_norm, lecam, clip; any, or none."""
        generator_optimizer: Annotated[Any, choice(Optimizer, "adam")] = Adam.Config(
            lr=5e-4, betas=(0.5, 0.999), warmup=0.0, decay="constant"
        )
        """How a generator moves."""
        critic_optimizer: Annotated[Any, choice(Optimizer, "adam")] = Adam.Config(
            lr=5e-4, betas=(0.5, 0.999), warmup=0.0, decay="constant"
        )
        """How a critic moves."""

    boxes: Tensor
    penalties: nn.ModuleList

    def prepare(self) -> None:
        """The networks of all scales, and room for what each is held against."""
        config, C = self.config, self.spec.channels
        self.ratios = ratios(self.spec.size, config.factor, config.coarsest, config.largest)
        sizes, last = self.sizes(self.spec.size), len(self.ratios) - 1
        if min(sizes[0]) < LEAST:
            raise ConfigError(
                f"an exemplar of {self.spec.size[0]} x {self.spec.size[1]} is too narrow for {config.kind} once it is "
                f"{config.largest} long; raise largest, or cut a window out of it"
            )
        doubled = [(last - n) // config.doubling if config.doubling else 0 for n in range(last + 1)]
        widths = [rounded(config.width * 2**times, grain=1) for times in doubled]
        self.game = Wasserstein(Wasserstein.Config())
        self.pyramid = Pyramid(C, sizes, widths)
        self.penalties = nn.ModuleList(build(one) for one in config.penalties)
        self.critics = nn.ModuleList(ScaleCritic(C, width) for width in widths)
        for critic in self.critics:
            for penalty in self._steadying():
                penalty.wrap(critic)
        for n, size in enumerate(sizes):
            self.register_buffer(f"real_{n}", torch.zeros(1, C, *size))
            self.register_buffer(f"known_{n}", torch.zeros(1, 1, *size))
            self.register_buffer(f"below_{n}", torch.zeros(1, C, *size))
        self.register_buffer("boxes", torch.zeros(len(sizes), 4, dtype=torch.int64))

    def _steadying(self) -> list[Penalty]:
        return [part for part in self.penalties if isinstance(part, Penalty)]

    def sizes(self, size: Size) -> list[Size]:
        """What each scale's picture has to be for one of this size, the finest first."""
        return [(max(round(size[0] * ratio), 2), max(round(size[1] * ratio), 2)) for ratio in self.ratios]

    def stages(self) -> Sequence[Stage]:
        """A scale after the other, and of each the turns with small rates by themselves; the deployed weights go on."""
        turns, found = self.config.turns, []
        slow = turns - math.ceil(FAST * turns)
        for n in reversed(range(len(self.ratios))):
            found.append(Stage(f"scale {n}", turns=turns - slow, use_average=not slow))
            if slow:
                found.append(Stage(f"scale {n} slowly", turns=slow, keep_optimizers=True, use_average=True))
        return found

    def learn(self, stage: Stage, rng: Generator) -> Iterator[float]:
        """What a scale is held against, where it begins, and how strong its noise is."""
        if stage.keep_optimizers:
            return
        n, pyramid = scale_of(stage), self.pyramid
        size = pyramid.sizes[n]
        real, known = shrunk(self.exemplars, self.known, size)
        box = largest_box(known[0, 0] > 0)
        if min(box.rows, box.columns) < LEAST:
            raise ConfigError(f"at scale {n} no {LEAST} x {LEAST} rectangle lies in the mask; give a larger one")
        self.boxes[n] = torch.tensor(box)
        self._at("real", n).copy_(real)
        self._at("known", n).copy_(known)
        with torch.no_grad():
            if n == len(self.ratios) - 1:
                pyramid.anchor.copy_(torch.randn(pyramid.anchor.shape, generator=rng, device=rng.device))
            else:
                for networks in (pyramid.generators, self.critics):
                    begin_as(networks[n], networks[n + 1])
                below = self._at("below", n).copy_(enlarged(pyramid(pyramid.still(n + 1), last=n + 1), size))
                pyramid.amplitude[n] = self.config.noise * weighted_mean((below - real).square(), known).sqrt()
            if n == 0:
                pyramid.exemplar.copy_(real)
        yield 1.0

    def players(self, stage: Stage) -> Sequence[Player]:
        """The critic and the generator of one scale."""
        config, n = self.config, scale_of(stage)
        rate = SLOW if stage.keep_optimizers else 1.0

        def critic_loss(batch: Batch) -> Terms:
            return self.critic_loss(n, batch)

        def generator_loss(batch: Batch) -> Terms:
            return self.generator_loss(n, batch)

        def after(batch: Batch) -> None:
            for penalty in self._steadying():
                penalty.after(self.critics[n])

        return [
            Player(
                "critic",
                [weights(self.critics[n], rate=rate)],
                [Objective(critic_loss)],
                config.critic_optimizer,
                turns=config.critic_turns,
                after_step=after,
            ),
            Player(
                "generator",
                [weights(self.pyramid.generators[n], rate=rate)],
                [Objective(generator_loss)],
                config.generator_optimizer,
                turns=config.generator_turns,
            ),
        ]

    def critic_loss(self, n: int, batch: Batch) -> Terms:
        """The game's loss at scale n, and what keeps the critic steady."""
        with torch.no_grad():
            made = self._seen(n, self.pyramid(self.noise(self.pyramid.sizes[n:], batch.rng), last=n))
        real = self._seen(n, self._at("real", n))
        pixels = real.shape[2] * real.shape[3]
        terms: dict[str, Tensor] = {}
        for penalty in self._steadying():
            terms |= penalty.penalty(
                lambda x: self.scores(n, x).mean(1) * math.sqrt(pixels), real, made, batch.rng, batch.progress
            )
        return {**self.game.critic(self.scores(n, real).flatten(), self.scores(n, made).flatten()), **terms}

    def generator_loss(self, n: int, batch: Batch) -> Terms:
        """The game's loss at scale n, and how far z* is from the exemplar."""
        pyramid = self.pyramid
        made = pyramid(self.noise(pyramid.sizes[n:], batch.rng), last=n)
        again = pyramid(pyramid.still(n)[:1], self._at("below", n), last=n)
        error = weighted_mean((again - self._at("real", n)).square(), self._at("known", n))
        return {
            "adversarial": self.game.generator(None, self.scores(n, self._seen(n, made)).flatten()),
            "reconstruction": self.config.reconstruction * error,
        }

    def scores(self, n: int, x: Images) -> Float[Tensor, "B p"]:
        """One for each position."""
        scores: Tensor = self.critics[n](x)
        return scores.flatten(1)

    def noise(self, sizes: Sequence[Size], rng: Generator) -> list[Images]:
        """Standard normal maps."""
        C = self.spec.channels
        return [torch.randn(1, C, *size, generator=rng, device=rng.device) for size in sizes]

    @torch.no_grad()
    def reconstruction(self) -> Images:
        """What z* gives: the exemplar, as far as it was learnt."""
        found: Tensor = self.pyramid(self.pyramid.still())
        return found

    def make(self, wish: Wish, rng: Generator) -> Images:
        """Noise at every scale, of sizes that go with the wish."""
        *finer, z = self.noise(self.sizes(wish.size), rng)
        x: Images = self.pyramid([z], last=len(finer))
        for n in reversed(range(len(finer))):
            wish.watch(1 - (n + 1) / len(self.ratios))
            x = self.pyramid(finer[n : n + 1], x, last=n)
        wish.watch(1.0)
        return enlarged(x, wish.size)

    def deployed(self) -> Sequence[nn.Module]:
        """The pyramid; the critics stay at home."""
        return (self.pyramid,)

    def _seen(self, n: int, x: Images) -> Images:
        """The part that the critic of a scale looks at."""
        return x[(..., *Box(*self.boxes[n].tolist()).place)]

    def _at(self, name: str, n: int) -> Tensor:
        return self.get_buffer(f"{name}_{n}")


def scale_of(stage: Stage) -> int:
    """The scale that a stage trains."""
    return int(stage.name.split()[1])
