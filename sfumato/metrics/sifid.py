"""SiFID: the Frechet distance between the features of all places of one made and one true image."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

from sfumato.config import Strict
from sfumato.errors import CapabilityError, ConfigError, ShapeError
from sfumato.features.base import Features, Layered, extractor
from sfumato.features.lite0 import Lite0
from sfumato.images import Pixels
from sfumato.kinds import choice
from sfumato.maths.gaussians import frechet
from sfumato.maths.moments import Moments
from sfumato.maths.patches import tiles
from sfumato.metrics.base import PairedMetric
from sfumato.tasks.base import Observation


class SiFID(PairedMetric):
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) between the places of a feature map of the made and of the true image.

    Every place of the map is one vector, so that a single image has a mean m and a covariance C (Frechet distance of the
    fitted Gaussians; divided by places - 1). It sees texture and not layout. Called SiFID on the 2015 Inception graph only,
    SiFD-<features> otherwise; in squared feature units; few places for many channels bias it upwards (the card warns).

    The paper takes the map before Inception's second max pool, `layer = "192"`; the authors' code has taken that one and,
    in the version most copied, the one before the first, "64", which is the default here. No pool is part of either. That
    code also takes torchvision's ImageNet weights and the image at its own size, where inception and lite0 resize to a
    fixed one: its printed figures are not comparable with these. Where the two images differ in size, both are cut into
    tiles of the smaller rows and columns, so that both are resized alike, and the places of all tiles are taken together.

    Raises: CapabilityError: the features show no maps. ConfigError: they have no map called `layer`. ShapeError: the map
    has a single place. See also the features.
    Reference: Shaham, Dekel and Michaeli (2019), SinGAN: learning a generative model from a single natural image.
    """

    class Config(Strict):
        kind: Literal["sifid"] = "sifid"
        features: Annotated[Any, choice(Features, "lite0")] = Lite0.Config()
        """Whose maps are compared: lite0 (offline) or inception (SiFID)."""
        layer: str | None = None
        """The name of the map; the extractor's first one where left out: "stem" of lite0, "64" of inception."""

    better: ClassVar[Literal["lower", "higher"]] = "lower"
    span = (0.0, None)
    unit: ClassVar[str] = "squared feature units"
    same_size: ClassVar[bool] = False

    def __init__(self, config: Config):
        super().__init__(config)
        self._features: Features | None = None
        self._layer = ""
        self._first = True
        self._places, self._channels = 0, 0

    @property
    def label(self) -> str:
        """SiFID or SiFD-<features>; with the map's name where it is not the first."""
        if self._features is None:
            return f"Single-image Frechet distance on {self.config.features.kind}"
        name = self._features.called("SiFID", "SiFD")
        return name if self._first else f"{name} ({self._layer})"

    def about(self) -> dict[str, Any]:
        """The features, the map, and a warning where its places are few; of the last batch, where sizes vary."""
        if self._features is None:
            return {}
        d, n = self._channels, self._places
        card = {"features": self._features.about(), "layer": self._layer, "channels": d, "places": n}
        card["dtype"] = "float32 features, float64 moments, no ridge"
        if n <= d:
            card["warning"] = f"{n} places for {d} channels: the covariance is singular and the distance biased upwards"
        return card

    def prepare(self, device: torch.device) -> None:
        """Load the features and look for the map, on a blank picture."""
        self._maps(torch.zeros(1, 3, 32, 32, dtype=torch.uint8, device=device))

    def values(self, made: Pixels, true: Pixels, observation: Observation) -> Float64[Tensor, " B"]:
        """One an image."""
        size = [min(made.shape[axis], true.shape[axis]) for axis in (2, 3)]
        found = []
        for one, other in zip(made, true, strict=True):  # one by one: no other image of the batch can change a bit
            vectors, wanted = self._vectors(one, *size), self._vectors(other, *size)
            found.append(frechet(Moments.of(vectors), Moments.of(wanted)))
        return torch.tensor(found, dtype=torch.float64)

    def _vectors(self, picture: UInt8[Tensor, "C H W"], rows: int, columns: int) -> Float[Tensor, "n d"]:
        """The vectors of all places of all tiles."""
        shown = self._maps(tiles(picture, rows, columns))
        vectors = shown.movedim(1, -1).flatten(0, -2).cpu()
        self._places, self._channels = vectors.shape
        if self._places < 2:
            raise ShapeError(f"the map {self._layer} has one place, which has no covariance; choose an earlier layer")
        return vectors

    def _maps(self, pixels: Pixels) -> Float[Tensor, "N d h w"]:
        """The map that is compared."""
        self._features = features = extractor(self.config.features, pixels.device)
        if not isinstance(features, Layered):
            raise CapabilityError(
                f"{self.config.features.kind} shows no maps, which a single-image distance needs; use lite0"
            )
        maps = features.layers(pixels)
        names = list(maps)
        self._layer = names[0] if self.config.layer is None else self.config.layer
        self._first = self._layer == names[0]
        if self._layer not in maps:
            raise ConfigError(f"no map {self._layer!r} in {self.config.features.kind}; known: {', '.join(names)}")
        return maps[self._layer]
