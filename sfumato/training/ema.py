"""An exponential moving average of the weights that sampling uses; buffers are copied, not averaged."""

from __future__ import annotations

import torch
from torch import Tensor

from sfumato.families.base import Family


def deployed_state(family: Family) -> dict[str, Tensor]:
    """The weights and buffers of the deployed modules, by their names in the family's state."""
    chosen = {id(module) for module in family.deployed()}
    prefixes = [name + "." if name else "" for name, module in family.named_modules() if id(module) in chosen]
    return {name: value for name, value in family.state_dict().items() if name.startswith(tuple(prefixes))}


class EMA:
    """w-bar <- decay w-bar + (1 - decay) w, with a half-life that grows with the training.

    The half-life is a share of the images seen so far, so that one setting fits a minute and a week, and the first
    random weights are forgotten.
    Reference: Karras et al. (2020), Analyzing and improving the image quality of StyleGAN (half-life in images, ramped up).
    """

    def __init__(self, family: Family, share: float):
        self.share, self._family = share, family
        # The state's tensors are the live ones, which optimisers change in place: look them up once, not at every step.
        self._live = {name: value.detach() for name, value in deployed_state(family).items()}
        self.values = {name: value.clone() for name, value in self._live.items()}
        parameters = {name for name, _ in family.named_parameters()}
        self._averaged = [name for name in self.values if name in parameters]
        self._copied = [name for name in self.values if name not in parameters]

    @torch.no_grad()
    def update(self, images: int, new: int) -> None:
        """Take in the weights after `new` more images of `images` in all."""
        decay = 0.5 ** (new / max(self.share * images, 1e-9)) if self.share else 0.0
        averages, weights = ([place[name] for name in self._averaged] for place in (self.values, self._live))
        torch._foreach_lerp_(averages, weights, 1 - decay)
        state = dict(self._family.named_buffers()) if self._copied else {}  # a buffer may be replaced, not changed
        for name in self._copied:
            self.values[name].copy_(state[name])

    @torch.no_grad()
    def load(self, values: dict[str, Tensor]) -> None:
        """Go on from saved averages."""
        for name, value in self.values.items():
            value.copy_(values[name])

    @torch.no_grad()
    def copy_to(self, family: Family) -> None:
        """Put the averages into the family, for sampling."""
        for name, value in deployed_state(family).items():
            value.copy_(self.values[name])
