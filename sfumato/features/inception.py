"""Inception features: the TensorFlow graph of 2015-12-05, on which alone a Frechet distance is called FID.

Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016 (arXiv:1512.00567), with what
that graph does otherwise, which Heusel et al. (arXiv:1706.08500) used for FID and pytorch-fid ported: 1008 logits,
average pools that leave the padding out of their count, and a max pool in the last block where the paper averages.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.config import Strict
from sfumato.errors import CapabilityError, WeightsError
from sfumato.features.base import Features
from sfumato.features.weights import full_precision, read_weights, rgb
from sfumato.images import PEAK, Pixels

DIGEST = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
FILE = "pt_inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{FILE}"
SIZE = 299
AT_ONCE = 16  # images in one pass: the early layers hold some 15 MB for each

Maps = Float[Tensor, "B C H W"]


class Unit(nn.Module):
    """relu(norm(conv(x))); `pad` keeps the size of an odd kernel's input."""

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int], stride: int = 1, pad: bool = True) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2) if pad else 0
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Maps) -> Maps:
        return F.relu(self.bn(self.conv(x)))


def _one(inputs: int, outputs: int) -> Unit:
    return Unit(inputs, outputs, (1, 1))


def _three(inputs: int, outputs: int) -> Unit:
    return Unit(inputs, outputs, (3, 3))


def _wide(inputs: int, outputs: int, kernel: int) -> Unit:
    return Unit(inputs, outputs, (1, kernel))


def _tall(inputs: int, outputs: int, kernel: int) -> Unit:
    return Unit(inputs, outputs, (kernel, 1))


def _halve(inputs: int, outputs: int) -> Unit:
    return Unit(inputs, outputs, (3, 3), stride=2, pad=False)


def _chain(x: Maps, *units: nn.Module) -> Maps:
    for unit in units:
        x = unit(x)
    return x


