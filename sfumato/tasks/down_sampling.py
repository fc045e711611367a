"""Down-sampling operators: block means and an antialiased cubic, each with its exact pseudo-inverse."""

from __future__ import annotations

from abc import ABC
from functools import lru_cache
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.errors import CapabilityError
from sfumato.images import Images, Size
from sfumato.maths.regions import Box
from sfumato.maths.resample import cubic_matrix
from sfumato.tasks.base import Measurement, Operator
from sfumato.tasks.operators import Same


class DownSampling(Same, ABC):
    """y is `scale` times smaller; `smooth` shows it enlarged bilinearly (paper 000, section 3.3) instead of by A+."""

    shrinks: ClassVar[bool] = True

    def __init__(self, n: int, size: Size, scale: int, smooth: bool = True, device: str | torch.device = "cpu"):
        super().__init__(n, size, device)
        self.scale, self.smooth = scale, smooth

    def again(self, n: int, size: Size, device: str | torch.device) -> Operator:
        return type(self)(n, size, self.scale, self.smooth, device)

    def preview(self, y: Measurement) -> Images:
        """y enlarged bilinearly, or by A+ where `smooth` is off."""
        return F.interpolate(y, size=self.size, mode="bilinear") if self.smooth else self.pinv(y)


class BlockMean(DownSampling):
    """A x = the mean of each scale x scale block; A+ repeats a value over its block."""

    def forward(self, x: Images) -> Measurement:
        """Means of blocks."""
        return F.avg_pool2d(x, self.scale)

    def pinv(self, y: Measurement) -> Images:
        """Each value repeated over its block."""
        return y.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)

    def adjoint(self, y: Measurement) -> Images:
        return y.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3) / self.scale**2

    def crop(self, window: Box) -> Operator:
        if any(number % self.scale for number in window):
            raise CapabilityError(
                f"a window of blocks begins and ends at multiples of {self.scale}; got {tuple(window)}"
            )
        return self.again(self.n, window[2:], self.known.device)


@lru_cache
def _cubic_pair(side: int, scale: int) -> tuple[Tensor, Tensor]:
    """D and its pseudo-inverse, computed once in float64."""
    matrix = cubic_matrix(side, side // scale)
    return matrix, torch.linalg.pinv(matrix)


@lru_cache
def _placed(side: int, scale: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """D and D+ in float32 on a device, sent there once."""
    down, up = _cubic_pair(side, scale)
    return down.to(device, torch.float32), up.to(device, torch.float32)


class CubicDown(DownSampling):
    """A x = D x E^T, with D and E the antialiased cubic (a = -1/2) filters that shrink rows and columns by `scale`."""

    def _matrices(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rows, columns = self.size
        return *_placed(rows, self.scale, self.known.device), *_placed(columns, self.scale, self.known.device)

    def forward(self, x: Images) -> Measurement:
        """The small image."""
        down, _, across, _ = self._matrices()
        return down @ x @ across.T

    def pinv(self, y: Measurement) -> Images:
        """D+ y E+^T, the smallest image whose small version is y."""
        _, up, _, back = self._matrices()
        return up @ y @ back.T

    def adjoint(self, y: Measurement) -> Images:
        down, _, across, _ = self._matrices()
        return down.T @ y @ across
