"""In-painters: an encoder and a decoder around blocks that see the whole picture, after LaMa and contextual attention.

LaMa's blocks are fast Fourier convolutions, whose every output has seen every pixel; contextual attention fills unknown places
with features of known ones. Both are small here and made after the papers' ideas, not copies of their networks.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.images import Size
from sfumato.maths.push_pull import push_pull
from sfumato.networks.condition import Condition, FromLatent
from sfumato.networks.convnet import Critic
from sfumato.networks.layers import Maps, ResidualBlock, group_norm, rounded, zeroed
from sfumato.networks.unet import level_count

GLOBAL = 0.75  # share of channels that pass through the Fourier domain, LaMa's
SHARP = 10.0  # of contextual attention: similarities are cosines times this


class Spectral(nn.Module):
    """1 x 1 convolutions on the Fourier coefficients of a map: each output depends on every pixel."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.enter = nn.Conv2d(inputs, outputs, 1)
        self.mix = nn.Conv2d(2 * outputs, 2 * outputs, 1)
        self.norm = group_norm(2 * outputs)
        self.exit = nn.Conv2d(outputs, outputs, 1)

    def forward(self, x: Maps) -> Maps:
        """[B, inputs, H, W] to [B, outputs, H, W]."""
        x = F.silu(self.enter(x))
        waves = torch.fft.rfft2(x.float(), norm="ortho")  # float32, since there is no transform in half precision
        mixed = self.mix(torch.cat([waves.real, waves.imag], 1))
        real, imaginary = F.silu(self.norm(mixed)).float().chunk(2, 1)
        back = torch.fft.irfft2(torch.complex(real, imaginary), s=x.shape[2:], norm="ortho")
        out: Tensor = self.exit(x + back.to(x.dtype))
        return out


class FourierBlock(nn.Module):
    """x plus a fast Fourier convolution: near parts by 3 x 3, far parts through the Fourier domain, each told of the other.

    Reference: Chi, Jiang and Mu (2020), Fast Fourier convolution; Suvorov et al. (2022), LaMa.
    """

    def __init__(self, channels: int, embedding: int):
        super().__init__()
        self.far = max(round(GLOBAL * channels), 1)
        self.near = channels - self.far
        self.norm = group_norm(channels)
        self.to_near = nn.Conv2d(channels, self.near, 3, padding=1)
        self.near_to_far = nn.Conv2d(self.near, self.far, 3, padding=1)
        self.far_to_far = Spectral(self.far, self.far)
        self.exit = zeroed(nn.Conv2d(channels, channels, 1))
        self.modulation = nn.Linear(embedding, 2 * channels)

    def forward(self, x: Maps, z: Float[Tensor, "B d"], known: Maps) -> Maps:
        """[B, channels, H, W] to the same."""
        scale, shift = self.modulation(z)[:, :, None, None].chunk(2, 1)
        h = F.silu(torch.addcmul(shift, self.norm(x), 1 + scale))
        near, far = h.split([self.near, self.far], 1)
        h = torch.cat([self.to_near(h), self.near_to_far(near) + self.far_to_far(far)], 1)
        out: Tensor = x + self.exit(F.silu(h))
        return out


class CopyBlock(nn.Module):
    """A residual block, then x + exit(what known places have to give): attention whose keys are the known places alone.

    Reference: Yu et al. (2018), Generative image inpainting with contextual attention.
    """

    def __init__(self, channels: int, embedding: int):
        super().__init__()
        self.block = ResidualBlock(channels, channels, embedding)
        self.norm, self.look = group_norm(channels), nn.Conv2d(channels, channels, 1)
        self.exit = zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Maps, z: Float[Tensor, "B d"], known: Maps) -> Maps:
        """[B, channels, H, W] to the same."""
        x = self.block(x, z)
        h = self.norm(x)
        out: Tensor = x + self.exit(copied(F.normalize(self.look(h).flatten(2), dim=1), h.flatten(2), known).view_as(x))
        return out


def copied(
    direction: Float[Tensor, "B d n"], value: Float[Tensor, "B c n"], known: Float[Tensor, "B 1 h w"]
) -> Float[Tensor, "B c n"]:
    """softmax over known places of SHARP cos(q, k), times their values; all places where none is known.

    Example:
        >>> direction = torch.tensor([[[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
        >>> known = torch.tensor([0.0, 1.0, 1.0]).view(1, 1, 1, 3)
        >>> copied(direction, torch.tensor([[[9.0, 5.0, 1.0]]]), known).round(decimals=1).flatten().tolist()
        [5.0, 5.0, 1.0]
    """
    given = known.flatten(1)[:, None, :] > 0.5
    given = given | ~given.any(2, keepdim=True)
    alike = (SHARP * direction.transpose(1, 2) @ direction).masked_fill(~given, -torch.inf)
    return value @ alike.softmax(2).transpose(1, 2)


