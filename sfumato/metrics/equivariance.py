"""EQ-T: whether a generator that is told to move its image moves all of it, details too, or leaves some on the pixels."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from sfumato.config import Strict
from sfumato.data.base import Split
from sfumato.errors import ShapeError
from sfumato.families.abilities import Moves
from sfumato.images import Images, Pixels, Size
from sfumato.metrics.base import Metric, Score
from sfumato.networks.condition import Condition
from sfumato.streams import stream
from sfumato.tasks.base import Observation

FARTHEST, REPLICATES = 1 / 8, 200  # share of a side that an image is moved, at most; bootstrap replicates over images


class Equivariance(Metric):
    """10 log10(4 / mean (G(z moved by t) - G(z) moved by t)^2), images in [-1, 1]; t whole pixels, up to an eighth of a side.

    The mean is over images, moves and those pixels that were inside before. A family that cannot be told to move says nothing,
    as in the paper; nor does one of images of fewer than 8 pixels.
    Reference: Karras et al. (2021), Alias-free generative adversarial networks, section E.3 (EQ-T).
    """

    class Config(Strict):
        kind: Literal["equivariance"] = "equivariance"
        images: int = Field(default=500, ge=2)
        """Latent vectors, each with one move; the paper has 50,000."""

    config: Config
    better: ClassVar[Literal["lower", "higher"]] = "higher"
    paired: ClassVar[bool] = False
    unit: ClassVar[str] = "dB"
    needs: ClassVar[type | None] = Moves

    @property
    def label(self) -> str:
        """EQ-T."""
        return "EQ-T"

    def update(self, made: Pixels, true: Pixels, observation: Observation) -> None:
        """Made images do not tell how they move."""

    def compute(self) -> Score:
        """Raises: ShapeError: always; this figure is of a family, not of images."""
        raise ShapeError("equivariance is measured on a family, not on images; nothing was taken in")

    def applies(self, observation: Observation) -> bool:
        return False

    @torch.no_grad()
    def measure_model(self, family: Any, split: Split, *, seed: int, batch: int) -> list[Score]:
        """Over latent vectors and moves of the seed's own streams."""
        movable = isinstance(family, Moves) and family.moves and not family.spec.condition  # type: ignore[attr-defined]
        if not movable or max(family.spec.size) * FARTHEST < 1:
            return []
        sums = torch.zeros(2, self.config.images, dtype=torch.float64)
        for i in range(self.config.images):
            rng = stream(seed, "equivariance", i, device=family.device)
            z = family.latent(1, rng)
            label = family.untold(1, rng) if family.labelled else None
            rows, columns = self.move(family.spec.size, rng)
            told = Condition(label=label)
            error, inside = apart(family.decode(z, told), family.moved(z, told, (rows, columns)), (rows, columns))
            sums[:, i] = torch.stack([error[:, :, inside].double().square().sum(), inside.sum() * error.shape[1]]).cpu()
        draws = torch.randint(len(sums[0]), (REPLICATES, len(sums[0])), generator=stream(seed, "bootstrap"))
        samples = decibels(*sums[:, draws].sum(2))
        low, high = (float(samples.quantile(q)) for q in (0.025, 0.975))
        card = {
            "what": "EQ-T: peak signal-to-noise ratio of moved draws to draws of what was moved",
            "moves": "whole pixels, up to an eighth of a side",
            "interval": f"bootstrap over images, {REPLICATES} replicates",
        }
        return [
            Score(
                label=self.label,
                value=float(decibels(*sums.sum(1))),
                low=low,
                high=high,
                n=self.config.images,
                better=self.better,
                unit=self.unit,
                samples=samples.tolist(),
                resampled="replicates",
                card=card,
            )
        ]

    def move(self, size: Size, rng: Any) -> Size:
        """Rows and columns, uniform up to an eighth of each side and rounded; drawn again where nothing moves."""
        while True:
            share = (2 * torch.rand(2, generator=rng, device=rng.device) - 1).tolist()
            by = round(share[0] * FARTHEST * size[0]), round(share[1] * FARTHEST * size[1])
            if any(by):
                return by


def apart(rest: Images, moved: Images, by: Size) -> tuple[Images, Bool[Tensor, "H W"]]:
    """moved - rest rolled by so many rows and columns, and which pixels did not come from the other side.

    Example:
        >>> x = torch.arange(4.0).view(1, 1, 1, 4)
        >>> error, inside = apart(x, torch.tensor([9.0, 0.0, 1.0, 2.0]).view(1, 1, 1, 4), (0, 1))
        >>> error[:, :, inside].tolist(), inside.tolist()
        ([[[0.0, 0.0, 0.0]]], [[False, True, True, True]])
    """
    rows, columns = rest.shape[2:]
    from_row = torch.arange(rows, device=rest.device) - by[0]
    from_column = torch.arange(columns, device=rest.device) - by[1]
    here = ((from_row >= 0) & (from_row < rows))[:, None] & ((from_column >= 0) & (from_column < columns))[None]
    return moved - rest.roll(by, (2, 3)), here


def decibels(square: Float[Tensor, " n"], count: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """10 log10(2^2 / mean square)."""
    return 10 * torch.log10(4 * count / square.clamp(min=1e-12))
