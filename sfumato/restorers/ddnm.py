"""DDNM: one unconditional diffusion model restores anything, by correcting its idea of the clean image at every step."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field

from sfumato.config import Strict
from sfumato.families.abilities import Denoises
from sfumato.families.base import Family
from sfumato.images import Images
from sfumato.kinds import build, choice
from sfumato.networks.condition import Condition
from sfumato.restorers.base import Restorer
from sfumato.restorers.conditional import agree
from sfumato.samplers.base import Sampler
from sfumato.samplers.ddim import DDIM
from sfumato.samplers.denoiser import Denoised, Denoiser, From, Times, clamped
from sfumato.streams import Rngs, normals
from sfumato.tasks.base import Observation


class DDNM(Restorer):
    """x_0 <- x_0 + A+ (y - A x_0) at every step of an unconditional walk; no training on the task.

    With noise in y the correction is the posterior mean of x_0 under N(x_0-hat, r^2 I), r^2 the variance
    that the denoiser says or else sigma^2 s^2 / (alpha^2 s^2 + sigma^2), what is left of images of deviation s at this noise:
    x_0 + r^2 A^T (r^2 A A^T + noise^2 I)^-1 (y - A x_0), so that noise is not taken for the picture (Song et al., 2023, PiGDM).
    Reference: Wang, Yu and Zhang (2023), Zero-shot image restoration using denoising diffusion null-space model.
    """

    needs: ClassVar[type | None] = Denoises
    trains_on_tasks: ClassVar[bool] = False

    class Config(Strict):
        kind: Literal["ddnm"] = "ddnm"
        sampler: Annotated[Any, choice(Sampler, "ddim")] = DDIM.Config(steps=100, eta=0.85)
        """The walk: the paper's 100 steps with 0.85 of the ancestral noise."""
        spread: float = Field(default=0.5, gt=0.0)
        """Standard deviation of the images' values on their scale (-1 to 1); it only counts where y is noisy."""

    def __init__(self, config: Config, family: Family | None = None):
        super().__init__(config, family)
        self.sampler: Sampler = build(config.sampler)

    @torch.no_grad()
    def restore(self, observation: Observation, *, rng: Rngs) -> Images:
        """One draw for each image.

        Raises: CapabilityError: the family was trained for a task, or the operator is not known.
        """
        family: Any = self.family
        self.require_unconditional(observation)
        n, size = len(observation), observation.operator.size
        label = family.untold(n, rng) if family.labelled else None
        inner = family.denoiser(Condition(label=label))
        denoiser = corrected(inner if self.sampler.combines else clamped(inner), observation, self.config.spread)
        x_1 = denoiser.schedule.spread * normals(rng, n, family.spec.channels, *size)
        return agree(self.sampler.sample(denoiser, x_1, rng).float().clamp(-1.0, 1.0), observation)

    def calls(self) -> int:
        """The walk's own steps."""
        family: Any = self.family
        return self.sampler.calls(family.denoiser().schedule)


def corrected(denoiser: Denoiser, observation: Observation, spread: float) -> Denoiser:
    """A denoiser whose clean image agrees with what was measured, as far as its noise lets it."""
    schedule, operator = denoiser.schedule, observation.operator

    def call(x_t: Images, t: Times) -> Denoised:
        told = denoiser(x_t, t)
        if observation.exact:
            return replace(told, mean=observation.project(told.mean))
        if told.variance is not None:
            left = told.variance.flatten(1).mean(1)
        else:
            alpha, sigma = schedule.alpha(t), schedule.sigma(t)
            left = (sigma * spread) ** 2 / ((alpha * spread) ** 2 + sigma**2)
        ridge = (observation.noise**2 / left.clamp(min=1e-12)).to(x_t.dtype).view(-1, 1, 1, 1)
        return replace(told, mean=told.mean + operator.solve(observation.y - operator.forward(told.mean), ridge))

    return From(schedule, call)