def _mean(x: Maps) -> Maps:
    # As TensorFlow does, and unlike PyTorch's default: at a border the mean is over 6 or 4 pixels, not 9 with zeros
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class A(nn.Module):
    """35 x 35 (the paper's figure 5): 1x1, 5x5, two 3x3, and a pool, to 224 + `pooled` channels."""

    def __init__(self, inputs: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = _one(inputs, 64)
        self.branch5x5_1, self.branch5x5_2 = _one(inputs, 48), Unit(48, 64, (5, 5))
        self.branch3x3dbl_1, self.branch3x3dbl_2, self.branch3x3dbl_3 = _one(inputs, 64), _three(64, 96), _three(96, 96)
        self.branch_pool = _one(inputs, pooled)

    def forward(self, x: Maps) -> Maps:
        five = _chain(x, self.branch5x5_1, self.branch5x5_2)
        threes = _chain(x, self.branch3x3dbl_1, self.branch3x3dbl_2, self.branch3x3dbl_3)
        return torch.cat([self.branch1x1(x), five, threes, self.branch_pool(_mean(x))], 1)


class B(nn.Module):
    """35 x 35 to 17 x 17 (figure 10): 3x3, two 3x3, and a max pool, to 480 more channels."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3 = _halve(inputs, 384)
        self.branch3x3dbl_1, self.branch3x3dbl_2, self.branch3x3dbl_3 = _one(inputs, 64), _three(64, 96), _halve(96, 96)

    def forward(self, x: Maps) -> Maps:
        threes = _chain(x, self.branch3x3dbl_1, self.branch3x3dbl_2, self.branch3x3dbl_3)
        return torch.cat([self.branch3x3(x), threes, F.max_pool2d(x, 3, 2)], 1)


class C(nn.Module):
    """17 x 17 (figure 6): 1x1, 7x7 as 1x7 and 7x1, that twice, and a pool; 768 channels in and out, `width` between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch1x1 = _one(768, 192)
        self.branch7x7_1, self.branch7x7_2 = _one(768, width), _wide(width, width, 7)
        self.branch7x7_3 = _tall(width, 192, 7)
        self.branch7x7dbl_1, self.branch7x7dbl_2 = _one(768, width), _tall(width, width, 7)
        self.branch7x7dbl_3, self.branch7x7dbl_4 = _wide(width, width, 7), _tall(width, width, 7)
        self.branch7x7dbl_5 = _wide(width, 192, 7)
        self.branch_pool = _one(768, 192)

    def forward(self, x: Maps) -> Maps:
        seven = _chain(x, self.branch7x7_1, self.branch7x7_2, self.branch7x7_3)
        sevens = _chain(x, self.branch7x7dbl_1, self.branch7x7dbl_2, self.branch7x7dbl_3)
        sevens = _chain(sevens, self.branch7x7dbl_4, self.branch7x7dbl_5)
        return torch.cat([self.branch1x1(x), seven, sevens, self.branch_pool(_mean(x))], 1)


class D(nn.Module):
    """17 x 17 to 8 x 8 (figure 10 again): 3x3, 7x7 then 3x3, and a max pool; 768 to 1280 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.branch3x3_1, self.branch3x3_2 = _one(768, 192), _halve(192, 320)
        self.branch7x7x3_1, self.branch7x7x3_2 = _one(768, 192), _wide(192, 192, 7)
        self.branch7x7x3_3, self.branch7x7x3_4 = _tall(192, 192, 7), _halve(192, 192)

    def forward(self, x: Maps) -> Maps:
        three = _chain(x, self.branch3x3_1, self.branch3x3_2)
        sevens = _chain(x, self.branch7x7x3_1, self.branch7x7x3_2, self.branch7x7x3_3, self.branch7x7x3_4)
        return torch.cat([three, sevens, F.max_pool2d(x, 3, 2)], 1)


class E(nn.Module):
    """8 x 8 (figure 7): branches that end in 1x3 beside 3x1, and a pool, to 2048 channels.

    The pool is a mean in the first of the two blocks and, in this graph alone, a maximum in the last: `peak`.
    """

    def __init__(self, inputs: int, peak: bool) -> None:
        super().__init__()
        self.peak = peak
        self.branch1x1 = _one(inputs, 320)
        self.branch3x3_1 = _one(inputs, 384)
        self.branch3x3_2a, self.branch3x3_2b = _wide(384, 384, 3), _tall(384, 384, 3)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = _one(inputs, 448), _three(448, 384)
        self.branch3x3dbl_3a, self.branch3x3dbl_3b = _wide(384, 384, 3), _tall(384, 384, 3)
        self.branch_pool = _one(inputs, 192)

    def forward(self, x: Maps) -> Maps:
        three = self.branch3x3_1(x)
        threes = _chain(x, self.branch3x3dbl_1, self.branch3x3dbl_2)
        crosses = [self.branch3x3_2a(three), self.branch3x3_2b(three)]
        crosses += [self.branch3x3dbl_3a(threes), self.branch3x3dbl_3b(threes)]
        pool = F.max_pool2d(x, 3, stride=1, padding=1) if self.peak else _mean(x)
        return torch.cat([self.branch1x1(x), *crosses, self.branch_pool(pool)], 1)


class InceptionV3(nn.Module):
    """[B, 3, 299, 299] in [-1, 1] to the pooled features [B, 2048], not negative; `fc` of them are the 1008 logits.

    Attribute names are those of the weight file. Built bare, its weights are random.
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3, self.Conv2d_2a_3x3 = _halve(3, 32), Unit(32, 32, (3, 3), pad=False)
        self.Conv2d_2b_3x3 = _three(32, 64)
        self.Conv2d_3b_1x1, self.Conv2d_4a_3x3 = _one(64, 80), Unit(80, 192, (3, 3), pad=False)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = A(192, 32), A(256, 64), A(288, 64)
        self.Mixed_6a, self.Mixed_6b, self.Mixed_6c, self.Mixed_6d = B(288), C(128), C(160), C(160)
        self.Mixed_6e = C(192)
        self.Mixed_7a, self.Mixed_7b, self.Mixed_7c = D(), E(1280, peak=False), E(2048, peak=True)
        self.fc = nn.Linear(2048, 1008)

    def forward(self, x: Float[Tensor, "B 3 299 299"]) -> Float[Tensor, "B 2048"]:
        x = _chain(x, self.Conv2d_1a_3x3, self.Conv2d_2a_3x3, self.Conv2d_2b_3x3)
        x = _chain(F.max_pool2d(x, 3, 2), self.Conv2d_3b_1x1, self.Conv2d_4a_3x3)
        x = _chain(F.max_pool2d(x, 3, 2), self.Mixed_5b, self.Mixed_5c, self.Mixed_5d)
        x = _chain(x, self.Mixed_6a, self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e)
        return _chain(x, self.Mixed_7a, self.Mixed_7b, self.Mixed_7c).mean((2, 3))


class Inception(Features):
    """Pooled features of the 2015 graph: uint8 [B, 1 or 3, H, W] to float32 [B, 2048], zero or more.

    Pixels are taken to [0, 1], resized to 299 with a bilinear filter without antialiasing, then to [-1, 1], as
    pytorch-fid does. The original code resized with TensorFlow's old rule, which ignores that a pixel has a
    centre, so its figures differ a little for images of another size. Grey is repeated to three channels. Always
    float32. The number of images should be 10,000 or more, and is part of the figure.

    The weights are `path`, or are fetched once (96 MB) into the user's cache; either way the whole SHA-256 must agree.

    Raises: WeightsError: no file and no network, or a file that is not the one with this digest. CapabilityError: no
    `path`, and the extra `sfumato[data]` is missing. ShapeError: see `lite0.rgb`.

    Example (needs the weights)::

        features = Inception(Inception.Config(), device="cuda")
        vectors = features(pixels)  # [N, 2048]
    """

    label = "FID"
    dim = 2048
    digest = DIGEST

    class Config(Strict):
        """Which weights; nothing else may differ, or it is not FID."""

        kind: Literal["inception"] = "inception"
        path: Path | None = None
        """The file pt_inception-2015-12-05-6726825d.pth; without this it is fetched from pytorch-fid's release."""

    def __init__(self, config: Inception.Config, device: torch.device | str = "cpu") -> None:
        self.config, self.device = config, torch.device(device)
        self.layout = torch.channels_last if self.device.type == "cpu" else torch.contiguous_format
        network = load_network(config.path or fetched()).to(self.device)
        self.network = network.to(memory_format=self.layout)  # type: ignore[call-overload]  # left out of torch's stubs

    def extract(self, pixels: Pixels) -> Float[Tensor, "B D"]:
        with full_precision(self.device):
            parts = [self.network(self.prepare(part)) for part in pixels.split(AT_ONCE)]
        return torch.cat(parts).to(pixels.device)

    def prepare(self, pixels: Pixels) -> Float[Tensor, "B 3 299 299"]:
        """What the network sees: 2 resize(pixels / 255) - 1."""
        x = F.interpolate(rgb(pixels.to(self.device)) / PEAK, (SIZE, SIZE), mode="bilinear", align_corners=False)
        return (2.0 * x - 1.0).contiguous(memory_format=self.layout)


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
    return network.eval().requires_grad_(False)


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
        raise WeightsError(f"{what}; bring it from {URL} to {cache}, or set features.path") from None
