"""Texto: optimal transport of patches, from coarse to fine; learnt once, then pictures of any size on the fly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Generator, Tensor

from sfumato.errors import ConfigError
from sfumato.families.base import Stage
from sfumato.families.gaussian_field import field, texton
from sfumato.families.texture import Plane, Texture, TextureConfig, Wish, a_window
from sfumato.images import Images, Size
from sfumato.maths.layered_transport import Layers, ascend_layers, cell_in_layers, grouped
from sfumato.maths.mixture import fit_mixture
from sfumato.maths.patches import depth, whole
from sfumato.maths.regions import Box
from sfumato.maths.transport import ascend, cell

SEEN = 4096  # patches of a synthesis that the mixture is fitted to
LOOK = 256  # rows and columns of the synthesis at most, at the scale that is learnt


class Texto(Texture, Plane):
    """At each scale patches x go to T(x) = y_j with j = argmin_j |x - y_j|^2 - v_j, and where they overlap they are averaged.

    The coarsest picture is the Gaussian field of the exemplar at that size. The potentials v make T push the law of the
    patches there, a mixture of Gaussians fitted to them, to `targets` patches of the exemplar (semi-discrete optimal
    transport, by averaged stochastic ascent). Each y_j has its place in the exemplar, so T also names a patch of twice the
    size one scale finer; averaged, these start the next scale. With `layers = 2` patches go to a group, then to a
    patch of the group: the same picture from a tenth of the comparisons.
    References: Galerne, Leclaire and Rabin (2018), A texture synthesis model based on semi-discrete optimal transport in
    patch space; Leclaire and Rabin (2021) for two layers.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = Texto(Texto.Config(targets=10), DataSpec(channels=1, size=(16, 16)))
        >>> tuple(model.sample(1, size=(20, 30), rng=stream(0, "sample")).shape)
        (1, 1, 20, 30)
    """

    class Config(TextureConfig):
        kind: Literal["texto"] = "texto"
        patch: int = Field(default=3, ge=2, le=15)
        """Rows and columns of a patch."""
        scales: int = Field(default=4, ge=1, le=8)
        """Scales, each half as large as the one before; fewer where the exemplar is small."""
        targets: int = Field(default=1000, ge=2, le=20_000)
        """Patches of the exemplar that a scale chooses from, drawn at random."""
        components: int = Field(default=4, ge=1, le=64)
        """Gaussians in the mixture that stands for the patches to be moved."""
        layers: Literal[1, 2] = 1
        """2: to groups of patches, then within the group."""
        turns: int = Field(default=3000, ge=1, le=1_000_000)
        """Steps of the ascent at each scale."""
        batch: int = Field(default=512, ge=1, le=65_536)
        """Patches drawn in each step."""
        rate: float = Field(default=0.05, gt=0.0)
        """How far the first step moves a potential that gets nothing, as a share of the mean squared distance of patches."""

    smallest = 8
    wraps = True
    mean: Tensor
    textons: Tensor

    def prepare(self) -> None:
        """Room for the patches of each scale, what they become one scale finer, and the potentials."""
        w, C = self.config.patch, self.spec.channels
        self.scales = min(self.config.scales, depth(min(self.spec.size), 2 * w + 2))
        for s in range(self.scales):
            side = [(length >> s) - w + 1 for length in self.spec.size]
            n = min(self.config.targets, side[0] * side[1] * self.config.pictures)
            K = max(round(n**0.5), 1) if self.config.layers == 2 else 0
            self.register_buffer(f"points_{s}", torch.zeros(n, C * w * w))
            self.register_buffer(f"larger_{s}", torch.zeros(n if s else 0, 4 * C * w * w))
            self.register_buffer(f"potentials_{s}", torch.zeros(n))
            self.register_buffer(f"centres_{s}", torch.zeros(K, C * w * w))
            self.register_buffer(f"outer_{s}", torch.zeros(K))
            self.register_buffer(f"group_{s}", torch.zeros(n if K else 0, dtype=torch.int64))
        coarsest = [length >> (self.scales - 1) for length in self.spec.size]
        self.register_buffer("mean", torch.zeros(C))
        self.register_buffer("textons", torch.zeros(self.config.pictures, C, *coarsest))

    @property
    def grain(self) -> int:
        """The coarsest grid has to meet itself too."""
        return 1 << (self.scales - 1)

    def stages(self) -> Sequence[Stage]:
        """From coarse to fine."""
        return [Stage(f"scale {s}", share=1 / self.scales) for s in reversed(range(self.scales))]

    def learn(self, stage: Stage, rng: Generator) -> Iterator[float]:
        """The patches of one scale, and the potentials that spread the synthesis over them."""
        s, config = int(stage.name.split()[1]), self.config
        x, known = self.at(s)
        if s == self.scales - 1:
            self.mean[:], self.textons[:] = texton(x, known)
        y = self._choose(s, x, known, rng)
        side = [max(min(LOOK, length) >> s, 2 * config.patch) for length in self.spec.size]
        seed = int(torch.randint(1 << 62, (1,), generator=rng, device=rng.device))
        before = F.unfold(self._canvas(s, Box(0, 0, *side), seed, None)[None], config.patch)[0].T
        some = torch.randperm(len(before), generator=rng, device=rng.device)[:SEEN]
        yield 0.0
        source = fit_mixture(before[some], min(config.components, len(some)), rng)

        def draw(n: int) -> Float[Tensor, "n d"]:
            uniform = torch.rand(n, generator=rng, device=rng.device)
            return source.at(uniform, torch.randn(n, y.shape[1], generator=rng, device=rng.device)).float()

        far = float((before.mean(0) - y).square().sum(1).mean() + before.var(0).sum())
        told = {"steps": config.turns, "batch": config.batch, "rate": config.rate * far}
        if config.layers == 1:
            for step, v in ascend(draw, y, **told):
                if step % 50 == 0 or step == config.turns:
                    self.kept("potentials", s).copy_(v)
                    yield step / config.turns
            return
        for step, found in ascend_layers(draw, y, grouped(y, len(self.kept("outer", s)), rng), **told):
            if step % 50 == 0 or step == config.turns:
                for name, value in zip(("centres", "outer", "group", "potentials"), found, strict=True):
                    self.kept(name, s).copy_(value)
                yield step / config.turns

    def block(self, row: int, column: int, seed: int, period: Size | None) -> Float[Tensor, "C s s"]:
        """The finest canvas with the room that overlapping patches need, moved and averaged."""
        w = self.config.patch
        box = Box(row * self.side, column * self.side, self.side, self.side)
        canvas = self._canvas(0, _wider(box, w - 1), seed, period)
        return overlapped(self.kept("points", 0)[self.moved(0, canvas)], canvas.shape[1:], w, 1)

    def make(self, wish: Wish, rng: Generator) -> Images:
        """A window of the plane."""
        return a_window(self, wish, rng)

    def _canvas(self, s: int, box: Box, seed: int, period: Size | None) -> Float[Tensor, "C h w"]:
        """What scale s begins with: the Gaussian field at the coarsest, else what the scale above became, twice as large."""
        if s == self.scales - 1:
            across = None if period is None else (period[0] >> s, period[1] >> s)
            return field(self.mean, self.textons, box, seed, across)
        w = self.config.patch
        # A pixel 2p or 2p + 1 is in the enlarged patches that begin at the coarse places p - w + 1 to p.
        top, left = box.top // 2 - w + 1, box.left // 2 - w + 1
        bottom, right = (box.top + box.rows - 1) // 2 + w, (box.left + box.columns - 1) // 2 + w
        coarse = self._canvas(s + 1, Box(top, left, bottom - top, right - left), seed, period)
        larger = self.kept("larger", s + 1)[self.moved(s + 1, coarse)]
        whole = overlapped(larger, (2 * (bottom - top), 2 * (right - left)), 2 * w, 2)
        inner = Box(box.top - 2 * (top + w - 1), box.left - 2 * (left + w - 1), box.rows, box.columns)
        return whole[(slice(None), *inner.place)]

    def moved(self, s: int, canvas: Float[Tensor, "C h w"]) -> Int64[Tensor, " n"]:
        """The target of each patch of a canvas."""
        x, y = F.unfold(canvas[None], self.config.patch)[0].T, self.kept("points", s)
        if self.config.layers == 1:
            return cell(x, y, self.kept("potentials", s))
        names = ("centres", "outer", "group", "potentials")
        return cell_in_layers(x, y, Layers(*(self.kept(name, s) for name in names)))

    def _choose(
        self, s: int, x: Float[Tensor, "K C h w"], known: Float[Tensor, "K 1 h w"], rng: Generator
    ) -> Float[Tensor, "n d"]:
        """Patches of the exemplar at random places where all counts, and their larger selves."""
        w, n = self.config.patch, len(self.kept("potentials", s))
        places = whole(known, w).nonzero()
        if len(places) == 0:
            raise ConfigError(f"at scale {s} no {w} x {w} patch lies in the mask; take fewer scales or a larger mask")
        order = torch.randperm(len(places), generator=rng, device=rng.device).repeat(-(-n // len(places)))
        k, row, column = places[order[:n]].T
        self.kept("points", s).copy_(_windows(x, w)[k, row, column].flatten(1))
        if s:
            self.kept("larger", s).copy_(_windows(self.at(s - 1)[0], 2 * w)[k, 2 * row, 2 * column].flatten(1))
        return self.kept("points", s)

    def at(self, s: int) -> tuple[Float[Tensor, "K C h w"], Float[Tensor, "K 1 h w"]]:
        """The exemplars in means of blocks, and where whole blocks count."""
        side = 1 << s
        return F.avg_pool2d(self.exemplars, side), 1 - F.max_pool2d(1 - self.known, side)

    def kept(self, name: str, s: int) -> Tensor:
        return self.get_buffer(f"{name}_{s}")


def _wider(box: Box, by: int) -> Box:
    return Box(box.top - by, box.left - by, box.rows + 2 * by, box.columns + 2 * by)


def _windows(x: Float[Tensor, "K C h w"], side: int) -> Float[Tensor, "K a b C s t"]:
    return x.unfold(2, side, 1).unfold(3, side, 1).permute(0, 2, 3, 1, 4, 5)


def overlapped(patches: Float[Tensor, "n d"], size: Sequence[int], side: int, stride: int) -> Float[Tensor, "C h w"]:
    """The mean of overlapping patches where all of them are there: `side / stride` - 1 strides inside the borders."""
    overlap = side // stride
    total = F.fold(patches.T[None], tuple(size), side, stride=stride)[0] / overlap**2
    edge = (overlap - 1) * stride
    return total[:, edge : size[0] - edge, edge : size[1] - edge]
