"""Denoisers: anything that says what the clean image would be; and wrappers that change what one says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.images import Images
from sfumato.samplers.schedules import Schedule

LEAST = 1e-3  # of alpha, where a schedule ends in nothing but noise

Times = Float[Tensor, " B"] | Float[Tensor, "B 1 H W"]


@dataclass(frozen=True)
class Denoised:
    """What is known of the clean image, given x_t."""

    mean: Images
    """E[x_0 | x_t]."""
    variance: Tensor | None = None
    """Var[x_0 | x_t], where a network says it."""
    step_variance: Tensor | None = None
    """The learned variance of one step down the trained grid, where a network says it."""


class Denoiser(Protocol):
    """(x_t, t) -> Denoised; t in [0, 1] is one number an image, or a map of them; it may be told more when it is made."""

    @property
    def schedule(self) -> Schedule:
        """How noise and time belong together."""
        ...

    def __call__(self, x_t: Images, t: Times) -> Denoised: ...


@dataclass(frozen=True)
class From:
    """A denoiser from a function."""

    schedule: Schedule
    call: Callable[[Images, Times], Denoised]

    def __call__(self, x_t: Images, t: Times) -> Denoised:
        return self.call(x_t, t)


class Agrees(Protocol):
    """An observation, as far as a walk needs it."""

    def project(self, x: Images) -> Images:
        """The nearest image that agrees with what was measured."""
        ...


def _changed(denoiser: Denoiser, change: Callable[[Images], Images]) -> Denoiser:
    def call(x_t: Images, t: Times) -> Denoised:
        told = denoiser(x_t, t)
        return replace(told, mean=change(told.mean))

    return From(denoiser.schedule, call)


def clamped(denoiser: Denoiser) -> Denoiser:
    """The expected clean image, clamped to [-1, 1]. Not for solvers that remember: they would extrapolate from the clamp."""
    return _changed(denoiser, lambda x_0: x_0.clamp(-1.0, 1.0))


def projected(denoiser: Denoiser, observation: Agrees) -> Denoiser:
    """The expected clean image, brought into agreement with what was measured exactly (the correction of DDNM)."""
    return _changed(denoiser, observation.project)


def watched(denoiser: Denoiser, see: Callable[[float, Images], None]) -> Denoiser:
    """The same, which shows the time of the first image and the expected clean images at every look."""

    def call(x_t: Images, t: Times) -> Denoised:
        told = denoiser(x_t, t)
        see(float(t.flatten()[0]), told.mean)
        return told

    return From(denoiser.schedule, call)


def classifier_free(
    told: Denoiser, untold: Denoiser, scale: float, interval: tuple[float, float] = (0.0, 1.0)
) -> Denoiser:
    """untold + scale (told - untold) within an interval of t, told alone outside it; scale = 1 is told alone.

    Reference: Ho and Salimans (2022), Classifier-free diffusion guidance (scale = 1 + w of the paper); Kynkaanniemi et al.
    (2024), Applying guidance in a limited interval improves sample and distribution quality.
    """

    def call(x_t: Images, t: Times) -> Denoised:
        answer = told(x_t, t)
        inside = (t > interval[0]) & (t <= interval[1])
        if scale == 1.0 or not bool(inside.any()):
            return answer
        other = untold(x_t, t).mean
        guided = other + scale * (answer.mean - other)
        shown = inside.view(-1, 1, 1, 1) if inside.ndim == 1 else inside
        return replace(answer, mean=torch.where(shown, guided, answer.mean))

    return From(told.schedule, call)


def guided(
    denoiser: Denoiser,
    log_p: Callable[[Images, Times], Tensor],
    scale: float = 1.0,
    interval: tuple[float, float] = (0.0, 1.0),
) -> Denoiser:
    """x_0 + scale sigma^2 / alpha grad log p(y | x_t): guidance by anything differentiable, one number an image.

    Within an interval of t; outside it the denoiser says what it says.
    Reference: Dhariwal and Nichol (2021), Diffusion models beat GANs on image synthesis, section 4.
    """
    schedule = denoiser.schedule

    def call(x_t: Images, t: Times) -> Denoised:
        answer, inside = denoiser(x_t, t), ((t > interval[0]) & (t <= interval[1])).to(x_t.dtype)
        if not bool(inside.any()):
            return answer
        with torch.enable_grad():
            x = x_t.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(log_p(x, t).sum(), x)
        gain = (schedule.sigma(t) ** 2 / schedule.alpha(t).clamp(min=LEAST)).to(x_t.dtype)
        gain = (gain * inside).view(-1, 1, 1, 1) if gain.ndim == 1 else gain * inside
        return replace(answer, mean=answer.mean + scale * gain * gradient)

    return From(schedule, call)
