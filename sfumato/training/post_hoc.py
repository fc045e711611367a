"""Post-hoc averages: how much of the past the deployed weights hold is chosen after training, not before it.

Two running averages of different lengths are kept, and snapshots of both on the way. Any other length is then a weighted
sum of these snapshots (Karras et al., 2024, Analyzing and improving the training dynamics of diffusion models, section 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from sfumato.config import Strict
from sfumato.errors import ConfigError
from sfumato.families.base import Family
from sfumato.training.averages import Average

SNAPSHOT = "snapshot"


def exponent(length: float) -> float:
    """gamma of the profile t^gamma whose standard deviation is `length` times the training.

    It is the positive root of (gamma + 1) = length^2 (gamma + 2)^2 (gamma + 3).

    Example:
        >>> round(exponent(0.05), 2), round(exponent(0.10), 2)
        (16.97, 6.94)
    """
    inverse = length**-2
    return float(max(np.roots([1.0, 7.0, 16.0 - inverse, 12.0 - inverse]).real))


def overlap(a: tuple[float, float], b: tuple[float, float]) -> float:
    """The integral of two profiles (gamma + 1) t^gamma / T^(gamma + 1) on [0, T]; each is given as (T, gamma)."""
    (end_a, gamma_a), (end_b, gamma_b) = sorted((a, b))
    # The earlier profile ends at end_a; past it the product is 0.
    return (gamma_a + 1) * (gamma_b + 1) / (gamma_a + gamma_b + 1) * (end_a / end_b) ** gamma_b / end_b


def shares(profiles: Sequence[tuple[float, float]], wanted: tuple[float, float]) -> np.ndarray:
    """The weights with which a sum of the profiles comes nearest to another one, in the mean square."""
    unit = max(end for end, _ in [*profiles, wanted])  # an overlap is per unit of time, so that numbers stay near 1
    scaled, target = [(end / unit, gamma) for end, gamma in profiles], (wanted[0] / unit, wanted[1])
    matrix = np.array([[overlap(a, b) for b in scaled] for a in scaled])
    return np.linalg.lstsq(matrix, np.array([overlap(a, target) for a in scaled]), rcond=1e-12)[0]


class PostHoc(Average):
    """Averages of two lengths with snapshots, from which any length between and a little beyond is made after training."""

    class Config(Strict):
        kind: Literal["post_hoc"] = "post_hoc"
        length: float = Field(default=0.1, gt=0.0, lt=0.25)
        """Standard deviation of the average that is deployed, as a share of the training; `average` takes another later."""
        tracks: tuple[float, float] = (0.05, 0.10)
        """The lengths that are kept."""
        snapshots: int = Field(default=8, ge=2)
        """Moments that are kept, at most; each holds the weights twice."""

    def __init__(self, config: Config, family: Family):
        self._gammas = [exponent(length) for length in config.tracks]
        self._other: dict[str, Tensor] = {}
        self._kept: dict[int, tuple[dict[str, Tensor], dict[str, Tensor]]] = {}
        self._interval, self._images = 0, 0
        super().__init__(config, family)

    @classmethod
    def words(cls, config: Any) -> str:
        return f"averages whose length was chosen after training (standard deviation {config.length:.0%} of it)"

    def decay(self, images: int, new: int) -> float:
        """(1 - new / images)^(gamma + 1) of the first track."""
        return self._fading(images, new, 0)

    def _fading(self, images: int, new: int, track: int) -> float:
        return float((1 - min(new / images, 1.0)) ** (self._gammas[track] + 1))

    @torch.no_grad()
    def update(self, images: int, new: int) -> None:
        """Both tracks, and a snapshot when one is due."""
        super().update(images, new)
        names = [name for name in self._averaged if name in self._other]
        pair = [self._other[name] for name in names], [self._live[name] for name in names]
        torch._foreach_lerp_(*pair, 1 - self._fading(images, new, 1))
        self._interval, self._images = self._interval or new, images
        if images >= max(self._kept, default=0) + self._interval:
            self._snap(images)
            if len(self._kept) > self.config.snapshots:  # every other one goes, and the next ones come half as often
                self._kept = {at: self._kept[at] for at in sorted(self._kept)[1::2]}
                self._interval *= 2

    def _snap(self, images: int) -> None:
        both = [
            {name: values[name].detach().cpu().clone() for name in self._averaged}
            for values in (self.values, self._other)
        ]
        self._kept[images] = both[0], both[1]

    def follow(self, family: Family) -> None:
        """As every average; snapshots of another structure are forgotten."""
        super().follow(family)
        known = set(self._other)
        self._other = {
            name: self._other[name] if name in known and self._other[name].shape == value.shape else value.clone()
            for name, value in self._live.items()
        }
        if known != set(self._other):
            self._kept, self._interval = {}, 0

    def start(self, names: Sequence[str] | None = None) -> None:
        """Begin both tracks anew."""
        super().start(names)
        for name in self._other if names is None else names:
            if name in self._other:
                self._other[name].copy_(self._live[name])

    def tensors(self) -> dict[str, Tensor]:
        """Both tracks and the snapshots."""
        state = {**self.values, **{f"other.{name}": value for name, value in self._other.items()}}
        state["clock"] = torch.tensor([self._interval, self._images], dtype=torch.int64)
        return state | self._snapshots()  # none is added here: when a checkpoint falls must change nothing

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Both tracks and the snapshots."""
        super().load(tensors)
        for name, value in self._other.items():
            value.copy_(tensors[f"other.{name}"])
        self._interval, self._images = tensors["clock"].tolist()
        self._kept = {}
        for name, value in tensors.items():
            if name.startswith(SNAPSHOT + "."):
                _, images, track, weight = name.split(".", 3)
                self._kept.setdefault(int(images), ({}, {}))[int(track)][weight] = value

    def kept(self) -> dict[str, Tensor]:
        """What a finished run keeps beside its weights: the snapshots, the last of them of its end."""
        if self._images and self._images not in self._kept:
            self._snap(self._images)
        return self._snapshots()

    def _snapshots(self) -> dict[str, Tensor]:
        return {
            f"{SNAPSHOT}.{images}.{track}.{name}": value
            for images, both in self._kept.items()
            for track, values in enumerate(both)
            for name, value in values.items()
        }

    def deployed(self) -> Mapping[str, Tensor]:
        """The average of the wanted length, of the snapshots; the first track itself before there are any."""
        made = average(self.kept(), self.config.tracks, self.config.length) if self._images else {}
        return {**self.values, **made}


def average(kept: Mapping[str, Tensor], tracks: tuple[float, float], length: float) -> dict[str, Tensor]:
    """The average of any length from the snapshots of a run.

    Raises: ConfigError: no snapshots, or a length that is not in (0, 0.25).
    """
    if not 0 < length < 0.25:
        raise ConfigError(f"a length of {length} is not in (0, 0.25), a share of the training; 0.05 and 0.1 are usual")
    groups: dict[tuple[int, int], dict[str, Tensor]] = {}
    for name, value in kept.items():
        _, images, track, weight = name.split(".", 3)
        groups.setdefault((int(images), int(track)), {})[weight] = value
    if not groups:
        raise ConfigError("this run has no snapshots; train it with budget.average = 'post_hoc'")
    gammas = [exponent(track) for track in tracks]
    profiles = [(float(images), gammas[track]) for images, track in groups]
    end = max(images for images, _ in groups)
    parts = shares(profiles, (float(end), exponent(length)))
    names = next(iter(groups.values()))
    return {
        name: sum(
            share * values[name].double() for share, values in zip(parts.tolist(), groups.values(), strict=True)
        ).float()
        for name in names
    }
