"""The Frechet distance on features: FID when they are the 2015 Inception graph's, FD-<features> otherwise, never confused."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Float, Float64
from pydantic import Field
from torch import Tensor

from sfumato.config import Strict
from sfumato.errors import ShapeError
from sfumato.features.base import Features
from sfumato.features.lite0 import Lite0
from sfumato.images import Pixels
from sfumato.kinds import build, choice
from sfumato.maths.gaussians import frechet_distance, moments
from sfumato.metrics.base import Z95, Metric, Score
from sfumato.streams import stream
from sfumato.tasks.base import Observation

_extractors: dict[str, Features] = {}


def extractor(config: Strict, device: torch.device) -> Features:
    """The feature network of these settings, loaded once a process."""
    key = f"{config.to_json()} {device}"
    if key not in _extractors:
        _extractors[key] = build(config, device=device)
    return _extractors[key]


class Frechet(Metric):
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) between the features of made and true images.

    The interval is value +- 1.96 sd of bootstrap replicates that draw the same test images for every method, so that
    two methods can be compared replicate by replicate. Replicates themselves are biased upwards and are not shown.
    Reference: Heusel et al. (2017), GANs trained by a two time-scale update rule converge to a local Nash equilibrium.
    """

    class Config(Strict):
        kind: Literal["frechet"] = "frechet"
        features: Annotated[Any, choice(Features, "lite0")] = Lite0.Config()
        """What is compared: lite0 (offline) or inception (FID)."""
        replicates: int | None = Field(default=None, ge=2)
        """Bootstrap replicates; 100 up to 512 features and 10 above where left out."""

    better: ClassVar[Literal["lower", "higher"]] = "lower"
    paired: ClassVar[bool] = False
    unit: ClassVar[str] = "squared feature units"

    def __init__(self, config: Config):
        super().__init__(config)
        self._made: list[Float[Tensor, "B d"]] = []
        self._true: list[Float[Tensor, "B d"]] = []
        self._features: Features | None = None
        self._size = 0

    @property
    def label(self) -> str:
        """FID or FD-<features>."""
        return self._features.label if self._features else str(self.config.features.kind)

    def prepare(self, device: torch.device) -> None:
        self._features = extractor(self.config.features, device)

    def update(self, made: Pixels, true: Pixels, observation: Observation) -> None:
        self._features = extractor(self.config.features, made.device)
        self._size = made.shape[-1]
        self._made.append(self._features(made).cpu())
        self._true.append(self._features(true).cpu())

    def compute(self) -> Score:
        if self._features is None:
            raise ShapeError("a Frechet distance needs images; none were given")
        made, true = torch.cat(self._made).double(), torch.cat(self._true).double()
        n, d = made.shape
        value = frechet_distance(*moments(made), *moments(true))
        replicates = self.config.replicates or (100 if d <= 512 else 10)
        samples = [_replicate(made, true, index) for index in _bootstrap(n, replicates)]
        half = Z95 * float(torch.tensor(samples).std())
        card = {
            "what": "squared Frechet distance of two Gaussians fitted to features (Heusel et al., 2017)",
            "features": self._features.label,
            "dimensions": d,
            "extractor_sha256": self._features.digest,
            "resolution": self._size,
            "reference": "the true images of the same test images",
            "dtype": "float32 features, float64 moments, no ridge",
            "interval": f"normal, sd of {replicates} bootstrap replicates over images",
        }
        if n < 10 * d:
            card["warning"] = f"{n} images for {d} features; below 10 a feature the distance is biased upwards"
        return Score(
            label=self.label,
            value=value,
            low=max(value - half, 0.0),
            high=value + half,
            n=n,
            better=self.better,
            unit=self.unit,
            samples=[float(f"{sample:.6g}") for sample in samples],
            resampled="replicates",
            card=card,
        )


def _bootstrap(n: int, replicates: int) -> Tensor:
    """Places drawn with replacement, [replicates, n]; the same for every method that is measured on n images."""
    return torch.randint(n, (replicates, n), generator=stream(0, "bootstrap", n))


def _replicate(made: Float64[Tensor, "n d"], true: Float64[Tensor, "n d"], index: Tensor) -> float:
    return frechet_distance(*moments(made[index]), *moments(true[index]))
