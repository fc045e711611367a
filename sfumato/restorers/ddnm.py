"""DDNM: an unconditional walk whose idea of the clean image is brought into agreement with the measurement at every step."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from sfumato.config import Strict
from sfumato.families.base import Family
from sfumato.images import Images
from sfumato.kinds import build, choice, parse
from sfumato.restorers.zero_shot import ZeroShot, nearer
from sfumato.samplers.base import Past, Sampler
from sfumato.samplers.ddim import DDIM
from sfumato.samplers.denoiser import Denoised, Denoiser, From, Times
from sfumato.samplers.schedules import Schedule
from sfumato.streams import Rngs
from sfumato.tasks.base import Observation


class DDNM(ZeroShot):
    """x_0 <- x_0 + A+ (y - A x_0) at every step of an unconditional walk; no training on the task.

    With noise in y the correction is the posterior mean of x_0 under N(x_0-hat, r^2 I), r^2 the variance
    that the denoiser says or else sigma^2 s^2 / (alpha^2 s^2 + sigma^2), what is left of images of deviation s at this noise:
    x_0 + r^2 A^T (r^2 A A^T + noise^2 I)^-1 (y - A x_0), so that noise is not taken for the picture (Song et al., 2023, PiGDM).
    Reference: Wang, Yu and Zhang (2023), Zero-shot image restoration using denoising diffusion null-space model.
    """

    class Config(Strict):
        kind: Literal["ddnm"] = "ddnm"
        sampler: Annotated[Any, choice(Sampler, "ddim")] = DDIM.Config(steps=100, eta=0.85)
        """The walk: the paper's 100 steps with 0.85 of the ancestral noise."""
        spread: float = Field(default=0.5, gt=0.0)
        """Standard deviation of the images' values on their scale (-1 to 1); it only counts where y is noisy."""

    def __init__(self, config: Config, family: Family | None = None):
        super().__init__(config, family)
        self.sampler: Sampler = build(config.sampler)
        self.draws, self.combines = self.sampler.draws, self.sampler.combines

    def moves(self, schedule: Schedule) -> list[tuple[float, float]]:
        """The sampler's."""
        times = self.sampler.times(schedule)
        return list(zip(times, times[1:], strict=False))

    def calls_a_move(self, t: float, s: float) -> int:
        """The sampler's."""
        return self.sampler.calls_a_step(s)

    def step(
        self, denoiser: Denoiser, observation: Observation, x_t: Images, t: float, s: float, rng: Rngs, past: Past
    ) -> Images:
        """A step of the sampler with the corrected denoiser."""
        return self.sampler.step(corrected(denoiser, observation, self.config.spread), x_t, t, s, rng, past)

    @classmethod
    def within(cls, config: Any, calls: int) -> Any:
        """As many steps as its sampler makes of so many calls."""

        def steps(n: int) -> Any:
            return cls.Config.model_validate({**dict(config), "sampler": {**dict(config.sampler), "steps": n}})

        usual: Schedule = build(parse(Schedule, "cosine"))
        fitting = (n for n in range(calls, 1, -1) if build(steps(n).sampler).calls(usual) <= calls)
        return steps(next(fitting, 1))


def corrected(denoiser: Denoiser, observation: Observation, spread: float) -> Denoiser:
    """A denoiser whose clean image agrees with what was measured, as far as its noise lets it."""
    schedule = denoiser.schedule

    def call(x_t: Images, t: Times) -> Denoised:
        told = denoiser(x_t, t)
        if told.variance is not None:
            left = told.variance.flatten(1).mean(1)
        else:
            alpha, sigma = schedule.alpha(t), schedule.sigma(t)
            left = (sigma * spread) ** 2 / ((alpha * spread) ** 2 + sigma**2)
        return replace(told, mean=nearer(told.mean, observation, left.clamp(min=1e-12)))

    return From(schedule, call)
