"""Perceptual distance: how far apart a network's maps of two images are; LPIPS where network and heads are its own."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64
from pydantic import model_validator
from torch import Tensor

from sfumato.errors import CapabilityError
from sfumato.features.alexnet import Alexnet
from sfumato.features.base import Features, Layered, extractor
from sfumato.features.lite0 import Lite0
from sfumato.features.vgg import VGG
from sfumato.features.weights import read_weights
from sfumato.images import Pixels
from sfumato.kinds import choice
from sfumato.metrics.base import PairedMetric, RegionConfig, region_mean
from sfumato.tasks.base import Observation

EPS = 1e-10
AT_ONCE = 8  # pairs in one pass, the last one filled up: so the batch size cannot change a bit
HEADS = {  # v0.1 of the package lpips 0.1.4, learned on people's judgements
    "alex": "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    "vgg": "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
}


def trunk(features: Any) -> str:
    """What LPIPS calls this network, whose weights and input are then LPIPS's own too; empty where it has no heads for it.

    LPIPS maps x of [-1, 1] to (x - s) / t with s = (-.030, -.088, -.188) and t = (.458, .448, .450), which is 2 mean - 1
    and 2 deviation of ImageNet's pixels / 255: the same numbers as these extractors'.
    """
    if features.owner is Alexnet:
        return "alex"
    return "vgg" if features.owner is VGG and features.depth == 16 else ""


def normed(x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
    """x / (|x| + 1e-10), the norm over channels."""
    return x / (x.square().sum(1, keepdim=True).sqrt() + EPS)


def gap(made: Float[Tensor, "B C h w"], true: Float[Tensor, "B C h w"], head: Tensor) -> Float64[Tensor, "B 1 h w"]:
    """sum_c w_c (u_c - v_c)^2 at each place, u and v being the `normed` maps; `head` holds one w, or one a channel.

    Example:
        >>> u, v = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1), torch.tensor([0.0, 2.0]).view(1, 2, 1, 1)
        >>> round(float(gap(u, v, torch.tensor([1.0, 10.0]))), 6)
        0.76
    """
    return (head.view(-1, 1, 1) * (normed(made) - normed(true)).square()).sum(1, keepdim=True).double()


class Perceptual(PairedMetric):
    """d = sum_l mean_{places} sum_c w_lc (u_lc - v_lc)^2, u and v being the maps of layer l over their channels' norm.

    heads = "uniform": w = 1 / L for L layers. sum_c (u - v)^2 = 2 - 2 cos is of one size whatever the channels, so every
    layer weighs the same, and d is 0 to 2 (0 to 4 where maps can be negative: lite0). heads = "lpips": the learned w of
    AlexNet or VGG16, labelled LPIPS-alex or LPIPS-vgg; everything else is PD-<features>, a distance of its own.
    In the region "all" the mean is over each layer's own places, as in LPIPS; in hole and ring each layer's differences are
    enlarged (bilinear) to the image and averaged there, as LPIPS does where it is asked for a picture. Places see far beyond
    themselves, so known pixels around a hole count a little.

    Raises: ConfigError: features without layers, or "lpips" for other features than alexnet and vgg of depth 16.
    CapabilityError: neither the package lpips nor `path_heads`. WeightsError: heads or network missing, or other ones.
    Reference: Zhang, Isola, Efros, Shechtman and Wang (2018), The unreasonable effectiveness of deep features as a
    perceptual metric.

    Example:
        >>> Perceptual(Perceptual.Config(features={"kind": "alexnet"}, heads="lpips", region="all")).label
        'LPIPS-alex (whole)'
    """

    class Config(RegionConfig):
        kind: Literal["perceptual"] = "perceptual"
        features: Annotated[Any, choice(Features, "lite0")] = Lite0.Config(layer="b15")
        """Whose maps are compared: lite0 (offline; b15 shows all its layers), vgg, alexnet or inception."""
        heads: Literal["uniform", "lpips"] = "uniform"
        """How layers and channels are weighed: all alike, or as LPIPS learned it for alexnet and for vgg of depth 16."""
        path_heads: Path | None = None
        """LPIPS's file weights/v0.1/alex.pth or vgg.pth, where the package lpips is not installed."""

        @model_validator(mode="after")
        def _fits(self) -> Self:
            kind = self.features.kind
            if not issubclass(self.features.owner, Layered):
                raise ValueError(f"features {kind!r} show no layers; a perceptual distance needs some, as lite0 or vgg")
            if self.heads == "lpips" and not trunk(self.features):
                raise ValueError(
                    f"LPIPS has no heads for features {kind!r} as set; take alexnet or vgg of depth 16, or heads uniform"
                )
            return self

    better: ClassVar[Literal["lower", "higher"]] = "lower"
    span = (0.0, None)
    unit: ClassVar[str] = "squared feature units"

    def __init__(self, config: Config):
        super().__init__(config)
        self._features: Any = None  # both Features and Layered
        self._names: list[str] = []
        self._heads: Sequence[Tensor] = []

    @property
    def label(self) -> str:
        """LPIPS-alex, LPIPS-vgg or PD-<features>, and the region where it is not the hole."""
        if self.config.heads == "lpips":
            return self.named(f"LPIPS-{trunk(self.config.features)}")
        called = self._features.called("PD-inception", "PD") if self._features else f"PD-{self.config.features.kind}"
        return self.named(called)

    def prepare(self, device: torch.device) -> None:
        self._features = extractor(self.config.features, device)
        if self.config.heads == "lpips" and not self._heads:
            self._heads = official_heads(trunk(self.config.features), self.config.path_heads)

    def values(self, made: Pixels, true: Pixels, observation: Observation) -> Float64[Tensor, " B"]:
        """One an image."""
        self.prepare(made.device)
        parts = zip(*(x.split(AT_ONCE) for x in (made, true, self.weight(observation))), strict=True)
        return torch.cat([self._part(*part) for part in parts])

    def _part(self, made: Pixels, true: Pixels, weight: Float64[Tensor, "B 1 H W"]) -> Float64[Tensor, " B"]:
        n, size = len(made), made.shape[2:]
        ours, theirs = self._features.layers(filled(made)), self._features.layers(filled(true))
        self._names = list(ours)
        heads = self._heads or [torch.full((1,), 1 / len(ours))] * len(ours)
        total = torch.zeros(n, dtype=torch.float64, device=made.device)
        for name, head in zip(self._names, heads, strict=True):
            map_ = gap(ours[name], theirs[name], head.to(made.device))[:n]
            if self.region == "all":
                total += map_.mean((1, 2, 3))
            else:
                enlarged = F.interpolate(map_, size, mode="bilinear", align_corners=False)
                total += region_mean(enlarged, weight)
        return total

    def about(self) -> dict[str, Any]:
        """The network, its layers and the heads."""
        heads = "uniform, 1 / layers"
        if self.config.heads == "lpips":
            heads = f"LPIPS v0.1, sha256 {HEADS[trunk(self.config.features)]}"
        parts = {"features": self._features.about(), "layers": self._names, "heads": heads}
        return parts | {"dtype": "float32 maps, float64 means"}


def filled(pixels: Pixels) -> Pixels:
    """As many images as one pass has, the last one repeated."""
    return torch.cat([pixels, pixels[-1:].expand(AT_ONCE - len(pixels), -1, -1, -1)])


def official_heads(net: str, path: Path | None) -> list[Float[Tensor, " C"]]:
    """The weights of LPIPS's five layers, zero or more; the package lpips is not imported, which would need torchvision.

    Raises: CapabilityError: no `path`, and lpips is not installed. WeightsError: the file is missing or another.
    """
    if path is None:
        spec = importlib.util.find_spec("lpips")
        if spec is None or not spec.submodule_search_locations:
            file = f"lpips/weights/v0.1/{net}.pth"
            raise CapabilityError(f"no LPIPS heads here; pip install lpips==0.1.4, or set path_heads to its {file}")
        path = Path(spec.submodule_search_locations[0]) / "weights" / "v0.1" / f"{net}.pth"
    state = read_weights(path, HEADS[net], f"bring weights/v0.1/{net}.pth of the PyPI package lpips 0.1.4")
    return [state[f"lin{i}.model.1.weight"].flatten() for i in range(5)]
