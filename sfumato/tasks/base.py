"""Tasks: what is lost of an image, and what is left to restore it from.

A task draws a linear operator A, observes y = A x + noise n, and says where a loss should look. Every task hands networks an
image of one shape, (preview of y, known pixels), so that no network asks which task it serves; and every operator says itself
what it does, so that no restorer or metric holds a list of operators.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.config import Strict
from sfumato.data.base import DataSpec
from sfumato.data.pictures import Places
from sfumato.errors import CapabilityError, DataError, ShapeError
from sfumato.images import Images, Known, Size, to_float, to_uint8
from sfumato.kinds import Kind
from sfumato.maths.linear import conjugate_gradients
from sfumato.maths.regions import Box
from sfumato.streams import Rngs, normals, stream

Region = Literal["unknown", "known", "all"]
Measurement = Float[Tensor, "B c h w"]


class Operator(ABC):
    """y = A x for a batch of n images: linear, its randomness already drawn, immutable."""

    n: int
    """How many images it was drawn for; a result for n images needs an operator for n."""
    known: Known
    """1 where A passes a pixel on as it is, 0 elsewhere."""
    hides: ClassVar[bool] = False
    """Some pixels are passed on as they are, and nothing of the others."""
    shrinks: ClassVar[bool] = False
    """y has fewer rows and columns than x."""
    mixes: ClassVar[bool] = False
    """The channels of y are mixtures of those of x."""
    blurs: ClassVar[bool] = False
    """A pixel of y is a mixture of pixels around it, at the size of x."""
    likens: ClassVar[bool] = False
    """x is shown as an example, and another picture like it is asked for."""
    linear: ClassVar[bool] = True
    """Whether A is known and linear, so that it has an adjoint; not so where pictures were paired by somebody."""

    @property
    def size(self) -> Size:
        """Rows and columns of x."""
        return self.known.shape[2], self.known.shape[3]

    @abstractmethod
    def forward(self, x: Images) -> Measurement:
        """A x, what is measured."""

    @abstractmethod
    def pinv(self, y: Measurement) -> Images:
        """A+ y, the smallest image that explains y: A A+ A = A."""

    def adjoint(self, y: Measurement) -> Images:
        """A^T y: <A x, y> = <x, A^T y>; by automatic differentiation unless an operator gives it."""
        x = torch.zeros_like(self.pinv(y))
        _, pull = torch.func.vjp(self.forward, x)
        out: Tensor = pull(y)[0]
        return out

    def solve(self, y: Measurement, ridge: float | Tensor) -> Images:
        """A^T (A A^T + ridge I)^-1 y: A+ y with its faint part damped; by conjugate gradients unless given.

        `ridge` is a number, or one an image as [B, 1, 1, 1].
        """
        return self.adjoint(conjugate_gradients(lambda z: self.forward(self.adjoint(z)) + ridge * z, y))

    def preview(self, y: Measurement) -> Images:
        """What a network and a person are shown of y at full size; A+ y unless an operator says otherwise."""
        return self.pinv(y)

    @abstractmethod
    def pick(self, places: Places) -> Operator:
        """The same operator for some of the images."""

    @abstractmethod
    def to(self, device: str | torch.device) -> Operator:
        """The same operator on another device."""

    def crop(self, window: Box) -> Operator:
        """The operator on a part of the images.

        Raises: CapabilityError: a pixel of y depends on pixels outside any window.
        """
        raise CapabilityError(f"{type(self).__name__} looks beyond any window, so it cannot be cropped")

    @final
    def project(self, x: Images, y: Measurement) -> Images:
        """x + A+ (y - A x): the image nearest to x that agrees with y = A x.

        For masks this is known y + (1 - known) x; for block means it is the correction of DDNM. Clamping afterwards can
        break the agreement of block means, so the metric `consistency` measures what is left.
        Reference: Wang, Yu and Zhang (2023), Zero-shot image restoration using denoising diffusion null-space model.
        """
        return x + self.pinv(y - self.forward(x))


class Observed(ABC):
    """What is left of a batch of images, as networks and losses see it: in one shape, whatever the task."""

    weight: Known
    """Where a loss looks."""

    @property
    @abstractmethod
    def parts(self) -> Sequence[Observation]:
        """One task's observation after the other, in the order of the images: for what has to look at y and A."""

    @property
    @abstractmethod
    def image(self) -> Float[Tensor, "B d H W"]:
        """cat(preview of y, known), C + 1 channels: what a network is given."""

    @property
    @abstractmethod
    def known(self) -> Known:
        """1 where a pixel is given exactly."""

    @property
    @abstractmethod
    def empty(self) -> bool:
        """Whether nothing was measured."""

    @abstractmethod
    def project(self, x: Images) -> Images:
        """The image nearest to x that agrees with what was measured exactly; x itself where nothing was."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def pick(self, places: Places) -> Observed:
        """What is left of some of the images."""


@dataclass(frozen=True)
class Observation(Observed):
    """What one task leaves of a batch of images: y = A x + noise n, the operator A, and where a loss looks."""

    y: Measurement
    operator: Operator
    weight: Known
    noise: float = 0.0
    """Standard deviation of the noise in y, on the scale of images (-1 to 1)."""

    @property
    def parts(self) -> Sequence[Observation]:
        """This one."""
        return (self,)

    @property
    def empty(self) -> bool:
        """Whether nothing was measured."""
        return self.y.numel() == 0

    @cached_property
    def preview(self) -> Images:
        """y at full size."""
        return self.operator.preview(self.y)

    @cached_property
    def image(self) -> Float[Tensor, "B d H W"]:
        """cat(preview of y, known), C + 1 channels: what a network is given; a pixel given with noise is 1 - noise known."""
        seen = self.operator.known * max(1 - self.noise, 0.0) if self.operator.hides else self.known
        return torch.cat([self.preview, seen], dim=1)

    @property
    def exact(self) -> bool:
        """Whether y binds the answer: A is known and nothing was added to A x."""
        return self.operator.linear and self.noise == 0

    @cached_property
    def known(self) -> Known:
        """1 where a pixel is given exactly; nowhere if there is noise."""
        return self.operator.known if self.exact else torch.zeros_like(self.operator.known)

    def project(self, x: Images) -> Images:
        """The image nearest to x that agrees with what was measured exactly; x itself where nothing was."""
        return self.operator.project(x, self.y) if self.exact else x

    def __len__(self) -> int:
        return self.operator.n

    def pick(self, places: Places) -> Observation:
        """The observation of some of the images."""
        return Observation(self.y[places], self.operator.pick(places), self.weight[places], self.noise)

    def to(self, device: str | torch.device) -> Observation:
        """The observation on another device."""
        return Observation(self.y.to(device), self.operator.to(device), self.weight.to(device), self.noise)


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
    """A law of degradation: `operator` draws A, `observe` applies it.

    `region` (where a loss looks), `noise` (its standard deviation) and `rounded` are read from settings of these names.
    """

    conditional: ClassVar[bool] = True
    """False where nothing is observed, so that networks need no condition channels."""
    paired: ClassVar[bool] = False
    """Whether what is observed comes with the data (a pair of pictures) and not from an operator."""
    trains: ClassVar[bool] = True
    """Whether a family can be trained on it; else each picture is learnt by itself when it is answered."""
    region: Region = "unknown"
    """Where a loss looks."""
    noise: float = 0.0
    """Standard deviation of the noise that is added to A x."""
    rounded: bool = False
    """Whether A x is rounded to 8 bits."""

    def __init__(self, config: Strict):
        self.config: Any = config
        self.region = getattr(config, "region", self.region)
        self.noise = getattr(config, "noise", self.noise)
        self.rounded = getattr(config, "rounded", self.rounded)

    @property
    def name(self) -> str:
        """What tables and files call it: the kind, and whatever tells two of one kind apart."""
        return str(self.config.kind)

    @property
    def noise_in_name(self) -> list[str]:
        """["n0.05"], a part of a name; nothing where there is no noise."""
        return [f"n{self.noise:g}"] if self.noise else []

    @abstractmethod
    def operator(self, rngs: Rngs, n: int, size: Size) -> Operator:
        """Draw A for n images of a size, on the device of `rngs`: one generator an image, or one for all."""

    def check(self, spec: DataSpec) -> None:
        """Raises: ConfigError: images of this spec cannot be degraded so."""

    @final
    def example(self, channels: int, size: Size) -> Observation:
        """What is left of one black image, to see what kind of thing it is."""
        x = torch.zeros(1, channels, *size)
        return self.observe(x, stream(0, "example"), x if self.paired else None)

    @final
    def observe(self, x: Images, rngs: Rngs, inputs: Images | None = None) -> Observation:
        """y = A x + noise n with A and n drawn from `rngs`, on the device of x; `inputs` are what pairs come with.

        Raises: DataError: a paired task has no inputs.
        """
        operator = self.operator(rngs, len(x), (x.shape[2], x.shape[3])).to(x.device)
        weight = region_weight(operator.known * (self.noise == 0), self.region)
        if self.paired:
            if inputs is None:
                raise DataError(f"{self.name} needs pairs of pictures; use a source that gives them, such as pairs")
            if inputs.shape != x.shape:
                given, wanted = tuple(inputs.shape), tuple(x.shape)
                raise ShapeError(f"inputs of shape {given} are paired with images of shape {wanted}; make them agree")
            return Observation(inputs, operator, weight)
        y = operator.forward(x)
        if self.rounded:
            y = to_float(to_uint8(y))
        if self.noise > 0:
            y = y + self.noise * normals(rngs, *y.shape).to(x.device)
            y = operator.forward(y) if operator.hides else y  # what is hidden has no noise either
        return Observation(y, operator, weight, self.noise)