class InPainter(FromLatent):
    """What is observed, twice halved, through blocks that see all of it, and back; its output is added to the preview."""

    def __init__(
        self,
        latent: int,
        channels: int,
        condition: int,
        size: Size,
        width: float,
        block: type[FourierBlock] | type[CopyBlock],
        blocks: int,
        classes: int = 0,
        embedding: int | None = None,
        smooth: bool = False,
    ):
        super().__init__(latent, classes, embedding)
        self.channels, self.smooth, told = channels, smooth, embedding or latent
        halvings = level_count(size, 3) - 1
        c = [rounded(width * 2**level, None) for level in range(halvings + 1)]
        self.enter = nn.Conv2d(condition, c[0], 5, padding=2)
        self.downs = nn.ModuleList(
            nn.Sequential(nn.SiLU(), nn.Conv2d(a, b, 4, stride=2, padding=1)) for a, b in zip(c, c[1:], strict=False)
        )
        self.blocks = nn.ModuleList(block(c[-1], told) for _ in range(blocks))
        self.ups = nn.ModuleList(ResidualBlock(2 * b, a, told) for a, b in reversed(list(zip(c, c[1:], strict=False))))
        self.exit = nn.Sequential(group_norm(2 * c[0]), nn.SiLU(), zeroed(nn.Conv2d(2 * c[0], channels, 3, padding=1)))

    def forward(self, z: Float[Tensor, "B k"], condition: Condition) -> Maps:
        """[B, latent] and what is told to [B, C, H, W]."""
        z, image = self.told(z, condition), condition.image
        assert image is not None
        if self.smooth:
            image = carried(image)
        h = self.enter(image)
        seen = [h]
        for down in self.downs:
            h = down(h)
            seen.append(h)
        known = F.adaptive_avg_pool2d(image[:, -1:], h.shape[2:])
        known = (known > 0.99).to(h.dtype)
        for block in self.blocks:
            h = block(h, z, known)
        for up in self.ups:
            h = F.interpolate(up(torch.cat([h, seen.pop()], 1), z), scale_factor=2.0, mode="nearest")
        made: Tensor = image[:, : self.channels] + self.exit(torch.cat([h, seen.pop()], 1))
        return made


def carried(image: Maps) -> Maps:
    """cat(preview, known) with what is known carried into the rest; as it is where nothing is known exactly.

    Example:
        >>> image = torch.tensor([2.0, 0.0, 0.0, 4.0, 1.0, 0.0, 0.0, 1.0]).view(1, 2, 1, 4)
        >>> [round(float(value), 1) for value in carried(image)[0, 0, 0]]
        [2.0, 2.5, 3.5, 4.0]
    """
    preview, known = image[:, :-1].float(), image[:, -1:].float()
    some = known.amax((2, 3), keepdim=True) > 0
    begun = torch.where(some, push_pull(preview * known, known), preview)
    return torch.cat([begun, known], 1).to(image.dtype)


class GlobalAndLocal(nn.Module):
    """C(whole picture) + C(a window of half its sides around the middle of what is unknown).

    Reference: Iizuka, Simo-Serra and Ishikawa (2017), Globally and locally consistent image completion.
    """

    def __init__(self, inputs: int, size: Size, width: float, classes: int = 0):
        super().__init__()
        self.window = max(size[0] // 2, 1), max(size[1] // 2, 1)
        self.whole = Critic(inputs, size, width, classes)
        self.part = Critic(inputs, self.window, width)

    def forward(self, x: Maps, condition: Condition) -> Float[Tensor, " B"]:
        """[B, C, H, W] and what is told to one number an image."""
        seen = condition.beside(x)
        near: Tensor = self.part(around_the_unknown(seen, condition.image, self.window), Condition())
        score: Tensor = self.whole(x, condition) + near
        return score


def around_the_unknown(x: Maps, told: Maps | None, window: Size) -> Maps:
    """The window of each picture whose middle is nearest to the middle of the unknown pixels, or of the picture.

    Example:
        >>> told = torch.ones(1, 2, 1, 6)
        >>> told[0, 1, 0, 4:] = 0
        >>> around_the_unknown(torch.arange(6.0).view(1, 1, 1, 6), told, (1, 3)).flatten().tolist()
        [3.0, 4.0, 5.0]
    """
    n, rows, columns = len(x), x.shape[2], x.shape[3]
    unknown = 1 - told[:, -1] if told is not None else x.new_ones(n, rows, columns)
    places = []
    for axis, (side, width) in enumerate(((rows, window[0]), (columns, window[1]))):
        weight = unknown.sum(2 - axis)
        place = torch.arange(side, device=x.device) + 0.5
        total = weight.sum(1)
        middle = torch.where(total > 0, (weight * place).sum(1) / total.clamp(min=1e-6), side / 2)
        first = (middle - width / 2).round().long().clamp(0, side - width)
        places.append(first[:, None] + torch.arange(width, device=x.device))
    down, across = places
    each = torch.arange(n, device=x.device)[:, None, None]
    return x.permute(0, 2, 3, 1)[each, down[:, :, None], across[:, None, :]].permute(0, 3, 1, 2)
