"""DDPM (Ho, Jain and Abbeel, 2020): a network learns what noise was added to an image, and sampling removes it step by step.

Improved DDPM's cosine schedule, v-prediction and DDIM are slots of this file, not other families. For restoration the
network sees the condition beside x_t, the loss looks where the task says, and sampling imposes the known pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from sfumato.config import Strict
from sfumato.families.base import (
    Adam,
    Batch,
    Condition,
    Denoises,
    Family,
    Objective,
    Player,
    Stage,
    Terms,
    weighted_mean,
    weights,
)
from sfumato.families.denoisers import Denoiser, Modern
from sfumato.families.predictions import X0, Prediction
from sfumato.images import Images
from sfumato.kinds import build, choice
from sfumato.maths.diffusion import diffuse
from sfumato.maths.schedules import Cosine, Schedule
from sfumato.samplers.base import Sampler
from sfumato.samplers.ddim import DDIM


class DDPM(Family, Denoises):
    """E |target - net(sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps, t, condition)|^2 over the pixels the task names.

    Reference: Ho, Jain and Abbeel (2020), Denoising diffusion probabilistic models; Saharia et al. (2022), Palette, for the
    condition beside x_t.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = DDPM(DDPM.Config(width=8), DataSpec(channels=1, size=8))
        >>> tuple(model.sample(2, rng=stream(0, "sample")).shape)
        (2, 1, 8, 8)
    """

    class Config(Strict):
        kind: Literal["ddpm"] = "ddpm"
        width: float = Field(default=32, gt=0)
        """Channels of the widest map; the knob that parity turns."""
        network: Annotated[Any, choice(Denoiser, "unet")] = Modern.Config()
        """unet (modern) or published (paper 000)."""
        schedule: Annotated[Any, choice(Schedule, "cosine")] = Cosine.Config()
        """linear or cosine, each with its number of steps T."""
        prediction: Annotated[Any, choice(Prediction, "x0")] = X0.Config()
        """What the network says: eps, x0 or v; x0 is the surest at small budgets (docs/results.md)."""
        sampler: Annotated[Any, choice(Sampler, "ddim")] = DDIM.Config()
        """ancestral or ddim, each with any number of steps."""
        impose: bool = True
        """Put the known pixels into the expected clean image at every step of sampling."""
        clip: bool = True
        """Clamp the expected clean image to [-1, 1] at every step of sampling."""
        optimizer: Adam = Adam(lr=1e-3, clip=1.0)
        """How the weights move."""

    def build(self) -> None:
        """The network, and the slots that hold no weights."""
        self.schedule: Schedule = build(self.config.schedule)
        self.prediction: Prediction = build(self.config.prediction)
        self.sampler: Sampler = build(self.config.sampler)
        denoiser: Denoiser = build(self.config.network)
        self.network: nn.Module = denoiser.network(self.spec, self.config.width)

    def players(self, stage: Stage) -> Sequence[Player]:
        """One player, one loss."""
        return [Player("denoiser", weights(self.network), [Objective(self.loss)], self.config.optimizer)]

    def loss(self, batch: Batch) -> Terms:
        """The weighted squared error of the prediction at a random time."""
        x_0, rng = batch.x, batch.rng
        t = torch.randint(1, self.schedule.steps + 1, (len(x_0),), generator=rng, device=x_0.device)
        eps = torch.randn(x_0.shape, generator=rng, device=x_0.device)
        alpha_bar = self.schedule.at(t, x_0)
        x_t = diffuse(x_0, eps, alpha_bar)
        output = self.network(x_t, self.time(t), self.condition(batch.observation))
        error = (output - self.prediction.target(x_0, eps, alpha_bar)).square()
        return {"denoising": weighted_mean(error, batch.observation.weight)}

    def time(self, t: Tensor) -> Tensor:
        """t / T in [0, 1], alike in training and sampling (paper 000's code scaled only one of them)."""
        return t.float() / self.schedule.steps

    def denoise(self, x_t: Images, t: Tensor, condition: Condition | None) -> Images:
        """The expected clean image."""
        alpha_bar = self.schedule.at(t, x_t)
        x_0 = self.prediction.x_0(self.network(x_t, self.time(t), condition), x_t, alpha_bar)
        if self.config.clip:
            x_0 = x_0.clamp(-1.0, 1.0)
        if self.config.impose and condition is not None:
            preview, known = condition[:, :-1], condition[:, -1:]
            x_0 = known * preview + (1.0 - known) * x_0
        return x_0

    def draw(self, n: int, condition: Condition | None, size: int, rng: Generator) -> Images:
        """Walk from noise to n images."""
        x_T = torch.randn(n, self.spec.channels, size, size, generator=rng, device=rng.device)
        return self.sampler.sample(lambda x_t, t: self.denoise(x_t, t, condition), self.schedule, x_T, rng)

    def calls(self) -> int:
        """The sampler's steps."""
        return self.sampler.calls(self.schedule)
