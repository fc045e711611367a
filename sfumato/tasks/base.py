"""Tasks: what is lost of an image, and what is left to restore it from.

A task draws a linear operator A, observes y = A x, and says where a loss should look. Every task hands networks a condition
of one shape, (preview of y, known pixels), so that no network asks which task it serves.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.config import Strict
from sfumato.images import Images, Known
from sfumato.kinds import Kind
from sfumato.streams import Rngs

Region = Literal["unknown", "known", "all"]


class Operator(ABC):
    """y = A x for a batch of n images: linear, its randomness already drawn, immutable."""

    n: int
    """How many images it was drawn for; a result for n images needs an operator for n."""
    known: Known
    """1 where a pixel is given exactly, 0 where it has to be made."""

    @abstractmethod
    def forward(self, x: Images) -> Float[Tensor, "B c h w"]:
        """A x, what is measured."""

    @abstractmethod
    def pinv(self, y: Float[Tensor, "B c h w"]) -> Images:
        """A+ y, the smallest image that explains y: A A+ A = A."""

    def preview(self, y: Float[Tensor, "B c h w"]) -> Images:
        """What a network and a person are shown of y at full size; A+ y unless a task says otherwise."""
        return self.pinv(y)

    @abstractmethod
    def pick(self, index: slice) -> Operator:
        """The same operator for some of the images."""

    @abstractmethod
    def to(self, device: str | torch.device) -> Operator:
        """The same operator on another device."""

    @final
    def project(self, x: Images, y: Float[Tensor, "B c h w"]) -> Images:
        """x + A+ (y - A x): the image nearest to x that agrees with what was measured.

        For masks this is known y + (1 - known) x; for block means it is the correction of DDNM. Clamping afterwards can
        break the agreement of block means, so the metric `consistency` measures what is left.
        Reference: Wang, Yu and Zhang (2023), Zero-shot image restoration using denoising diffusion null-space model.
        """
        return x + self.pinv(y - self.forward(x))


@dataclass(frozen=True)
class Observation:
    """What is left of a batch of images: the measurement y, the operator that made it, and where a loss looks."""

    y: Float[Tensor, "B c h w"]
    operator: Operator
    weight: Known

    @cached_property
    def preview(self) -> Images:
        """y at full size."""
        return self.operator.preview(self.y)

    @cached_property
    def condition(self) -> Float[Tensor, "B d H W"]:
        """cat(preview of y, known), C + 1 channels: what a network is given."""
        return torch.cat([self.preview, self.operator.known], dim=1)

    @property
    def known(self) -> Known:
        """1 where a pixel is given exactly."""
        return self.operator.known

    def __len__(self) -> int:
        return self.operator.n

    def pick(self, index: slice) -> Observation:
        """The observation of some of the images."""
        return Observation(self.y[index], self.operator.pick(index), self.weight[index])

    def to(self, device: str | torch.device) -> Observation:
        """The observation on another device."""
        return Observation(self.y.to(device), self.operator.to(device), self.weight.to(device))


def region_weight(known: Known, region: Region) -> Known:
    """1 where a loss looks: the unknown pixels, the known ones, or all; all too where the named region is empty.

    Paper 000 scores the unknown pixels when inpainting and, as printed, the given crop when outpainting.
    """
    if region == "all":
        return torch.ones_like(known)
    weight = known if region == "known" else 1.0 - known
    empty = weight.sum(dim=(1, 2, 3), keepdim=True) == 0
    return torch.where(empty, torch.ones_like(weight), weight)


class Task(Kind, ABC, root=True):
    """A law of degradation: `operator` draws A, `observe` applies it."""

    conditional: ClassVar[bool] = True
    """False where nothing is observed, so that networks need no condition channels."""
    region: Region = "unknown"
    """Where a loss looks."""

    def __init__(self, config: Strict):
        self.config: Any = config
        self.region = getattr(config, "region", "unknown")

    @property
    def name(self) -> str:
        """What tables and files call it: the kind, and whatever tells two of one kind apart."""
        return str(self.config.kind)

    @abstractmethod
    def operator(self, rngs: Rngs, n: int, size: int) -> Operator:
        """Draw A for n images of `size` rows and columns: one generator an image, or one for all (see `streams.uniforms`)."""

    @final
    def observe(self, x: Images, rngs: Rngs) -> Observation:
        """y = A x with A drawn from `rngs`, on the device of x."""
        operator = self.operator(rngs, len(x), x.shape[-1]).to(x.device)
        return Observation(operator.forward(x), operator, region_weight(operator.known, self.region))
