"""SSIM: structural similarity (Wang et al., 2004) with the paper's Gaussian window."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float64
from torch import Tensor

from sfumato.images import PEAK, Pixels
from sfumato.metrics.base import PairedMetric, RegionConfig, region_mean
from sfumato.tasks.base import Observation

SIGMA, RADIUS = 1.5, 5  # an 11 x 11 window, cut at 3.5 sigma
K1, K2 = 0.01, 0.03


def gaussian_window() -> Float64[Tensor, " k"]:
    """exp(-i^2 / 2 sigma^2) for i = -5..5, summing to 1."""
    place = torch.arange(-RADIUS, RADIUS + 1, dtype=torch.float64)
    window = torch.exp(-0.5 * (place / SIGMA) ** 2)
    return window / window.sum()


def mirrored(size: int) -> Tensor:
    """Places -5..size+4 reflected into 0..size-1 with the border repeated (d c b a | a b c d | d c b a)."""
    place = torch.arange(-RADIUS, size + RADIUS) % (2 * size)
    return torch.where(place < size, place, 2 * size - 1 - place)


def smooth(x: Float64[Tensor, "B C H W"]) -> Float64[Tensor, "B C H W"]:
    """x blurred by the window, borders mirrored, size kept."""
    channels, window = x.shape[1], gaussian_window().to(x.device)
    x = x[:, :, mirrored(x.shape[2])][:, :, :, mirrored(x.shape[3])]
    column, row = (window.view(shape).expand(channels, 1, -1, -1) for shape in ((1, 1, -1, 1), (1, 1, 1, -1)))
    column, row = column.reshape(channels, 1, -1, 1), row.reshape(channels, 1, 1, -1)
    return F.conv2d(F.conv2d(x, column, groups=channels), row, groups=channels)


def ssim_map(made: Pixels, true: Pixels) -> Float64[Tensor, "B C H W"]:
    """(2 m1 m2 + c1)(2 s12 + c2) / ((m1^2 + m2^2 + c1)(s1^2 + s2^2 + c2)) around each pixel, each channel on its own.

    c1 = (0.01 255)^2, c2 = (0.03 255)^2; variances are population ones. Equal to scikit-image's `structural_similarity` with
    gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, full=True.
    Reference: Wang, Bovik, Sheikh and Simoncelli (2004), Image quality assessment: from error visibility to structural
    similarity.
    """
    x, y = made.double(), true.double()
    m_x, m_y = smooth(x), smooth(y)
    v_x, v_y = smooth(x * x) - m_x**2, smooth(y * y) - m_y**2
    v_xy = smooth(x * y) - m_x * m_y
    c_1, c_2 = (K1 * PEAK) ** 2, (K2 * PEAK) ** 2
    return ((2 * m_x * m_y + c_1) * (2 * v_xy + c_2)) / ((m_x**2 + m_y**2 + c_1) * (v_x + v_y + c_2))


class SSIM(PairedMetric):
    """Mean structural similarity, Gaussian window of sigma 1.5, over the pixels of the region."""

    class Config(RegionConfig):
        kind: Literal["ssim"] = "ssim"

    better: ClassVar[Literal["lower", "higher"]] = "higher"
    span = (-1.0, 1.0)
    unit: ClassVar[str] = "of 1"

    @property
    def label(self) -> str:
        """SSIM, SSIM (whole) or SSIM (ring)."""
        return self.named("SSIM")

    def values(self, made: Pixels, true: Pixels, observation: Observation) -> Float64[Tensor, " B"]:
        """One an image."""
        return region_mean(ssim_map(made, true), self.weight(observation))
