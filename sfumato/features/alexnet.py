"""AlexNet features: maps of the single-tower network of 2014, the usual ones below LPIPS.

Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014 (arXiv:1404.5997).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import nn

from sfumato.config import Strict
from sfumato.features.vgg import PlainTrunk, Trunk

FILE = "alexnet-owt-7be5be79.pth"
DIGEST = "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02"

# (channels, kernel, stride, padding) of each convolution, and whether a pooling of 3 by 3 and stride 2 comes before it
CONVOLUTIONS = (
    (64, 11, 4, 2, False),
    (192, 5, 1, 2, True),
    (384, 3, 1, 1, True),
    (256, 3, 1, 1, False),
    (256, 3, 1, 1, False),
)


def alexnet() -> Trunk:
    """Five convolutions with ReLU, named relu1 to relu5; the pooling after the last is left out.

    Example:
        >>> with torch.device("meta"):
        ...     list(alexnet().state_dict())[::2]
        ['features.0.weight', 'features.3.weight', 'features.6.weight', 'features.8.weight', 'features.10.weight']
    """
    steps: list[nn.Module] = []
    names, inputs = {}, 3
    for i, (channels, kernel, stride, padding, pooled) in enumerate(CONVOLUTIONS, start=1):
        if pooled:
            steps.append(nn.MaxPool2d(3, 2))
        steps += [nn.Conv2d(inputs, channels, kernel, stride, padding), nn.ReLU()]
        names[len(steps) - 1], inputs = f"relu{i}", channels
    return Trunk(steps, names)


class Alexnet(PlainTrunk):
    """Means over all places after the fifth ReLU: uint8 [B, 1 or 3, H, W], H, W >= 31, to float32 [B, 256], zero or more.

    `layers` gives relu1 to relu5, of strides 4, 8, 16, 16 and 16. Images keep their size, grey is repeated to three
    channels. Always float32. The weights are torchvision's, `path` or where torch.hub keeps them; they are never fetched.

    Raises: WeightsError: no file there, or not the one with this SHA-256. ShapeError: an image is too small, see `rgb`.
    Reference: Krizhevsky (2014), One weird trick for parallelizing convolutional neural networks.

    Example (needs the weights)::

        features = Alexnet(Alexnet.Config(path="alexnet-owt-7be5be79.pth"))
        features(pixels)  # [B, 256]
    """

    dim = CONVOLUTIONS[-1][0]
    tag = "alexnet"
    least = 31  # below it nothing is left for the second pooling

    class Config(Strict):
        """Which weights."""

        kind: Literal["alexnet"] = "alexnet"
        path: Path | None = None
        """The file alexnet-owt-7be5be79.pth; looked for among torch.hub's downloads where left out."""

    def __init__(self, config: Alexnet.Config, device: torch.device | str = "cpu") -> None:
        self.config = config
        with torch.device("meta"):  # no time spent on weights that are replaced, and no random numbers drawn
            network = alexnet()
        self.load(network, FILE, DIGEST, config.path, device)
