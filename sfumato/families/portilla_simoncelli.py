"""Portilla-Simoncelli: noise, moved until the joint statistics of its wavelets are those of a picture."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Generator, Tensor

from sfumato.errors import CapabilityError, ConfigError
from sfumato.families.heeger_bergen import principal
from sfumato.families.texture import Texture, TextureConfig, Watch, Wish
from sfumato.images import LEVEL, Images, Size
from sfumato.maths.periodic import periodic_component
from sfumato.maths.rectangles import largest_part

WIDEST = 7  # rows and columns of the shifts in autocorrelations, as in the paper
NARROW = 4  # rows and columns of the coarsest band at least
START = 0.1  # standard deviations of the noise at the start: what no statistic asks for stays small
FLAT = LEVEL**2 / 12  # the variance that rounding to levels has: a colour that varies less does not vary
SEEN = 10.0  # the weight of mean and variance, whose errors are seen at once and are two among hundreds
FINEST = 100.0  # the weight of the finest residual's variance, which is small and would else be missed


def statistics(size: Size, scales: int, orientations: int, width: int) -> Any:
    """The module of plenoptic that measures pictures of this size.

    Raises: CapabilityError: plenoptic is not installed.
    """
    try:
        from plenoptic.models import PortillaSimoncelli as Statistics
    except ImportError:
        raise CapabilityError("portilla_simoncelli needs plenoptic; pip install 'sfumato[portilla]'") from None
    return Statistics(size, n_scales=scales, n_orientations=orientations, spatial_corr_width=width)


def with_sums(y: Float[Tensor, "1 C h w"]) -> Float[Tensor, "1 D h w"]:
    """Channels, and the sums of any two: the autocorrelation of y_i + y_j holds C_ij(h) + C_ij(-h).

    Example:
        >>> with_sums(torch.tensor([1.0, 2.0, 4.0]).view(1, 3, 1, 1)).flatten().tolist()
        [1.0, 2.0, 4.0, 3.0, 5.0, 6.0]
    """
    sums = [y[:, i] + y[:, j] for i, j in combinations(range(y.shape[1]), 2)]
    return torch.cat([y, *(one[:, None] for one in sums)], 1)


def lowest(
    x: Float[Tensor, "1 C h w"],
    bounds: tuple[Float[Tensor, "C 1 1"], Float[Tensor, "C 1 1"]],
    loss: Callable[[Float[Tensor, "1 C h w"]], Float[Tensor, ""]],
    turns: int,
    watch: Watch,
) -> Float[Tensor, "1 C h w"]:
    """The picture between two bounds after so many turns of L-BFGS-B on a loss, from x; no weight moves, so SciPy may do it.

    Example:
        >>> from sfumato.families.texture import unwatched
        >>> bounds = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
        >>> start = torch.tensor([0.2, 0.7]).view(1, 1, 1, 2)
        >>> lowest(start, bounds, lambda x: (x - 2).square().sum(), 9, unwatched).flatten().tolist()
        [1.0, 1.0]
    """
    from scipy.optimize import minimize  # comes with plenoptic

    done = 0

    def told(flat: Any) -> tuple[float, Any]:
        with torch.enable_grad():
            at = torch.from_numpy(flat).view_as(x).to(x).requires_grad_()
            value = loss(at)
            (slope,) = torch.autograd.grad(value, at)
        return float(value.detach()), slope.double().flatten().cpu().numpy()

    def stepped(flat: Any) -> None:
        nonlocal done
        done += 1
        watch(min(done / turns, 1.0))

    limits = torch.stack([one.expand_as(x).flatten() for one in bounds], 1).double().cpu().numpy()
    start = x.clamp(*bounds).double().flatten().cpu().numpy()
    options = {"maxiter": turns, "maxfun": 2 * turns + 10, "maxcor": 20, "ftol": 0.0, "gtol": 0.0}
    found = minimize(told, start, jac=True, method="L-BFGS-B", bounds=limits, callback=stepped, options=options)
    return torch.from_numpy(found.x).view_as(x).to(x)


class PortillaSimoncelli(Texture):
    """argmin_x sum_i w_i^2 (S_i(x) - S_i(u))^2, by L-BFGS from white noise: S are statistics of a complex steerable pyramid.

    Moments of pixels, autocorrelations at each scale and of the bands' magnitudes, and correlations of magnitudes and phases
    over orientations and scales: where the bands meet, which Heeger and Bergen leave open. Of what is finer than all bands
    only the variance is known, so the sharpest edges become grain. Colours are turned to their principal axes, each with
    variance 1; their statistics and those of the sums of any two count. The statistics are those of plenoptic, which is
    needed (`sfumato[portilla]`), on a torus; the exemplar's are of its periodic component, whose sides are cut to multiples
    of 2^scales. What is synthesised has such sides too, and is cut: where it has to meet itself, they must be asked for.
    Of several exemplars, and of what a mask leaves, the largest rectangle counts.
    References: Portilla and Simoncelli (2000), A parametric texture model based on joint statistics of complex wavelet
    coefficients, who project in turn on each statistic; Duong et al. (2023), Plenoptic.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> model = PortillaSimoncelli(PortillaSimoncelli.Config(), DataSpec(channels=1, size=(64, 64)))
        >>> model.measured((64, 80))
        (3, 7)
    """

    class Config(TextureConfig):
        kind: Literal["portilla_simoncelli"] = "portilla_simoncelli"
        scales: int = Field(default=4, ge=1, le=8)
        """Scales of the pyramid, each half as large as the one before; fewer where the exemplar is small."""
        orientations: int = Field(default=4, ge=2, le=8)
        """Directions in which a scale is looked at."""
        turns: int = Field(default=100, ge=1, le=100_000)
        """Turns of the descent."""

    random = False
    smallest = 2 * NARROW
    wraps = True

    def measured(self, size: Size) -> tuple[int, int]:
        """How many scales an exemplar of this size has, and how wide its autocorrelations are, which must fit the coarsest.

        Raises: ConfigError: it has none.
        """
        if min(size) < self.smallest:
            raise ConfigError(
                f"the mask leaves {size[0]} x {size[1]}; the statistics need {self.smallest} x {self.smallest}"
            )
        scales = max(s for s in range(1, self.config.scales + 1) if s == 1 or min(size) >> s >= WIDEST)
        return scales, min(WIDEST, ((min(size) >> scales) - 2) // 2 * 2 + 1)

    def make(self, wish: Wish, rng: Generator) -> Images:
        """Noise, moved."""
        u = largest_part(self.exemplars, self.known)
        scales, width = self.measured((u.shape[1], u.shape[2]))
        grain = 1 << scales
        # plenoptic leaves out one of an odd number of columns, so that the coarsest side has to be wider than what it looks at
        canvas = tuple(max(-(-length // grain), width + 1, NARROW) * grain for length in wish.size)
        if wish.periodic and canvas != wish.size:
            raise CapabilityError(
                f"a picture that meets itself at its borders needs sides that are multiples of {grain} here, and large "
                f"enough; {canvas[1]} x {canvas[0]} is near to {wish.size[1]} x {wish.size[0]}"
            )
        u = u[:, : u.shape[1] // grain * grain, : u.shape[2] // grain * grain]
        mean, axes = principal(u)
        y = torch.einsum("ij,ihw->jhw", axes, u - mean[:, None, None])
        spread = y.flatten(1).var(1, correction=0)
        axes, y, spread = axes[:, spread > FLAT], y[spread > FLAT], spread[spread > FLAT].sqrt()[:, None, None]
        x = START * torch.randn(1, len(y), *canvas, generator=rng, device=rng.device)
        if len(y):
            y = y / spread
            bounds = y.amin((1, 2), keepdim=True), y.amax((1, 2), keepdim=True)
            loss = self._loss(periodic_component(y)[None], (canvas[0], canvas[1]), scales, width)
            x = lowest(x, bounds, loss, self.config.turns, wish.watch)
        colours = torch.einsum("ij,jhw->ihw", axes, x[0] * spread) + mean[:, None, None]
        return colours[None, :, : wish.size[0], : wish.size[1]]

    def _loss(
        self, y: Float[Tensor, "1 C a b"], size: Size, scales: int, width: int
    ) -> Callable[[Float[Tensor, "1 C h w"]], Float[Tensor, ""]]:
        """The weighted squared error of the statistics; extremes do not count, nor what the exemplar leaves undefined."""
        told = scales, self.config.orientations, width
        wanted = statistics((y.shape[2], y.shape[3]), *told).to(y.device)(with_sums(y)).detach()
        model = statistics(size, *told).to(y.device)
        groups = model.convert_to_dict(wanted.isfinite().to(wanted.dtype))
        groups["pixel_statistics"][..., :2] *= SEEN
        groups["pixel_statistics"][..., 4:] = 0.0  # minimum and maximum: they are the bounds of x
        groups["var_highpass_residual"] *= FINEST
        weights, wanted = model.convert_to_tensor(groups), wanted.nan_to_num()
        return lambda x: (weights * (model(with_sums(x)) - wanted)).square().sum()
