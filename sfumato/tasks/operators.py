"""The linear operators: nothing, masking, and down-sampling by block means or an antialiased cubic."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sfumato.images import Images, Known
from sfumato.maths.resample import cubic_matrix
from sfumato.tasks.base import Operator


class Nothing(Operator):
    """A = 0: no pixel is measured, as when an image is made from scratch."""

    def __init__(self, n: int, size: int, device: str | torch.device = "cpu"):
        self.n, self.size = n, size
        self.known = torch.zeros(n, 1, size, size, device=device)

    def forward(self, x: Images) -> Float[Tensor, "B C 0 0"]:
        """An empty measurement."""
        return x[:, :, :0, :0]

    def pinv(self, y: Float[Tensor, "B C 0 0"]) -> Images:
        """Mid-grey images."""
        return y.new_zeros(y.shape[0], y.shape[1], self.size, self.size)

    def pick(self, index: slice) -> Nothing:
        """Nothing, for fewer images."""
        return Nothing(len(range(self.n)[index]), self.size, self.known.device)

    def to(self, device: str | torch.device) -> Nothing:
        """Nothing, elsewhere."""
        return Nothing(self.n, self.size, device)


class Masking(Operator):
    """A x = known x: each pixel is either given exactly or lost; A is its own pseudo-inverse."""

    def __init__(self, known: Known):
        self.n, self.known = len(known), known

    def forward(self, x: Images) -> Images:
        """x where known, 0 elsewhere."""
        return x * self.known

    def pinv(self, y: Images) -> Images:
        """y where known, 0 elsewhere."""
        return y * self.known

    def pick(self, index: slice) -> Masking:
        """The masks of some images."""
        return Masking(self.known[index])

    def to(self, device: str | torch.device) -> Masking:
        """The masks on another device."""
        return Masking(self.known.to(device))


class BlockMean(Operator):
    """A x = the mean of each scale x scale block; A+ repeats a value over its block."""

    def __init__(self, n: int, size: int, scale: int, smooth: bool = True, device: str | torch.device = "cpu"):
        self.n, self.size, self.scale, self.smooth = n, size, scale, smooth
        self.known = torch.zeros(n, 1, size, size, device=device)

    def forward(self, x: Images) -> Float[Tensor, "B C h w"]:
        """Means of blocks."""
        return F.avg_pool2d(x, self.scale)

    def pinv(self, y: Float[Tensor, "B C h w"]) -> Images:
        """Each value repeated over its block."""
        return y.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)

    def preview(self, y: Float[Tensor, "B C h w"]) -> Images:
        """y enlarged bilinearly (paper 000, section 3.3), or repeated where `smooth` is off."""
        return F.interpolate(y, size=(self.size, self.size), mode="bilinear") if self.smooth else self.pinv(y)

    def pick(self, index: slice) -> BlockMean:
        """The same means for fewer images."""
        return BlockMean(len(range(self.n)[index]), self.size, self.scale, self.smooth, self.known.device)

    def to(self, device: str | torch.device) -> BlockMean:
        """The same means on another device."""
        return BlockMean(self.n, self.size, self.scale, self.smooth, device)


@lru_cache
def _cubic_pair(size: int, scale: int) -> tuple[Tensor, Tensor]:
    """D and its pseudo-inverse, computed once in float64."""
    matrix = cubic_matrix(size, size // scale)
    return matrix, torch.linalg.pinv(matrix)


class CubicDown(Operator):
    """A x = D x D^T, with D the antialiased cubic (a = -1/2) filter that shrinks a row by `scale`; A+ y = D+ y D+^T."""

    def __init__(self, n: int, size: int, scale: int, smooth: bool = True, device: str | torch.device = "cpu"):
        self.n, self.size, self.scale, self.smooth = n, size, scale, smooth
        self.known = torch.zeros(n, 1, size, size, device=device)
        self._down, self._up = (matrix.to(device, torch.float32) for matrix in _cubic_pair(size, scale))

    def forward(self, x: Images) -> Float[Tensor, "B C h w"]:
        """The small image."""
        return self._down @ x @ self._down.T

    def pinv(self, y: Float[Tensor, "B C h w"]) -> Images:
        """The smallest image whose small version is y."""
        return self._up @ y @ self._up.T

    def preview(self, y: Float[Tensor, "B C h w"]) -> Images:
        """y enlarged bilinearly, or by A+ where `smooth` is off."""
        return F.interpolate(y, size=(self.size, self.size), mode="bilinear") if self.smooth else self.pinv(y)

    def pick(self, index: slice) -> CubicDown:
        """The same filter for fewer images."""
        return CubicDown(len(range(self.n)[index]), self.size, self.scale, self.smooth, self.known.device)

    def to(self, device: str | torch.device) -> CubicDown:
        """The same filter on another device."""
        return CubicDown(self.n, self.size, self.scale, self.smooth, device)


def down_sampling(
    law: Literal["block_mean", "bicubic"], n: int, size: int, scale: int, smooth: bool
) -> BlockMean | CubicDown:
    """The down-sampling operator of that law."""
    return BlockMean(n, size, scale, smooth) if law == "block_mean" else CubicDown(n, size, scale, smooth)
