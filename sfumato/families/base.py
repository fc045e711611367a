"""Families: what learns. A family owns networks, says who plays with which loss, and draws images.

It never steps an optimiser: `training/trainer.py` owns every step and its accounting, so that budgets can be compared.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, final

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.nn import Parameter

from sfumato.config import Strict
from sfumato.data.base import DataSpec
from sfumato.errors import CapabilityError, DivergedError, ShapeError
from sfumato.images import Images
from sfumato.kinds import Kind
from sfumato.tasks.base import Observation

Terms = Mapping[str, Tensor]
"""Named scalars, already weighted; a loss is their sum."""
Condition = Float[Tensor, "B d H W"]


@dataclass(frozen=True)
class Batch:
    """What a loss sees: images, what was observed of them, its own stream, and the share of the budget already spent."""

    x: Images
    observation: Observation
    rng: Generator
    progress: float = 0.0
    label: Tensor | None = None


@dataclass(frozen=True)
class Objective:
    """A loss; one with `every` = n is computed each n-th turn and counts n times (lazy regularisation)."""

    loss: Callable[[Batch], Terms]
    every: int = 1


class Adam(Strict):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019), a warm-up and a decay over the budget."""

    lr: float = Field(default=1e-3, gt=0.0)
    """Learning rate after the warm-up."""
    betas: tuple[Annotated[float, Field(ge=0.0, lt=1.0)], Annotated[float, Field(ge=0.0, lt=1.0)]] = (0.9, 0.99)
    """Decay of the running mean and of the running square."""
    weight_decay: float = Field(default=0.0, ge=0.0)
    """Shrinkage of the weights a step, times the learning rate."""
    warmup: float = Field(default=0.02, ge=0.0, lt=1.0)
    """Share of the budget over which the rate rises from 0."""
    decay: Literal["constant", "cosine"] = "cosine"
    """What the rate does afterwards: stay, or fall to 0 along a cosine."""
    clip: float | None = Field(default=None, gt=0.0)
    """Largest norm of the gradient; null for no limit."""


def nothing() -> None:
    """The `after` of a player that needs none."""


@dataclass(frozen=True)
class Player:
    """One optimiser's part: whose weights move, by which objectives, how often; `after` runs when they have moved."""

    name: str
    weights: Sequence[Parameter]
    objectives: Sequence[Objective]
    optimizer: Adam = field(default_factory=Adam)
    turns: int = 1
    after: Callable[[], None] = nothing


@dataclass(frozen=True)
class Stage:
    """A part of the training: its share of the budget and, where it differs, the size of the images."""

    name: str = "train"
    share: float = 1.0
    size: int | None = None


class Family(Kind, nn.Module, ABC, root=True):
    """Networks, objectives and a way to draw, built from settings and a `DataSpec` alone."""

    def __init__(self, config: Strict, spec: DataSpec):
        super().__init__()
        self.config: Any = config
        self.spec = spec
        self.build()

    @abstractmethod
    def build(self) -> None:
        """Make the networks."""

    @abstractmethod
    def players(self, stage: Stage) -> Sequence[Player]:
        """Who plays in this stage, in the order of their turns."""

    @abstractmethod
    def draw(self, n: int, condition: Condition | None, size: int, rng: Generator) -> Images:
        """n images; `rng` is on the device of the weights."""

    def stages(self) -> Sequence[Stage]:
        """The parts of the training, in order; one unless the family grows."""
        return (Stage(),)

    def deployed(self) -> Sequence[nn.Module]:
        """The networks that sampling needs: what parity counts and what is averaged and published."""
        return (self,)

    def calls(self) -> int:
        """How many network calls one image takes."""
        return 1

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @final
    def condition(self, observation: Observation | None) -> Condition | None:
        """The condition for the networks, or None for a family built without one.

        Raises: CapabilityError: the family was trained for restoration and has nothing to restore, or the reverse.
        """
        if self.spec.condition == 0:
            if observation is not None and observation.y.numel():
                raise CapabilityError(
                    f"this {self.config.kind} was trained to generate, not to restore; train it on the task"
                )
            return None
        if observation is None:
            raise CapabilityError(f"this {self.config.kind} was trained to restore; give it an observation")
        return observation.condition

    @final
    @torch.inference_mode()
    def sample(
        self, n: int, *, observation: Observation | None = None, size: int | None = None, rng: Generator
    ) -> Images:
        """n images in [-1, 1], conditioned on the observation where there is one.

        Raises: ShapeError: an observation of another number or size of images. DivergedError: a pixel is not finite.
        """
        size = size or self.spec.size
        if observation is not None and (len(observation) != n or observation.known.shape[-1] != size):
            raise ShapeError(
                f"{n} images of {size} rows were asked for, but the observation is of {len(observation)} "
                f"of {observation.known.shape[-1]}; they must agree"
            )
        was_training = self.training
        self.eval()
        try:
            x = self.draw(n, self.condition(observation), size, rng)
        finally:
            self.train(was_training)
        if not bool(x.isfinite().all()):
            raise DivergedError(f"{self.config.kind} drew pixels that are not finite; its training diverged")
        return x.clamp(-1.0, 1.0)


def weights(*modules: nn.Module) -> list[Parameter]:
    """All parameters of some modules."""
    return [parameter for module in modules for parameter in module.parameters()]


def parameter_count(modules: Sequence[nn.Module]) -> int:
    """The number of weights in some modules, each counted once."""
    return sum({id(p): p.numel() for module in modules for p in module.parameters()}.values())


def weighted_mean(error: Images, weight: Float[Tensor, "B 1 H W"]) -> Float[Tensor, ""]:
    """sum(weight error) / sum(weight) over pixels and channels: a mean that looks only where the task says."""
    return (error * weight).sum() / (weight.sum() * error.shape[1]).clamp(min=1.0)


class Denoises(ABC):
    """A family that can say what noise is in x_t."""

    @abstractmethod
    def denoise(self, x_t: Images, t: Tensor, condition: Condition | None) -> Images:
        """The expected clean image x_0."""


class Decodes(ABC):
    """A family that turns latent vectors into images."""

    @abstractmethod
    def latent(self, n: int, rng: Generator) -> Tensor:
        """n latent vectors from the prior."""

    @abstractmethod
    def decode(self, z: Tensor, condition: Condition | None) -> Images:
        """Their images."""
