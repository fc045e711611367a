"""SDEdit: a rough answer, noised part of the way and walked down again."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from sfumato.families.base import Family
from sfumato.images import Images
from sfumato.kinds import build, choice
from sfumato.maths.diffusion import ddim, diffuse
from sfumato.restorers.base import Restorer
from sfumato.restorers.zero_shot import Calls, ZeroShot, nearer
from sfumato.samplers.base import Past, full
from sfumato.samplers.denoiser import Denoiser
from sfumato.samplers.schedules import Schedule
from sfumato.streams import Rngs, normals
from sfumato.tasks.base import Observation

MANY = 20  # times as many levels are looked at, at most, to find enough below the guess


class SDEdit(ZeroShot):
    """x_t = alpha x' + sigma eps of a guess x', then DDIM down, agreeing with y at every step.

    Little noise keeps the guess, much forgets it.
    Reference: Meng et al. (2022), SDEdit: Guided image synthesis and editing with stochastic differential equations.
    """

    class Config(Calls):
        kind: Literal["sdedit"] = "sdedit"
        noise: float = Field(default=1.0, gt=0.0)
        """sigma / alpha that the guess is given."""
        guess: Annotated[Any, choice(Restorer)] | None = None
        """What guesses: a restorer that needs no model, as telea, biharmonic or bicubic; null: what is shown of y."""

    def __init__(self, config: Config, family: Family | None = None):
        super().__init__(config, family)
        self.guess: Restorer | None = None if config.guess is None else build(config.guess)
        self.affine = self.guess is None

    def moves(self, schedule: Schedule) -> list[tuple[float, float]]:
        """From the noise of the guess, by the last levels of a walk that lie below it, as many as calls."""
        spacing, calls = build(self.config.spacing), self.config.calls
        first = float(schedule.time_at(torch.tensor([self.config.noise], dtype=torch.float64)))
        most = schedule.grid or MANY * calls
        levels, below = min(calls, most), list[float]()
        while True:
            below = [t for t in spacing.times(schedule, levels) if t < first]
            if len(below) >= calls or levels == most:
                break
            levels = min(levels + calls - len(below), most)
        times = [first, *below[-calls:]]
        return list(zip(times, times[1:], strict=False))

    def begin(self, observation: Observation, schedule: Schedule, like: Images, rng: Rngs) -> Images:
        """The guess with noise."""
        guess = observation.preview if self.guess is None else self.guess.restore(observation, rng=rng)
        return diffuse(
            guess.to(like.dtype), normals(rng, *like.shape).to(like.dtype), *schedule.at(self.moves(schedule)[0][0])
        )

    def step(
        self, denoiser: Denoiser, observation: Observation, x_t: Images, t: float, s: float, rng: Rngs, past: Past
    ) -> Images:
        at_t = denoiser.schedule.at(t)
        variance = at_t[1] ** 2 / (at_t[0] ** 2 + at_t[1] ** 2)
        return ddim(x_t, nearer(denoiser(x_t, full(t, x_t)).mean, observation, variance), at_t, denoiser.schedule.at(s))
