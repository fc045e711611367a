"""Averages of the weights that sampling uses, by kind; buffers are copied, not averaged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from sfumato.config import Strict
from sfumato.families.base import Family
from sfumato.kinds import Kind


def deployed_state(family: Family) -> dict[str, Tensor]:
    """The weights and buffers of the deployed modules and their companions, by their names in the family's state."""
    chosen = {id(module) for module in (*family.deployed(), *family.companions())}
    prefixes = [name + "." if name else "" for name, module in family.named_modules() if id(module) in chosen]
    return {name: value for name, value in family.state_dict().items() if name.startswith(tuple(prefixes))}


class Average(Kind, ABC, root=True):
    """w-bar <- decay w-bar + (1 - decay) w after each round; `decay` is what kinds differ in."""

    def __init__(self, config: Strict, family: Family):
        self.config: Any = config
        self.values: dict[str, Tensor] = {}
        self.follow(family)

    @abstractmethod
    def decay(self, images: int, new: int) -> float:
        """How much of the old average stays after `new` more images of `images` in all."""

    @classmethod
    @abstractmethod
    def words(cls, config: Any) -> str:
        """What a card says the weights are; from settings alone, since an average copies the weights."""

    def follow(self, family: Family) -> None:
        """Look at the family's weights, which may have grown; new ones begin as they are, known ones keep their average."""
        self._family = family
        # The state's tensors are the live ones, which optimisers change in place: look them up once, not at every step.
        self._live = {name: value.detach() for name, value in deployed_state(family).items()}
        self.values = {
            name: self.values[name] if name in self.values and self.values[name].shape == value.shape else value.clone()
            for name, value in self._live.items()
        }
        parameters = {name for name, _ in family.named_parameters()}
        self._averaged = [name for name in self.values if name in parameters]
        self._copied = [name for name in self.values if name not in parameters]

    @torch.no_grad()
    def update(self, images: int, new: int) -> None:
        """Take in the weights after `new` more images of `images` in all."""
        averages, weights = ([place[name] for name in self._averaged] for place in (self.values, self._live))
        torch._foreach_lerp_(averages, weights, 1 - self.decay(images, new))
        state = dict(self._family.named_buffers()) if self._copied else {}  # a buffer may be replaced, not changed
        for name in self._copied:
            self.values[name].copy_(state[name])

    @torch.no_grad()
    def start(self, names: Sequence[str] | None = None) -> None:
        """Begin anew from the weights as they are, or from some of them."""
        for name in self.values if names is None else names:
            if name in self.values:
                self.values[name].copy_(self._live[name])

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint has to keep."""
        return self.values

    @torch.no_grad()
    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go on from a checkpoint.

        Raises: KeyError: it is of another training.
        """
        for name, value in self.values.items():
            value.copy_(tensors[name])

    @final
    @torch.no_grad()
    def copy_to(self, family: Family) -> None:
        """Put the averages into the family."""
        made = self.deployed()
        for name, value in deployed_state(family).items():
            value.copy_(made[name])

    def deployed(self) -> Mapping[str, Tensor]:
        """The weights that are deployed."""
        return self.values

    def kept(self) -> dict[str, Tensor]:
        """What a finished run keeps beside its weights, for kinds that can be chosen again after training."""
        return {}


class Last(Average):
    """No average: the last weights."""

    class Config(Strict):
        kind: Literal["none"] = "none"

    def decay(self, images: int, new: int) -> float:
        """0."""
        return 0.0

    @classmethod
    def words(cls, config: Any) -> str:
        return "the last ones"


class HalfLife(Average):
    """A half-life that is a share of the images seen so far: one setting fits a minute and a week.

    With many small steps this is the power function average, and the first random weights are forgotten.
    Reference: Karras et al. (2024), Analyzing and improving the training dynamics of diffusion models, section 3.1.
    """

    class Config(Strict):
        kind: Literal["half_life"] = "half_life"
        share: float = Field(default=0.05, gt=0.0, lt=1.0)
        """The half-life over the images seen so far."""

    def decay(self, images: int, new: int) -> float:
        """0.5^(new / (share images))."""
        return float(0.5 ** (new / max(self.config.share * images, 1e-9)))

    @classmethod
    def words(cls, config: Any) -> str:
        return f"running averages (half-life {config.share:.0%} of the images seen)"


class Constant(Average):
    """A fixed decay a round, as most papers state it."""

    class Config(Strict):
        kind: Literal["constant"] = "constant"
        decay: float = Field(default=0.999, ge=0.0, lt=1.0)
        """How much of the average stays each round."""
        rise: bool = True
        """Use (1 + rounds) / (10 + rounds) while that is smaller, so that a short training is not held at its start."""

    def decay(self, images: int, new: int) -> float:
        """min(decay, (1 + rounds) / (10 + rounds)), with the rounds told by the images."""
        rounds = images / max(new, 1)
        return float(min(self.config.decay, (1 + rounds) / (10 + rounds)) if self.config.rise else self.config.decay)

    @classmethod
    def words(cls, config: Any) -> str:
        return f"running averages (decay {config.decay:g} a round)"
