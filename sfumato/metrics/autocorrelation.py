"""Autocorrelation: whether a made texture has the exemplar's covariance between pixels a small step apart."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float64, Shaped
from pydantic import Field
from torch import Tensor

from sfumato.config import Strict
from sfumato.errors import ShapeError
from sfumato.images import Pixels
from sfumato.metrics.base import PairedMetric
from sfumato.tasks.base import Observation

SHARE = 4  # lags reach to a quarter of the shortest side: at least 9/16 of the pixels then have a partner


def autocovariance(image: Shaped[Tensor, "C H W"], lag: int) -> Float64[Tensor, "C 2L+1 2L+1"]:
    """A_c(dy, dx) = sum_(y, x) z_c(y, x) z_c(y + dy, x + dx) / ((H - |dy|)(W - |dx|)), with z = image - channel mean.

    For |dy| and |dx| up to L, dy = dx = 0 in the middle, in squared levels. Only pairs inside the image are summed, and the
    sum is divided by their number, so that a far lag is not shrunk and nothing is wrapped around. By FFT of the image
    padded with L zeros, which is as many as lags up to L can reach.

    Raises: ShapeError: not one image C x H x W of more than L rows and columns.

    Example:
        >>> autocovariance(torch.tensor([[[0.0, 2.0], [2.0, 0.0]]]), 1).round(decimals=9).tolist()
        [[[1.0, -1.0, 1.0], [-1.0, 1.0, -1.0], [1.0, -1.0, 1.0]]]
    """
    if image.ndim != 3 or not 0 <= lag < min(image.shape[1:]):
        shape = " x ".join(str(n) for n in image.shape)
        raise ShapeError(f"an image of {shape} (channels x rows x columns) has no lag {lag}; take one below its sides")
    x = image.double()
    rows, columns = x.shape[1:]
    padded = (rows + lag, columns + lag)
    spectrum = torch.fft.rfft2(x - x.mean((1, 2), keepdim=True), s=padded)
    sums = torch.fft.irfft2(spectrum.abs().square(), s=padded)
    step = torch.arange(-lag, lag + 1, device=x.device)
    pairs = (rows - step.abs())[:, None] * (columns - step.abs())[None]
    return sums[:, step][:, :, step] / pairs  # a negative index counts from the end, where the FFT keeps negative lags


class Autocorrelation(PairedMetric):
    """|A(made) - A(true)| / |A(true)|, with A each channel's autocovariance at lags up to a quarter of the shorter side.

    0 where every covariance of two pixels at most L rows and columns apart is the exemplar's; 1 for a flat image; no upper
    end. Each image is centred by its own channel means, so that brightness and colour, which are first-order statistics,
    are not seen: a constant added to a channel changes nothing. Nor are covariances between channels. The norm is over
    channels and lags; the variance, lag 0, is one of them. NaN (undefined, counted on the card) where the true image is
    constant in every channel, since it has no autocovariance to relate to.

    Images may differ in size; L follows the smaller one and is on the card. Values depend on L: compare at one. Far lags
    of a finite image are mostly noise, so another sample of the exemplar's own law is not at 0: two white noises are at
    about 0.7 with the default L, whatever their size, and nearer to 0 with a smaller `lag`.

    Raises: ShapeError: a `lag` that the images are too small for.
    References: Lewis (1984), Texture synthesis for digital painting; Galerne, Gousseau and Morel (2011), Random phase
    textures: theory and synthesis, for textures that this determines, up to their mean.
    """

    class Config(Strict):
        kind: Literal["autocorrelation"] = "autocorrelation"
        lag: int | None = Field(default=None, ge=0)
        """The largest lag L in pixels, along rows and columns; without it, a quarter of the shortest side of both images."""

    better: ClassVar[Literal["lower", "higher"]] = "lower"
    span = (0.0, None)
    unit: ClassVar[str] = "of the exemplar's"
    same_size: ClassVar[bool] = False

    def __init__(self, config: Config):
        super().__init__(config)
        self._lag = config.lag

    @property
    def label(self) -> str:
        """Autocorrelation, whatever the lags."""
        return "Autocorrelation"

    def about(self) -> dict[str, Any]:
        """The largest lag; of the last batch, where sizes vary."""
        return {"largest_lag": self._lag, "centred": "each image by its own channel means"}

    def values(self, made: Pixels, true: Pixels, observation: Observation) -> Float64[Tensor, " B"]:
        """One an image; NaN where the true one is constant in every channel."""
        lag = self.config.lag
        self._lag = lag = min(*made.shape[2:], *true.shape[2:]) // SHARE if lag is None else lag
        found = []
        for one, other in zip(made, true, strict=True):  # one by one: no other image of the batch can change a bit
            wanted = autocovariance(other, lag)
            size = wanted.square().sum().sqrt()
            gap = (autocovariance(one, lag) - wanted).square().sum().sqrt()
            found.append(float(gap / size) if size > 0 else torch.nan)
        return torch.tensor(found, dtype=torch.float64)
