"""VGG features: maps of the plain ImageNet networks of 16 and 19 layers, for perceptual distances and single images.

Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015 (arXiv:1409.1556).
`Trunk` and `PlainTrunk` serve every network of torchvision's that is convolutions, ReLUs and poolings one after another.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.config import Strict
from sfumato.errors import ShapeError
from sfumato.features.base import Features, Layered, Perceives
from sfumato.features.weights import read_weights, rgb
from sfumato.images import PEAK, Images, Pixels
from sfumato.maths.precision import full_precision

FILES = {16: "vgg16-397923af.pth", 19: "vgg19-dcbb9e9d.pth"}
DIGESTS = {
    16: "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    19: "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
}
URL = "https://download.pytorch.org/models/"
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels / 255, red, green and blue

CHANNELS = (64, 128, 256, 512, 512)
BLOCKS = {
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}  # convolutions in each block: columns D and E of the paper's table 1


class Trunk(nn.Module):
    """Steps one after another, some of whose outputs have a name; keys are torchvision's `features.N.weight`."""

    def __init__(self, steps: Sequence[nn.Module], names: Mapping[int, str]) -> None:
        super().__init__()
        self.features, self.names = nn.Sequential(*steps), dict(names)

    def stages(self, x: Float[Tensor, "B 3 H W"]) -> Iterator[tuple[str, Float[Tensor, "B C h w"]]]:
        """The named maps, from early to late."""
        for i, step in enumerate(self.features):
            x = step(x)
            if i in self.names:
                yield self.names[i], x

    def forward(self, x: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        return self.features(x)


def vgg(depth: Literal[16, 19]) -> Trunk:
    """Five blocks of 3 x 3 convolutions with ReLU, halved between blocks; the last ReLU of each block has a name.

    Example:
        >>> with torch.device("meta"):
        ...     list(vgg(16).names.values())
        ['relu1_2', 'relu2_2', 'relu3_3', 'relu4_3', 'relu5_3']
    """
    steps: list[nn.Module] = []
    names, inputs = {}, 3
    for block, (count, channels) in enumerate(zip(BLOCKS[depth], CHANNELS, strict=True), start=1):
        if steps:
            steps.append(nn.MaxPool2d(2))
        for _ in range(count):
            steps += [nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU()]
            inputs = channels
        names[len(steps) - 1] = f"relu{block}_{count}"
    return Trunk(steps, names)


class PlainTrunk(Features, Layered, Perceives, ABC, abstract=True):
    """The convolutions of one of torchvision's ImageNet classifiers: named maps, and means over the places of the last.

    Images keep their size; pixels / 255 are brought to mean 0 and deviation 1 of ImageNet, channel by channel. Any file
    with torchvision's keys would do, as timm's copies have them too, but only the one with the right SHA-256 is read.
    """

    resize = "none; (x / 255 - mean) / deviation of ImageNet"
    least: ClassVar[int]
    """The fewest rows and columns that it takes."""

    def load(
        self, network: Trunk, file: str, digest: str, path: Path | None, device: torch.device | str = "cpu"
    ) -> None:
        """Set `network` up with the weights at `path`, or in `file` among torch.hub's; the classifier there is not kept.

        Raises: WeightsError: the file is missing or not the one with this digest.
        """
        bring = f"bring {file} from {URL}{file} to {downloads()}, or set features.path to it"
        state = read_weights(path or downloads() / file, digest, bring)
        network.load_state_dict({key: state[key] for key in network.state_dict()}, assign=True)
        network.eval().requires_grad_(False)
        self.device, self.digest = torch.device(device), digest
        self.layout = torch.channels_last if self.device.type == "cpu" else torch.contiguous_format
        self.network = network.to(self.device).to(memory_format=self.layout)  # type: ignore[call-overload]  # not in stubs

    def extract(self, pixels: Pixels) -> Float[Tensor, "B D"]:
        with full_precision(self.device):
            return self.network(self.prepare(pixels)).mean((2, 3)).to(pixels.device)

    @torch.inference_mode()
    def layers(self, pixels: Pixels) -> Mapping[str, Float[Tensor, "B C h w"]]:
        """Maps after the ReLUs that have a name, zero or more."""
        with full_precision(self.device):
            return {name: x.to(pixels.device) for name, x in self.network.stages(self.prepare(pixels))}

    def maps(self, x: Images) -> Iterator[tuple[str, Float[Tensor, "B C h w"]]]:
        """Those of `layers`."""
        seen = self._scaled((x.to(self.device).expand(-1, 3, -1, -1) + 1) / 2)
        return ((name, found.to(x.device)) for name, found in self.network.stages(seen))

    def _scaled(self, x: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        mean, deviation = (x.new_tensor(values).view(3, 1, 1) for values in (MEAN, DEVIATION))
        return ((x - mean) / deviation).contiguous(memory_format=self.layout)

    def prepare(self, pixels: Pixels) -> Float[Tensor, "B 3 H W"]:
        """What the network sees, -2.12 to 2.64.

        Raises: ShapeError: fewer rows or columns than the poolings need, or see `rgb`.
        """
        x = rgb(pixels.to(self.device)) / PEAK
        height, width = x.shape[2:]
        if min(height, width) < self.least:
            wanted = f"{self.tag} takes images of {self.least} x {self.least} pixels and more"
            raise ShapeError(f"{wanted}; got {height} x {width}; enlarge them, or use lite0, which resizes by itself")
        return self._scaled(x)


def downloads() -> Path:
    """Where torch.hub and torchvision keep the weight files that they fetched."""
    return Path(torch.hub.get_dir()) / "checkpoints"


class VGG(PlainTrunk):
    """Means over all places after the last ReLU: uint8 [B, 1 or 3, H, W], H, W >= 32, to float32 [B, 512], zero or more.

    `layers` gives relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3 of VGG16, and relu1_2, relu2_2, relu3_4, relu4_4 and
    relu5_4 of VGG19, of strides 1, 2, 4, 8 and 16. Images keep their size, grey is repeated to three channels. Always
    float32. The weights are torchvision's first ones, `path` or where torch.hub keeps them; they are never fetched.

    Raises: WeightsError: no file there, or not the one with this SHA-256. ShapeError: an image is too small, see `rgb`.
    Reference: Simonyan and Zisserman (2015), Very deep convolutional networks for large-scale image recognition.

    Example (needs the weights)::

        features = VGG(VGG.Config(depth=16, path="vgg16-397923af.pth"))
        features.layers(pixels)["relu3_3"]  # [B, 256, H / 4, W / 4]
    """

    dim = CHANNELS[-1]
    least = 32
    at_once = 8  # the first block alone holds 34 MB an image of 256 x 256

    class Config(Strict):
        """Which network, with which weights."""

        kind: Literal["vgg"] = "vgg"
        depth: Literal[16, 19] = 19
        """Layers with weights: 16, as in LPIPS, or 19, as in style transfer."""
        path: Path | None = None
        """The file vgg16-397923af.pth or vgg19-dcbb9e9d.pth; looked for among torch.hub's downloads where left out."""

    def __init__(self, config: VGG.Config, device: torch.device | str = "cpu") -> None:
        self.config, self.tag = config, f"vgg{config.depth}"
        with torch.device("meta"):  # no time spent on weights that are replaced, and no random numbers drawn
            network = vgg(config.depth)
        self.load(network, FILES[config.depth], DIGESTS[config.depth], config.path, device)
