"""MS-SSIM: structural similarity at up to five scales (Wang, Simoncelli and Bovik, 2003)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float64
from torch import Tensor

from sfumato.config import Strict
from sfumato.images import PEAK, Pixels
from sfumato.metrics.base import PairedMetric, RegionConfig, region_mean
from sfumato.metrics.ssim import K1, K2, RADIUS, smooth
from sfumato.tasks.base import Observation

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # from fine to coarse, as people judged them in the paper
WINDOW = 2 * RADIUS + 1


def scales(height: int, width: int) -> int:
    """The largest M of 1..5 with 11 2^(M - 1) <= min(height, width); 1 for images below the window.

    Example:
        >>> scales(176, 500), scales(175, 500), scales(32, 32), scales(8, 8)
        (5, 4, 2, 1)
    """
    fitting = [m for m in range(1, len(WEIGHTS) + 1) if WINDOW * 2 ** (m - 1) <= min(height, width)]
    return max(fitting, default=1)


def exponents(count: int) -> list[float]:
    """The paper's w_j; where there are fewer than five scales, the first ones over their sum."""
    first = list(WEIGHTS[:count])
    return first if count == len(WEIGHTS) else [w / sum(first) for w in first]


def halved(x: Float64[Tensor, "B C H W"]) -> Float64[Tensor, "B C h w"]:
    """Means of 2 x 2 pixels, h = ceil(H / 2); an odd last row is a mean of what there is, so that no pixel is lost."""
    return F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)


def maps(made: Pixels, true: Pixels) -> Iterator[tuple[Float64[Tensor, "B C h w"], Float64[Tensor, "B C h w"]]]:
    """cs = (2 s12 + c2) / (s1^2 + s2^2 + c2) and l cs, l = (2 m1 m2 + c1) / (m1^2 + m2^2 + c1), from fine to coarse.

    l cs at the first scale is `ssim_map`.
    """
    x, y = made.double(), true.double()
    c_1, c_2 = (K1 * PEAK) ** 2, (K2 * PEAK) ** 2
    for scale in range(scales(*made.shape[2:])):
        if scale:
            x, y = halved(x), halved(y)
        m_x, m_y = smooth(x), smooth(y)
        v_x, v_y = smooth(x * x) - m_x**2, smooth(y * y) - m_y**2
        contrast = (2 * (smooth(x * y) - m_x * m_y) + c_2) / (v_x + v_y + c_2)
        yield contrast, contrast * (2 * m_x * m_y + c_1) / (m_x**2 + m_y**2 + c_1)


def ms_ssim(made: Pixels, true: Pixels, weight: Float64[Tensor, "B 1 H W"]) -> Float64[Tensor, " B"]:
    """prod_{j<M} mean(cs_j)^(w_j) * mean(l_M cs_M)^(w_M) over the weighted pixels, one number an image, 0 to 1.

    Scale j + 1 is scale j after 2 x 2 means, and so are the weights: a coarse pixel counts as much as it has pixels of the
    region. Means are over places and channels. A negative mean, whose root would not be a real number, counts as 0, as
    everywhere. Below 176 rows or columns there are fewer scales, with w over its sum; one scale is SSIM, cut at 0.
    Borders are mirrored as in `ssim_map`, where others leave out the 5 outer pixels of each scale.
    Reference: Wang, Simoncelli and Bovik (2003), Multiscale structural similarity for image quality assessment.

    Example:
        >>> a = torch.arange(1024).remainder(251).view(1, 1, 32, 32).byte()
        >>> round(float(ms_ssim(a, a, torch.ones(1, 1, 32, 32).double())), 9)
        1.0
    """
    levels = list(maps(made, true))
    value = torch.ones(len(made), dtype=torch.float64, device=made.device)
    for j, (w, (contrast, both)) in enumerate(zip(exponents(len(levels)), levels, strict=True), start=1):
        mean = region_mean(both if j == len(levels) else contrast, weight)
        value = value * mean.clamp(min=0.0) ** w
        weight = halved(weight)
    return value


class MSSSIM(PairedMetric):
    """prod_{j<M} mean(cs_j)^(w_j) mean(l_M cs_M)^(w_M) over M <= 5 scales, each half the one before; see `ms_ssim`."""

    class Config(RegionConfig):
        kind: Literal["ms_ssim"] = "ms_ssim"

    better: ClassVar[Literal["lower", "higher"]] = "higher"
    span = (-1.0, 1.0)
    unit: ClassVar[str] = "of 1"

    def __init__(self, config: Strict):
        super().__init__(config)
        self._sizes: set[tuple[int, int]] = set()

    @property
    def label(self) -> str:
        """MS-SSIM, MS-SSIM (whole) or MS-SSIM (ring)."""
        return self.named("MS-SSIM")

    def values(self, made: Pixels, true: Pixels, observation: Observation) -> Float64[Tensor, " B"]:
        """One an image."""
        self._sizes.add((made.shape[2], made.shape[3]))
        return ms_ssim(made, true, self.weight(observation))

    def about(self) -> dict[str, Any]:
        """How many scales there were, and a warning where they are not all five."""
        counts = sorted({scales(*size) for size in self._sizes})
        card: dict[str, Any] = {"scales": counts, "exponents": [exponents(count) for count in counts]}
        if counts[0] < len(WEIGHTS):
            least = WINDOW * 2 ** (len(WEIGHTS) - 1)
            fewest = f"images below {least} x {least} pixels have fewer scales, here {counts[0]} of {len(WEIGHTS)}"
            card["warnings"] = [f"{fewest}; comparable only with figures of as many"]
        return card
