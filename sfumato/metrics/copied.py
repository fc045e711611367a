"""Copied: how much of a made texture is the exemplar itself, put elsewhere, and where each part of it came from."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float64, Int64, UInt8
from pydantic import Field
from torch import Tensor

from sfumato.config import Strict
from sfumato.images import PEAK, Pixels
from sfumato.maths.patches import count, patches
from sfumato.maths.transport import cell
from sfumato.metrics.base import PairedMetric
from sfumato.tasks.base import Observation

COMPARED = 24  # principal components that candidates are looked for by


class Provenance(NamedTuple):
    """For each window of a made picture: the exemplar's window that is most like it, and whether it is it."""

    row: Int64[Tensor, "h w"]
    column: Int64[Tensor, "h w"]
    same: Bool[Tensor, "h w"]


def provenance(made: UInt8[Tensor, "C H W"], true: UInt8[Tensor, "C h w"], side: int, off: float) -> Provenance:
    """Where each side x side window comes from; it is the same where no value differs by more than `off` levels in the RMS.

    The likest window is looked for by the exemplar's first principal components, in which a copy is at distance 0 too.
    """
    x, y = patches(made.float(), side), patches(true.float(), side)
    mean = y.mean(0)
    apart = y - mean
    basis = torch.linalg.eigh(apart.T @ apart)[1][:, -COMPARED:]
    keys, queries = apart @ basis, (x - mean) @ basis
    found = cell(queries, keys)
    same = torch.cat(
        [(a - y[b]).square().mean(1) <= off**2 for a, b in zip(x.split(4096), found.split(4096), strict=True)]
    )
    grid, across = count(made, side), count(true, side)[1]
    return Provenance((found // across).view(grid), (found % across).view(grid), same.view(grid))


def closeness(true: UInt8[Tensor, "C H W"]) -> float:
    """How much a copy may differ, in levels: a twentieth of the exemplar's standard deviation, and at least one."""
    return max(float(true.float().std()) / 20, 1.0)


def shown(found: Provenance, true: UInt8[Tensor, "C h w"]) -> UInt8[Tensor, "3 a b"]:
    """The map of where windows came from: red is the row, green the column; darker where it is no copy."""
    rows, columns = true.shape[1:]
    place = torch.stack(
        [found.row / max(rows - 1, 1), found.column / max(columns - 1, 1), torch.full(found.row.shape, 0.5)]
    )
    return (PEAK * place * torch.where(found.same, 1.0, 0.35)).round().to(torch.uint8)


class Copied(PairedMetric):
    """The share of windows that stand in the exemplar as they are: |x - y|_RMS <= off, with y the likest window.

    1 for what is cut out of the exemplar and pasted (quilting, but for its seams), near 0 for what is new. A window of a
    plain part, as of sky, is the same as another without being copied; `off` is a twentieth of the exemplar's
    standard deviation, and at least a level, so compare with another piece of the same texture. A method that copies over
    half is shown and not ranked: the exemplar itself would be ahead in all that compares laws.
    """

    class Config(Strict):
        kind: Literal["copied"] = "copied"
        window: int = Field(default=8, ge=1, le=64)
        """Rows and columns of a window."""

    truth_is_best: ClassVar[bool] = False
    limit: ClassVar[float | None] = 0.5
    better: ClassVar[Literal["lower", "higher"]] = "lower"
    span = (0.0, 1.0)
    unit: ClassVar[str] = "of the windows"
    same_size: ClassVar[bool] = False

    @property
    def label(self) -> str:
        """Copied."""
        return "Copied"

    def about(self) -> dict[str, Any]:
        """The window."""
        return {
            "window": self.config.window,
            "same": "RMS of at most a twentieth of the exemplar's deviation, or 1 level",
        }

    def values(self, made: Pixels, true: Pixels, observation: Observation) -> Float64[Tensor, " B"]:
        """One an image."""
        shares = []
        for one, other in zip(made.cpu(), true.cpu(), strict=True):
            shares.append(float(provenance(one, other, self.config.window, closeness(other)).same.float().mean()))
        return torch.tensor(shares, dtype=torch.float64)
