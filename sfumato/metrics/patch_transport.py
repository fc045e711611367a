"""Patch transport: how far the patches of a made texture have to be moved, at several scales, to become the exemplar's."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Float64, Int64
from pydantic import Field
from torch import Tensor

from sfumato.config import Strict
from sfumato.errors import ShapeError
from sfumato.images import Pixels
from sfumato.maths.assignment import assigned, solver
from sfumato.maths.patches import count, depth, patches, pyramid
from sfumato.metrics.base import PairedMetric
from sfumato.streams import stream
from sfumato.tasks.base import Observation

COARSEST = 4  # the coarsest scale is at least this many patches wide


def transport(made: Float[Tensor, "n d"], true: Float[Tensor, "n d"]) -> float:
    """min over permutations s of 1 / (n d) sum_i |x_i - y_s(i)|^2: W_2^2 between two sets of n vectors, divided by d.

    Exact: between two uniform laws on n points an optimal plan is a permutation (Birkhoff). The cost matrix has n^2 float64.
    Squared distances are |x|^2 + |y|^2 - 2 x.y, without rounding where the values are levels or their means over 2 x 2.

    Raises: ShapeError: not two sets of the same size and width, or they are empty. CapabilityError: SciPy is not installed.

    Example:
        >>> transport(torch.tensor([[0.0], [10.0]]), torch.tensor([[11.0], [1.0]]))
        1.0
    """
    if made.shape != true.shape or made.ndim != 2 or made.numel() == 0:
        raise ShapeError(
            f"two sets of equally many vectors are needed; got {tuple(made.shape)} and {tuple(true.shape)}"
        )
    x, y = made.double().cpu(), true.double().cpu()
    cost = (x.square().sum(1)[:, None] + y.square().sum(1)[None] - 2 * x @ y.T).clamp(min=0)
    return float(cost[torch.arange(len(x)), assigned(cost)].mean()) / x.shape[1]


def places(rows: int, columns: int, limit: int, scale: int) -> Int64[Tensor, " k"]:
    """min(rows x columns, limit) different places, drawn by a stream that knows only these numbers.

    So two images of one size are looked at in the same places, and an image is at distance 0 from itself.
    """
    return torch.randperm(rows * columns, generator=stream(0, "patches", scale, rows, columns))[:limit]


class PatchTransport(PairedMetric):
    """Mean squared level difference of patches after their best matching, W_2^2 / (C w^2), mean over scales.

    1/S sum_s W_2^2(P_s(made), P_s(true)) / (C w^2), with P_s the uniform law on w x w patches after s - 1 means over 2 x 2
    pixels. In squared levels a value, like MSE, of which it is the part that no rearrangement of patches can remove; 0 to
    255^2. It sees colours, contrast and structure up to w 2^(S-1) pixels, and no places: of a texture, any other
    piece may score near 0.

    At most `patches` of each image are looked at, equally many of both, in the same places where the sizes agree. So a
    finite sample of the true law is not at 0 but at a floor that falls slowly with `patches`: compare methods, at one
    setting and size. Images may differ in size. SciPy is needed (`sfumato[textures]`).

    Raises: CapabilityError: SciPy is missing. ShapeError: an image is smaller than a patch.
    References: Leclaire and Rabin (2021), A stochastic multi-layer algorithm for semi-discrete optimal transport with
    applications to texture synthesis and style transfer; Houdard, Leclaire, Papadakis and Rabin (2021), Wasserstein
    generative models for patch-based texture synthesis, whose scales are Gaussian-filtered.
    """

    class Config(Strict):
        kind: Literal["patch_transport"] = "patch_transport"
        patch: int = Field(default=4, ge=1, le=64)
        """Rows and columns of a patch; at scale s it covers 2^(s-1) times as many pixels."""
        patches: int = Field(default=1000, ge=1, le=5000)
        """Patches of each image and scale at most; memory rises with their square, time up to their cube."""
        scales: int | None = Field(default=None, ge=1)
        """Scales at most; without it, as many as keep both images 4 patches wide."""

    better: ClassVar[Literal["lower", "higher"]] = "lower"
    span = (0.0, None)
    unit: ClassVar[str] = "levels squared"
    same_size: ClassVar[bool] = False

    def __init__(self, config: Config):
        super().__init__(config)
        self._scales = 0

    @property
    def label(self) -> str:
        """Patch transport, with the side of a patch."""
        return f"Patch transport ({self.config.patch} x {self.config.patch})"

    def about(self) -> dict[str, Any]:
        """The settings, and how many scales there were; of the last batch, where sizes vary."""
        return {
            "patch": self.config.patch,
            "patches_at_most": self.config.patches,
            "places": "drawn without replacement, the same where sizes agree",
            "scales": self._scales,
            "pyramid": "means over 2 x 2",
        }

    def prepare(self, device: torch.device) -> None:
        solver()

    def values(self, made: Pixels, true: Pixels, observation: Observation) -> Float64[Tensor, " B"]:
        """One an image."""
        width = self.config.patch
        scales = depth(min(*made.shape[2:], *true.shape[2:]), COARSEST * width)
        self._scales = scales = min(scales, self.config.scales or scales)
        found = []
        for one, other in zip(made.double().cpu(), true.double().cpu(), strict=True):
            levels = zip(pyramid(one, scales), pyramid(other, scales), strict=True)
            found.append(sum(self._at(s, m, t) for s, (m, t) in enumerate(levels)) / scales)
        return torch.tensor(found, dtype=torch.float64)

    def _at(self, scale: int, made: Float64[Tensor, "C h w"], true: Float64[Tensor, "C H W"]) -> float:
        width = self.config.patch
        grids = [count(image, width) for image in (made, true)]
        limit = min(self.config.patches, *(rows * columns for rows, columns in grids))
        drawn = [places(*grid, limit, scale) for grid in grids]
        return transport(patches(made, width, drawn[0]), patches(true, width, drawn[1]))
