"""Samplers: from noise to an image, given anything that says what the clean image would be."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from jaxtyping import Int
from torch import Generator, Tensor

from sfumato.config import Strict
from sfumato.images import Images
from sfumato.kinds import Kind
from sfumato.maths.schedules import Schedule

Denoise = Callable[[Images, Int[Tensor, "B"]], Images]
"""(x_t, t) -> the expected clean image x_0."""


class Sampler(Kind, ABC, root=True):
    """A walk from x_T down to x_0; it knows no network, only a denoiser and a schedule."""

    def __init__(self, config: Strict):
        self.config: Any = config

    @abstractmethod
    def sample(self, denoise: Denoise, schedule: Schedule, x_T: Images, rng: Generator) -> Images:
        """x_0, as drawn by this walk from x_T; `rng` is on the device of x_T."""

    @abstractmethod
    def calls(self, schedule: Schedule) -> int:
        """How often one image calls the denoiser: the cost of a sample."""
