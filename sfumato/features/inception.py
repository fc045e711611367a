"""Inception features: pooled features of the 2015-12-05 graph, on which alone a Frechet distance is called FID."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sfumato.config import Strict
from sfumato.errors import CapabilityError, WeightsError
from sfumato.features.base import Classifies, Features, Layered
from sfumato.features.graph_2015 import InceptionV3
from sfumato.features.weights import read_weights, rgb
from sfumato.images import PEAK, Pixels
from sfumato.maths.precision import full_precision
from sfumato.maths.resample import tensorflow_bilinear

DIGEST = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
FILE = "pt_inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{FILE}"
SIZE = 299

Resize = Literal["tensorflow", "pytorch", "clean"]
RESIZES: dict[str, tuple[str, str]] = {  # what labels say, what cards say
    "tensorflow": ("", "bilinear as in TensorFlow 1 (no antialiasing, no half pixels) to 299, then (x - 128) / 128"),
    "pytorch": ("bilinear", "bilinear with half pixels, no antialiasing, to 299, then 2 x / 255 - 1"),
    "clean": ("clean", "antialiased bicubic to 299, cut to 0..255, then (x - 128) / 128"),
}


class Inception(Features, Layered, Classifies):
    """Pooled features of the 2015 graph: uint8 [B, 1 or 3, H, W] to float32 [B, 2048], zero or more.

    Three ways to reach 299 x 299 are in use, and the choice alone moves FID by whole points: `tensorflow`, the rule of
    the original code and of torch-fidelity; `pytorch`, that of pytorch-fid (labelled FID-bilinear); and `clean`, the
    antialiased one of clean-fid (FID-clean). Grey is repeated to three channels. Always float32. The number of images
    should be 10,000 or more, and is part of the figure.

    The weights are `path`, or are fetched once (96 MB) into the user's cache; either way the whole SHA-256 must agree.

    Raises: WeightsError: no file and no network, or a file that is not the one with this digest. CapabilityError: no
    `path`, and the extra `sfumato[data]` is missing. ShapeError: see `weights.rgb`.
    References: Heusel et al. (2017), GANs trained by a two time-scale update rule converge to a local Nash equilibrium;
    Parmar, Zhang and Zhu (2022), On aliased resizing and surprising subtleties in GAN evaluation.

    Example (needs the weights)::

        features = Inception(Inception.Config(), device="cuda")
        vectors = features(pixels)  # [N, 2048]
    """

    graph_2015: ClassVar[bool] = True
    dim = 2048
    digest = DIGEST

    class Config(Strict):
        """Which weights, and which way to 299 x 299."""

        kind: Literal["inception"] = "inception"
        resize: Resize = "tensorflow"
        """tensorflow: as the original code; pytorch: as pytorch-fid; clean: as clean-fid."""
        path: Path | None = None
        """The file pt_inception-2015-12-05-6726825d.pth; without this it is fetched from pytorch-fid's release."""

    def __init__(self, config: Inception.Config, device: torch.device | str = "cpu") -> None:
        self.config, self.device = config, torch.device(device)
        self.tag, self.resize = RESIZES[config.resize]
        self.at_once = 32 if self.device.type == "cpu" else 128
        self.layout = torch.channels_last if self.device.type == "cpu" else torch.contiguous_format
        network = load_network(config.path or fetched()).to(self.device)
        self.network = network.to(memory_format=self.layout)  # type: ignore[call-overload]  # left out of torch's stubs

    def extract(self, pixels: Pixels) -> Float[Tensor, "B D"]:
        with full_precision(self.device):
            return self.network(self.prepare(pixels)).to(pixels.device)

    @torch.inference_mode()
    def layers(self, pixels: Pixels) -> Mapping[str, Float[Tensor, "B C h w"]]:
        """Maps called "64", "192", "288", "768" and "2048" after their channels."""
        with full_precision(self.device):
            return {name: x.to(pixels.device) for name, x in self.network.stages(self.prepare(pixels))}

    def logits(self, vectors: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """1008 scores without the bias, as the Inception Score's own code takes them."""
        with full_precision(self.device):
            return vectors.to(self.device) @ self.network.fc.weight.T

    def prepare(self, pixels: Pixels) -> Float[Tensor, "B 3 299 299"]:
        """What the network sees, about -1 to 1."""
        x = rgb(pixels.to(self.device))
        if self.config.resize == "pytorch":
            x = 2.0 * F.interpolate(x / PEAK, (SIZE, SIZE), mode="bilinear", align_corners=False) - 1.0
        else:
            if self.config.resize == "clean":
                x = F.interpolate(x, (SIZE, SIZE), mode="bicubic", antialias=True).clamp(0, PEAK)
            else:
                x = tensorflow_bilinear(x, SIZE, SIZE)
            x = (x - 128.0) / 128.0
        return x.contiguous(memory_format=self.layout)


def load_network(path: Path) -> InceptionV3:
    """The network with a file's weights, fixed and ready to use.

    Raises: WeightsError: the file is missing or another, or its tensors are not those of the graph.
    """
    state = read_weights(path, DIGEST, f"bring {FILE} from {URL}")
    with torch.device("meta"):  # no time spent on weights that are replaced, and no random numbers drawn
        network = InceptionV3()
    # The counts of training batches do nothing here, and the file may come without them
    needed, given = (
        {key: value.shape for key, value in tensors.items() if not key.endswith("num_batches_tracked")}
        for tensors in (network.state_dict(), state)
    )
    wrong = sorted(key for key in needed.keys() | given.keys() if needed.get(key) != given.get(key))
    if wrong:
        count = f"{len(wrong)} tensors are not those of the 2015 Inception graph"
        raise WeightsError(f"{path}: {count}, the first {wrong[0]}; bring {FILE} from {URL}")
    network.load_state_dict({key: state[key] for key in needed}, assign=True)
    network.eval().requires_grad_(False).fold()
    return network


def fetched() -> Path:
    """The weight file in the user's cache, downloaded the first time and checked every time.

    Raises: CapabilityError: pooch is not installed. WeightsError: no network, or the download is not the file wanted.
    """
    try:
        pooch = importlib.import_module("pooch")
    except ImportError:
        raise CapabilityError(f"to fetch {FILE}, pip install 'sfumato[data]', or set features.path") from None
    cache = Path(pooch.os_cache("sfumato"))
    try:
        return Path(pooch.retrieve(URL, known_hash=f"sha256:{DIGEST}", fname=FILE, path=cache))
    except (OSError, ValueError) as error:  # requests' errors are OSError; pooch's for another hash is ValueError
        what = f"cannot fetch {FILE} ({type(error).__name__})"
        raise WeightsError(
            f"{what}; bring it from {URL} to {cache}, or set features.path, or use lite0, which needs none"
        ) from None
