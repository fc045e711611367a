"""RePaint: known pixels are put in with as much noise as the rest has, and the walk goes back and forth until both fit."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from pydantic import Field

from sfumato.images import Images
from sfumato.maths.diffusion import posterior, posterior_mean
from sfumato.restorers.zero_shot import Calls, ZeroShot
from sfumato.samplers.base import Past, full, noise_like
from sfumato.samplers.denoiser import Denoiser
from sfumato.samplers.schedules import Schedule
from sfumato.streams import Rngs
from sfumato.tasks.base import Observation, Operator

LEAST = 10  # levels that a walk of fewer calls should keep before it goes back (chosen on validation images: docs/results.md)


class RePaint(ZeroShot):
    """x_s = m (alpha_s y + sigma_s eps) + (1 - m) x_s', x_s' ancestral from x_t; after `jump` steps down as many up again.

    y is taken as it is, so that noise in it stays.
    Reference: Lugmayr et al. (2022), RePaint: Inpainting using denoising diffusion probabilistic models, algorithm 1.
    """

    draws = 2

    class Config(Calls):
        kind: Literal["repaint"] = "repaint"
        calls: int = Field(default=2410, ge=1)
        """How many times the denoiser may be asked; 2,410 leave the paper's 250 levels."""
        jump: int = Field(default=10, ge=1)
        """Steps that are taken back at once."""
        repeats: int = Field(default=10, ge=1)
        """How often each stretch is walked."""

    @classmethod
    def answers(cls, operator: Operator) -> bool:
        """Masks."""
        return operator.hides

    def levels(self, schedule: Schedule) -> int:
        """The most that its calls allow with every stretch but the last one repeated."""
        most = min(self.config.calls, schedule.grid or self.config.calls)
        return next(n for n in range(most, 0, -1) if n == 1 or n + self._back(n) <= self.config.calls)

    def _back(self, levels: int) -> int:
        return max(math.ceil(levels / self.config.jump) - 1, 0) * self.config.jump * (self.config.repeats - 1)

    def moves(self, schedule: Schedule) -> list[tuple[float, float]]:
        """Down; 1, 1 + jump, 1 + 2 jump ... levels above the end up and down again, as the authors' code has it."""
        down, jump = super().moves(schedule), self.config.jump
        answer = []
        for k, move in enumerate(down, 1):
            answer.append(move)
            left = len(down) - k
            if k >= jump and left and (left - 1) % jump == 0:
                behind = down[k - jump : k]
                up = [(s, t) for t, s in reversed(behind)]
                answer += (up + behind) * (self.config.repeats - 1)
        return answer

    def calls_a_move(self, t: float, s: float) -> int:
        """None on the way up."""
        return int(s < t)

    def step(
        self, denoiser: Denoiser, observation: Observation, x_t: Images, t: float, s: float, rng: Rngs, past: Past
    ) -> Images:
        """Down: known and unknown pixels each in their way. Up: noise."""
        schedule, known = denoiser.schedule, observation.operator.known.to(x_t.dtype)
        if s > t:
            low, high = torch.tensor([t, s], dtype=torch.float64, device=x_t.device)
            return schedule.noise(x_t, low, high, noise_like(x_t, rng).to(x_t.dtype))
        at_t, at_s = schedule.at(t), schedule.at(s)
        mean = posterior_mean(denoiser(x_t, full(t, x_t)).mean, x_t, at_t, at_s)
        made = mean + math.sqrt(max(posterior(at_t, at_s).beta_tilde, 0.0)) * noise_like(x_t, rng).to(x_t.dtype)
        seen = at_s[0] * observation.y + at_s[1] * noise_like(x_t, rng).to(x_t.dtype)
        return known * seen + (1 - known) * made

    @classmethod
    def within(cls, config: Any, calls: int) -> Any:
        """Fewer repeats and shorter jumps, so that some levels are left."""
        repeats = max(1, min(config.repeats, calls // LEAST))
        jump = max(1, min(config.jump, calls // repeats // 5))
        return config.model_copy(update={"calls": calls, "repeats": repeats, "jump": jump})
