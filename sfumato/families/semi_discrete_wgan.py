"""Semi-discrete WGAN (paper 004): the generator's law is moved towards the training images by their true transport, whose dual
has one number an image. No critic approximates it, so that one sees what a better estimate of the distance is worth.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from sfumato.config import Strict
from sfumato.families.abilities import Decodes
from sfumato.families.adversaries import Adversaries, Modern
from sfumato.families.base import Batch, Family, Group, Objective, Pass, Player, Stage, Terms, weighted_mean, weights
from sfumato.families.optimizers import SGD, AdamW, Optimizer
from sfumato.images import Images, Size
from sfumato.kinds import build, choice
from sfumato.maths.transport import Cost, assigned
from sfumato.networks.condition import Condition
from sfumato.streams import Rngs, normals


class SemiDiscreteWGAN(Family, Decodes):
    """Potentials: max_v E min_j (|G(z) - x_j|^p - v_j) + mean v. Generator: E |G(z) - x_j(z)|^p, j(z) where the minimum is.

    Potentials are weights that a player of their own moves by SGD; the generator follows their running mean (averaged SGD).
    With an observation the composite G(z, y) is moved, and a reconstruction term ties it to its own image.
    Reference: Genevay, Cuturi, Peyre and Bach (2016); Stanczuk et al. (2021), Wasserstein GANs work because they fail.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = SemiDiscreteWGAN(SemiDiscreteWGAN.Config(width=8, points=10), DataSpec(channels=1, size=8))
        >>> tuple(model.sample(2, rng=stream(0, "sample")).shape)
        (2, 1, 8, 8)
    """

    class Config(Strict):
        kind: Literal["semi_discrete_wgan"] = "semi_discrete_wgan"
        width: float = Field(default=32, gt=0)
        """Channels of the widest map; parity solves for it."""
        embedding: int | None = Field(default=None, ge=4)
        """Length of the vector, made of z, that tells every block; parity's fine knob. Left out: z itself."""
        latent: int = Field(default=64, ge=1)
        """Length of z."""
        network: Annotated[Any, choice(Adversaries, "residual")] = Modern.Config()
        """The generator of a pair of networks; its critic is not built."""
        points: int = Field(default=2000, ge=1)
        """Training images that the law is moved to: the first so many, each with a potential."""
        power: Literal[1, 2] = 1
        """p: 1 is the cost of the Wasserstein-1 distance."""
        turns: int = Field(default=5, ge=1)
        """Turns of the potentials for one of the generator; they look at no new images."""
        mean: float = Field(default=0.98, ge=0.0, lt=1.0)
        """How much of the potentials' running mean stays at each of their turns."""
        reconstruction: float = Field(default=50.0, ge=0.0)
        """Weight of the reconstruction term; it needs a condition and is left out without one."""
        labels: bool = False
        """Tell the generator the class of each image, and move it to images of that class; the data must have labels."""
        potential_optimizer: Annotated[Any, choice(Optimizer, "sgd")] = SGD.Config(
            lr=0.05, clip=None, decay="linear", warmup=0.0
        )
        """How the potentials move, in units of the cost."""
        generator_optimizer: Annotated[Any, choice(Optimizer, "adamw")] = AdamW.Config(lr=5e-4, betas=(0.5, 0.9))
        """How the generator moves."""

    points: Tensor
    classes: Tensor
    averaged: Tensor

    def build(self) -> None:
        """The generator, the potentials, and room for the images."""
        c, classes = self.config, self.spec.classes if self.labelled else 0
        networks: Adversaries = build(c.network)
        self.generator: nn.Module = networks.generator(self.spec, c.width, c.latent, classes, c.embedding)
        self.potentials = nn.Parameter(torch.zeros(c.points))
        self.register_buffer("points", torch.zeros(c.points, self.spec.dimensions))
        self.register_buffer("classes", torch.full((c.points,), -1))  # -1: no image
        self.register_buffer("averaged", torch.zeros(c.points))

    def fit(self, stage: Stage, images: Pass) -> Iterator[float]:
        """Take the first images as the points."""
        taken = 0
        for x, label in images.all():
            some = x[: self.config.points - taken]
            places = slice(taken, taken + len(some))
            self.points[places] = some.flatten(1)
            self.classes[places] = label[: len(some)] if self.labelled and label is not None else 0
            taken += len(some)
            yield taken / self.config.points
            if taken == self.config.points:
                break

    def players(self, stage: Stage) -> Sequence[Player]:
        """The potentials' turns, then the generator's, on one batch."""
        c = self.config
        return [
            Player(
                "potentials",
                [Group([self.potentials])],
                [Objective(self.potential_loss)],
                c.potential_optimizer,
                turns=c.turns,
                fresh=False,
                in_budget=False,
                after_step=self.remember,
            ),
            Player("generator", [weights(self.generator)], [Objective(self.generator_loss)], c.generator_optimizer),
        ]

    def costs(self, x: Images, potentials: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        """The point of each image and |x - x_j|^p - v_j there; points that are not there, or of another class, are far away."""
        there = torch.where(self.classes < 0, math.inf, 0.0)
        flat, cost = x.flatten(1).float(), Cost(self.config.power)
        if condition.label is None or not self.labelled:
            return assigned(flat, self.points, potentials - there, cost)
        apart = (condition.label[:, None] != self.classes) * 1e9
        found = (cost(flat, self.points) - potentials + there + apart).min(1)
        return found.indices, found.values

    def potential_loss(self, batch: Batch) -> Terms:
        """Minus the dual, times the number of points, so that one potential's gradient has size 1."""
        with torch.no_grad():
            made = self.make(batch)
        here = self.classes >= 0
        value = self.costs(made, self.potentials, batch.condition)[1].mean() + self.potentials[here].mean()
        return {"dual": -value * here.sum()}

    def remember(self, batch: Batch) -> None:
        """The running mean of the potentials."""
        self.averaged.lerp_(self.potentials.detach(), 1 - self.config.mean)

    def generator_loss(self, batch: Batch) -> Terms:
        """The cost of moving each made image to its point, and |x - G(z, y)|_1 where the task's loss looks."""
        made = self.make(batch)
        with torch.no_grad():
            place, _ = self.costs(made, self.averaged, batch.condition)
        apart = (made.flatten(1) - self.points[place]).square().sum(1)
        moved = (apart + 1e-12).sqrt() if self.config.power == 1 else apart
        terms = {"transport": moved.mean() / math.sqrt(self.spec.dimensions)}
        if batch.condition.image is not None and self.config.reconstruction > 0:
            distance = weighted_mean((made - batch.x).abs(), batch.observation.weight)
            terms["reconstruction"] = self.config.reconstruction * distance
        return terms

    def make(self, batch: Batch) -> Images:
        """G(z, y), with the measurement put back."""
        return batch.observation.project(self.decode(self.latent(len(batch.x), batch.rng), batch.condition))

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
        """The generator; points and potentials stay at home."""
        return (self.generator,)
