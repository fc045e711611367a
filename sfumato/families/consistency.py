"""Consistency models (Song et al., 2023), by tuning (Geng et al., 2025): a diffusion learns to jump to the image at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from sfumato.families.base import Batch, Objective, Player, Stage, Terms, weights
from sfumato.families.diffusion import Diffusion, DiffusionConfig
from sfumato.families.optimizers import AdamW, Optimizer
from sfumato.families.predictions import Preconditioned, Prediction
from sfumato.families.time_laws import LogNormal, TimeLaw
from sfumato.images import Images
from sfumato.kinds import build, choice
from sfumato.maths.diffusion import diffuse
from sfumato.networks.condition import Condition
from sfumato.samplers.base import Sampler
from sfumato.samplers.consistency import Consistency as Walk
from sfumato.samplers.continuous import Edm
from sfumato.samplers.denoiser import Times
from sfumato.samplers.schedules import Schedule
from sfumato.streams import lent, stream

TUNING = "tuning"
NEAREST = 1e-5  # of t and r, where there is no noise to speak of
C = 5.4e-4  # of d, for the mean square of a number: Song and Dhariwal's 0.00054 sqrt(d) for the sum


class Consistency(Diffusion):
    """E d(f(x_t, t), f(x_r, r)) / (s_t - s_r), f(x_0, 0) = x_0, with one x_0 and one noise in both and no slope in the second.

    s = sigma / alpha, s_r = s_t (1 - n(s_t) / 2^a), n(s) = 1 + k sigmoid(-s); a rises from 1, where s_r is mostly 0 and f is
    trained as a denoiser, to `halvings`. All points of a path then come to lead to the image at its end. The first part of
    the budget trains a diffusion, or `start` is one. d = sqrt(|.|^2 + c^2) - c.

    Its answers are images and no expectations, so it has no density and restores by what it was trained on alone.
    Reference: Geng et al. (2025), Consistency models made easy; Song and Dhariwal (2024), Improved techniques, for d and c.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = Consistency(Consistency.Config(width=8), DataSpec(channels=1, size=(8, 12)))
        >>> tuple(model.sample(2, rng=stream(0, "sample")).shape), model.calls()
        ((2, 1, 8, 12), 2)
    """

    class Config(DiffusionConfig):
        kind: Literal["consistency"] = "consistency"
        schedule: Annotated[Any, choice(Schedule, "edm")] = Edm.Config()
        """How noise rises with time; that of the diffusion which is tuned."""
        prediction: Annotated[Any, choice(Prediction, "preconditioned")] = Preconditioned.Config()
        """What the network says; `preconditioned` holds f(x_0, 0) = x_0 by itself."""
        times: Annotated[Any, choice(TimeLaw, "log_normal")] = LogNormal.Config()
        """At which times the diffusion is taught."""
        sampler: Annotated[Any, choice(Sampler, "consistency")] = Walk.Config()
        """consistency, in two calls or one."""
        pretrain: float = Field(default=0.4, ge=0.0, lt=1.0)
        """Share of the budget that trains the diffusion; 0 where `start` brings one."""
        tuned: Annotated[Any, choice(TimeLaw, "log_normal")] = LogNormal.Config(mean=-0.8, sd=1.6)
        """At which times t it is tuned."""
        halvings: int = Field(default=4, ge=1)
        """How often the distance of t and r is halved, at even shares of the tuning."""
        k: float = Field(default=8.0, ge=0.0)
        """How much farther apart t and r are where there is little noise."""
        tuning_optimizer: Annotated[Any, choice(Optimizer, "adamw")] = AdamW.Config(lr=1e-3, clip=1.0)
        """How the weights move in the tuning."""

    def build(self) -> None:
        """What every diffusion has."""
        super().build()
        self.tuned: TimeLaw = build(self.config.tuned)

    def stages(self) -> Sequence[Stage]:
        """A diffusion, and its tuning from the averaged weights on."""
        first = self.config.pretrain
        tuning = Stage(TUNING, share=1.0 - first)
        return [Stage("diffusion", share=first, use_average=True), tuning] if first else [tuning]

    def players(self, stage: Stage) -> Sequence[Player]:
        """One player; its loss and its rates are those of the stage."""
        if stage.name != TUNING:
            return super().players(stage)
        return [Player("denoiser", [weights(self.network)], [Objective(self.tuning)], self.config.tuning_optimizer)]

    def tuning(self, batch: Batch) -> Terms:
        """How far the images of two points of a path are apart, over the distance of the points."""
        x_0, eps, told = batch.x, self.paired(batch), self.forgetful(batch)
        t = self.tuned.draw(self.schedule, len(x_0), batch.rng)
        r = self.before(t, batch.within)
        layers = int(torch.randint(2**62, (1,), generator=batch.rng, device=batch.x.device))

        def led(time: Times) -> Images:
            with lent(stream(layers, "dropout", device=batch.x.device)):  # the same activations are dropped in both
                return self.image(x_0, eps, time, told)

        there = led(t)
        with torch.no_grad():
            wanted = torch.where((r > 0).view(-1, 1, 1, 1), led(r.clamp(min=1e-9)), x_0)
        count = batch.observation.weight.expand_as(x_0).flatten(1).sum(1).clamp(min=1.0)
        square = ((there - wanted).square() * batch.observation.weight).flatten(1).sum(1) / count
        apart = (square + C**2).sqrt() - C
        gap = (self.ratio(t) - self.ratio(r)).to(apart.dtype).clamp(min=NEAREST)
        return {"consistency": (apart / gap).mean()}

    def image(self, x_0: Images, eps: Images, t: Times, told: Condition) -> Images:
        """f(x_t, t)."""
        alpha, sigma = self.coefficients(t, x_0)
        x_t = diffuse(x_0, eps, alpha, sigma)
        output, _ = self.answer(x_t / self.length(t, x_0), t, told)
        return self.prediction.x_0(output, x_t, alpha, sigma)

    def before(self, t: Times, within: float) -> Times:
        """r, for a share of the tuning; on a grid the nearest level below t."""
        a = 1 + min(int(within * self.config.halvings), self.config.halvings - 1)
        s = self.ratio(t)
        share = 1 - (1 + self.config.k * torch.sigmoid(-s)) / 2**a
        r = torch.where(share > 0, self.schedule.time_at((s * share).clamp(min=1e-9)), 0.0)
        step = 0.0 if self.schedule.grid is None else 1 / self.schedule.grid
        return torch.minimum(r, t - step).clamp(min=0.0)

    def ratio(self, t: Times) -> Tensor:
        """s = sigma / alpha."""
        return self.schedule.sigma(t) / self.schedule.alpha(t).clamp(min=1e-9)
