"""The operators that look at one pixel at a time: nothing, all of it, masks, mixtures of channels, and an unknown one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.data.pictures import Places
from sfumato.errors import CapabilityError, ShapeError
from sfumato.images import Images, Known, Size
from sfumato.maths.regions import Box
from sfumato.tasks.base import Measurement, Operator

LUMA = (0.299, 0.587, 0.114)  # how bright red, green and blue seem (ITU-R BT.601)


class Same(Operator, ABC):
    """One A for every image of the batch; `passes` says whether it passes pixels on as they are."""

    passes: ClassVar[float] = 0.0

    def __init__(self, n: int, size: Size, device: str | torch.device = "cpu"):
        self.n = n
        self.known = torch.full((1, 1, *size), self.passes, device=device).expand(n, 1, *size)

    @abstractmethod
    def again(self, n: int, size: Size, device: str | torch.device) -> Operator:
        """The same A for another number or size of images, elsewhere."""

    def pick(self, places: Places) -> Operator:
        n = len(range(self.n)[places]) if isinstance(places, slice) else len(places)
        return self.again(n, self.size, self.known.device)

    def to(self, device: str | torch.device) -> Operator:
        return self.again(self.n, self.size, device)


class Nothing(Same):
    """A = 0: no pixel is measured, as when an image is made from scratch."""

    def again(self, n: int, size: Size, device: str | torch.device) -> Nothing:
        return Nothing(n, size, device)

    def forward(self, x: Images) -> Float[Tensor, "B C 0 0"]:
        """An empty measurement."""
        return x[:, :, :0, :0]

    def pinv(self, y: Float[Tensor, "B C 0 0"]) -> Images:
        """Mid-grey images."""
        return y.new_zeros(y.shape[0], y.shape[1], *self.size)

    def crop(self, window: Box) -> Nothing:
        return Nothing(self.n, window[2:], self.known.device)


class Identity(Same):
    """A x = x: everything is measured; what is lost, noise takes."""

    passes: ClassVar[float] = 1.0

    def again(self, n: int, size: Size, device: str | torch.device) -> Identity:
        return Identity(n, size, device)

    def forward(self, x: Images) -> Images:
        """x."""
        return x

    def pinv(self, y: Images) -> Images:
        """y."""
        return y

    def adjoint(self, y: Images) -> Images:
        return y

    def crop(self, window: Box) -> Identity:
        return Identity(self.n, window[2:], self.known.device)


class Luma(Same):
    """A x = 0.299 red + 0.587 green + 0.114 blue; A+ spreads the grey value over the channels."""

    mixes: ClassVar[bool] = True

    def again(self, n: int, size: Size, device: str | torch.device) -> Luma:
        return Luma(n, size, device)

    def _weights(self, like: Tensor) -> Tensor:
        return torch.tensor(LUMA, dtype=like.dtype, device=like.device).view(1, 3, 1, 1)

    def forward(self, x: Images) -> Float[Tensor, "B 1 H W"]:
        """The grey picture.

        Raises: ShapeError: x is not RGB.
        """
        if x.shape[1] != 3:
            raise ShapeError(f"only pictures of 3 channels lose colour; these have {x.shape[1]}")
        return (x * self._weights(x)).sum(1, keepdim=True)

    def pinv(self, y: Float[Tensor, "B 1 H W"]) -> Images:
        """w y / |w|^2."""
        weights = self._weights(y)
        return y * weights / weights.square().sum()

    def adjoint(self, y: Float[Tensor, "B 1 H W"]) -> Images:
        return y * self._weights(y)

    def preview(self, y: Float[Tensor, "B 1 H W"]) -> Images:
        """The grey picture as RGB."""
        return y.expand(-1, 3, -1, -1)

    def crop(self, window: Box) -> Luma:
        return Luma(self.n, window[2:], self.known.device)


class Masking(Operator):
    """A x = known x: each pixel is either given or lost; A is its own adjoint and pseudo-inverse."""

    hides: ClassVar[bool] = True

    def __init__(self, known: Known):
        self.n, self.known = len(known), known

    def forward(self, x: Images) -> Images:
        """x where known, 0 elsewhere."""
        return x * self.known

    def pinv(self, y: Images) -> Images:
        """y where known, 0 elsewhere."""
        return y * self.known

    def adjoint(self, y: Images) -> Images:
        return y * self.known

    def pick(self, places: Places) -> Masking:
        return Masking(self.known[places])

    def to(self, device: str | torch.device) -> Masking:
        return Masking(self.known.to(device))

    def crop(self, window: Box) -> Masking:
        return Masking(self.known[:, :, *window.place])


class Unknown(Same):
    """No operator: somebody paired two pictures, and what made one of the other is not known."""

    linear: ClassVar[bool] = False

    def again(self, n: int, size: Size, device: str | torch.device) -> Unknown:
        return Unknown(n, size, device)

    def forward(self, x: Images) -> Measurement:
        """Raises: CapabilityError: always."""
        raise CapabilityError("pairs of pictures have no known operator, so nothing can be projected on or inverted")

    def pinv(self, y: Images) -> Images:
        """Raises: CapabilityError: always."""
        return self.forward(y)

    def preview(self, y: Images) -> Images:
        """y itself."""
        return y

    def crop(self, window: Box) -> Unknown:
        return Unknown(self.n, window[2:], self.known.device)
