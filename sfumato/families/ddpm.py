"""DDPM (Ho, Jain and Abbeel, 2020): a network learns what noise was added to an image, and sampling removes it step by step.

Improved DDPM's cosine schedule, v-prediction and DDIM are slots of this file, not other families. For restoration the
network sees the condition beside x_t, the loss looks where the task says, and sampling imposes the known pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from sfumato.config import Strict
from sfumato.families.abilities import Denoises, Likelihood
from sfumato.families.base import Batch, Family, Objective, Player, Stage, Terms, weighted_mean, weights
from sfumato.families.denoisers import DenoisingNetwork, Modern
from sfumato.families.optimizers import AdamW, Optimizer
from sfumato.families.predictions import X0, Prediction
from sfumato.images import Images, Size
from sfumato.kinds import build, choice
from sfumato.maths.diffusion import diffuse
from sfumato.networks.condition import NOTHING, Condition
from sfumato.samplers.base import Sampler
from sfumato.samplers.ddim import DDIM
from sfumato.samplers.denoiser import Denoised, Denoiser, From, Times, classifier_free
from sfumato.samplers.schedules import Cosine, Schedule
from sfumato.streams import Rngs, device_of, normals, uniforms

TERMS = 16  # times at which the bound is looked at for each image, one in each sixteenth of the walk


class DDPM(Family, Denoises, Likelihood):
    """E |target - net(alpha(t) x_0 + sigma(t) eps, t, condition)|^2 over the pixels the task names.

    Reference: Ho, Jain and Abbeel (2020), Denoising diffusion probabilistic models; Saharia et al. (2022), Palette, for the
    condition beside x_t.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = DDPM(DDPM.Config(width=8), DataSpec(channels=1, size=(8, 12)))
        >>> tuple(model.sample(2, rng=stream(0, "sample")).shape)
        (2, 1, 8, 12)
    """

    class Config(Strict):
        kind: Literal["ddpm"] = "ddpm"
        width: float = Field(default=32, gt=0)
        """Channels of the widest map; parity solves for it."""
        embedding: int | None = Field(default=None, ge=4)
        """Length of the vector that tells every block the time; parity's fine knob. Left out: four times the width."""
        network: Annotated[Any, choice(DenoisingNetwork, "unet")] = Modern.Config()
        """unet (modern) or published (paper 000)."""
        schedule: Annotated[Any, choice(Schedule, "cosine")] = Cosine.Config()
        """linear or cosine, each with its number of steps T, or betas written down."""
        prediction: Annotated[Any, choice(Prediction, "x0")] = X0.Config()
        """What the network says: eps, x0 or v; x0 is the surest at small budgets (docs/results.md)."""
        sampler: Annotated[Any, choice(Sampler, "ddim")] = DDIM.Config()
        """ancestral or ddim, each with any number of steps."""
        impose: bool = True
        """Put the known pixels into the expected clean image at every step of sampling."""
        clip: bool = True
        """Clamp the expected clean image to [-1, 1] at every step of sampling; a solver that remembers is never clamped."""
        labels: bool = False
        """Tell the network the class of each image; the data must have labels."""
        label_dropout: float = Field(default=0.1, ge=0.0, le=1.0)
        """Share of the training images whose class is not told, so that guidance has something to compare with."""
        guidance: float = Field(default=1.0, ge=0.0)
        """Scale of classifier-free guidance towards the told class; 1 is none."""
        guidance_interval: tuple[float, float] = (0.0, 1.0)
        """The times between which guidance acts."""
        optimizer: Annotated[Any, choice(Optimizer, "adamw")] = AdamW.Config(lr=1e-3, clip=1.0)
        """How the weights move."""

    exact = False

    def build(self) -> None:
        """The network, and the slots that hold no weights."""
        self.schedule: Schedule = build(self.config.schedule)
        self.prediction: Prediction = build(self.config.prediction)
        self.sampler: Sampler = build(self.config.sampler)
        slot: DenoisingNetwork = build(self.config.network)
        labels = self.spec.classes + 1 if self.labelled else 0
        self.network: nn.Module = slot.network(self.spec, self.config.width, labels, self.config.embedding)

    def players(self, stage: Stage) -> Sequence[Player]:
        """One player, one loss."""
        return [Player("denoiser", [weights(self.network)], [Objective(self.loss)], self.config.optimizer)]

    def loss(self, batch: Batch) -> Terms:
        """The weighted squared error of the prediction at a random time."""
        x_0, rng = batch.x, batch.rng
        t = self.schedule.draw(len(x_0), rng)
        eps = torch.randn(x_0.shape, generator=rng, device=x_0.device)
        alpha, sigma = self.coefficients(t, x_0)
        x_t = diffuse(x_0, eps, alpha, sigma)
        output = self.network(x_t, t.float(), self.forgetful(batch))
        error = (output - self.prediction.target(x_0, eps, alpha, sigma)).square()
        return {"denoising": weighted_mean(error, batch.observation.weight)}

    def forgetful(self, batch: Batch) -> Condition:
        """The condition, with some labels taken away."""
        told = batch.condition
        if told.label is None or self.config.label_dropout == 0:
            return told
        lost = torch.rand(len(batch.x), generator=batch.rng, device=batch.x.device) < self.config.label_dropout
        return Condition(told.image, torch.where(lost, self.spec.classes, told.label), told.level)

    def coefficients(self, t: Times, like: Images) -> tuple[Tensor, Tensor]:
        """alpha and sigma, ready to multiply images."""
        pair = self.schedule.alpha(t).to(like.dtype), self.schedule.sigma(t).to(like.dtype)
        return pair if t.ndim > 1 else (pair[0].view(-1, 1, 1, 1), pair[1].view(-1, 1, 1, 1))

    def untold(self, n: int, rng: Rngs) -> Int[Tensor, " n"]:
        """The label after the last class."""
        return torch.full((n,), self.spec.classes, dtype=torch.int64, device=device_of(rng))

    def denoiser(self, condition: Condition = NOTHING) -> Denoiser:
        """E[x_0 | x_t, condition], as the network has it."""

        def call(x_t: Images, t: Times) -> Denoised:
            output = self.network(x_t, t.float(), condition)
            return Denoised(self.prediction.x_0(output, x_t, *self.coefficients(t, x_t)))

        return From(self.schedule, call)

    def guided(self, condition: Condition, rng: Rngs) -> Denoiser:
        """The denoiser with classifier-free guidance, where a class is told and guidance is on."""
        told = self.denoiser(condition)
        if condition.label is None or self.config.guidance == 1.0:
            return told
        free = Condition(condition.image, self.untold(len(condition.label), rng), condition.level)
        return classifier_free(told, self.denoiser(free), self.config.guidance, self.config.guidance_interval)

    def draw(self, n: int, condition: Condition, size: Size, rng: Rngs) -> Images:
        """Walk from noise to n images."""
        inner = self.guided(condition, rng)
        clip = self.config.clip and not self.sampler.remembers

        def call(x_t: Images, t: Times) -> Denoised:
            x_0 = inner(x_t, t).mean
            x_0 = x_0.clamp(-1.0, 1.0) if clip else x_0
            if self.config.impose and condition.image is not None:
                preview, known = condition.image[:, :-1], condition.image[:, -1:]
                x_0 = known * preview + (1.0 - known) * x_0
            return Denoised(x_0)

        x_1 = self.schedule.spread * normals(rng, n, self.spec.channels, *size)
        return self.sampler.sample(From(self.schedule, call), x_1, rng)

    def calls(self) -> int:
        """The sampler's steps, each with two calls under guidance."""
        guided = self.labelled and self.config.guidance != 1.0
        return self.sampler.calls(self.schedule) * (2 if guided else 1)

    @torch.no_grad()
    def log_prob(self, x: Images, condition: Condition, rng: Rngs) -> Float[Tensor, " B"]:
        """The discrete bound of Ho et al. (2020), equation 5, in nats, each step with the variance beta-tilde.

        -KL(q(x_1 | x_0) | N(0, spread^2)) - sum over steps of (snr(s) - snr(t)) / 2 |x_0 - x_0-hat(x_t, t)|^2
        + log N(x_0; x_0-hat, beta_1), the sum estimated at one random step in each
        sixteenth of the walk (Kingma et al., 2021, for its form).
        """
        schedule, d = self.schedule, self.spec.dimensions
        T = schedule.grid or 1000
        denoiser = self.denoiser(condition)
        a, s = schedule.at(1.0)
        prior = schedule.spread**2
        bound = -0.5 * (a**2 * x.square().flatten(1).sum(1).double() + d * (s**2 - prior)) / prior
        bound = bound + 0.5 * d * math.log(s**2 / prior)

        def squared(t: Tensor) -> tuple[Tensor, Tensor]:
            alpha, sigma = self.coefficients(t, x)
            x_t = diffuse(x, normals(rng, *x.shape), alpha, sigma)
            x_0 = denoiser(x_t, t).mean.clamp(-1.0, 1.0)
            return (x - x_0).square().flatten(1).sum(1).double(), sigma.flatten().double()

        edges = torch.linspace(1, T, min(TERMS, T - 1) + 1).round().long().tolist()
        for low, high in zip(edges, edges[1:], strict=False):  # steps low + 1 .. high
            u = uniforms(rng, len(x)).double()
            k = low + 1 + (u * (high - low)).floor().clamp(max=high - low - 1)
            t, before = k / T, (k - 1) / T
            snr = [(schedule.alpha(time) / schedule.sigma(time)) ** 2 for time in (before, t)]
            bound = bound - (high - low) * 0.5 * (snr[0] - snr[1]) * squared(t)[0]
        first = torch.full((len(x),), 1.0 / T, dtype=torch.float64, device=x.device)
        error, sigma = squared(first)
        variance = sigma**2
        return bound - 0.5 * (error / variance + d * (2 * math.pi * variance).log())
