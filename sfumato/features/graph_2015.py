"""The 2015-12-05 Inception graph: blocks and network, with the attribute names of the weight file.

Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016 (arXiv:1512.00567), with what
that graph does otherwise, which Heusel et al. (arXiv:1706.08500) used for FID and pytorch-fid ported: 1008 logits,
average pools that leave the padding out of their count, and a max pool in the last block where the paper averages.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Maps = Float[Tensor, "B C H W"]


class Unit(nn.Module):
    """relu(norm(conv(x))); `pad` keeps the size of an odd kernel's input."""

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int], stride: int = 1, pad: bool = True) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2) if pad else 0
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Maps) -> Maps:
        return F.relu(self.bn(self.conv(x)), inplace=not torch.is_grad_enabled())


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

    def stages(self, x: Float[Tensor, "B 3 H W"]) -> Iterator[tuple[str, Maps]]:
        """Maps by their channels: before the first and the second max pool, after the last block of each width."""
        x = _chain(x, self.Conv2d_1a_3x3, self.Conv2d_2a_3x3, self.Conv2d_2b_3x3)
        yield "64", x
        x = _chain(F.max_pool2d(x, 3, 2), self.Conv2d_3b_1x1, self.Conv2d_4a_3x3)
        yield "192", x
        x = _chain(F.max_pool2d(x, 3, 2), self.Mixed_5b, self.Mixed_5c, self.Mixed_5d)
        yield "288", x
        x = _chain(x, self.Mixed_6a, self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e)
        yield "768", x
        yield "2048", _chain(x, self.Mixed_7a, self.Mixed_7b, self.Mixed_7c)

    def forward(self, x: Float[Tensor, "B 3 299 299"]) -> Float[Tensor, "B 2048"]:
        ((_, last),) = deque(self.stages(x), maxlen=1)
        return last.mean((2, 3))

    def fold(self) -> None:
        """Take every normalisation into the convolution before it: the same function, a tenth less work; for good."""
        for unit in self.modules():
            if isinstance(unit, Unit) and isinstance(unit.bn, nn.BatchNorm2d):
                unit.conv, unit.bn = fuse_conv_bn_eval(unit.conv, unit.bn), nn.Identity()
