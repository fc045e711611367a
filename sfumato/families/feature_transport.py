"""Feature transport: a feed-forward texture whose patches, or network features, optimal transport takes to the exemplar's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field, field_validator
from torch import Generator, Tensor, nn

from sfumato.families.base import Batch, Objective, Player, Stage, Terms, weights
from sfumato.families.optimizers import Adam, Optimizer
from sfumato.families.scales import counting
from sfumato.families.texture import Plane, Texture, TextureConfig, Wish, a_window
from sfumato.features.base import Features, Perceives, extractor
from sfumato.images import Images, Size
from sfumato.kinds import choice
from sfumato.maths.keyed import normals
from sfumato.maths.patches import depth, whole
from sfumato.maths.regions import Box
from sfumato.maths.transport import cell
from sfumato.networks.texture_net import TextureNet


class FeatureTransport(Texture, Plane):
    """min over G, max over v of sum_s E_x min_j (|x - y_j|^2 - v_j) + mean_j v_j, x a patch of G(z) at scale s, y_j of u.

    The inner maximum is W_2^2 between the law of the made patches and that of `targets` patches of the exemplar
    (semi-discrete optimal transport). After each turn of G, v rises by some stochastic steps, on new pictures. With
    `features`, the vectors of a fixed network's maps take the place of patches. Once trained, a picture of any size is one
    pass, window by window.
    References: Houdard, Leclaire, Papadakis and Rabin (2023), A generative model for texture synthesis based on optimal
    transport between feature distributions; the same authors (2021), Wasserstein generative models for patch-based texture
    synthesis.
    """

    class Config(TextureConfig):
        kind: Literal["feature_transport"] = "feature_transport"
        width: int = Field(default=24, ge=1)
        """Channels of the generator."""
        noise: int = Field(default=3, ge=1, le=64)
        """Channels of the noise at each scale."""
        features: Annotated[Any, choice(Features)] | None = None
        """Whose maps: lite0, vgg; left out: patches of pixels."""
        maps: int = Field(default=4, ge=1, le=16)
        """How many maps are looked at, where there are features."""
        patch: int = Field(default=4, ge=1, le=15)
        """Rows and columns of a patch."""
        scales: int = Field(default=5, ge=1, le=8)
        """Scales of the noise and of the patches, each half as large; fewer for a small exemplar."""
        targets: int = Field(default=1000, ge=2)
        """Patches or vectors of the exemplar, at each scale."""
        seen: int = Field(default=1000, ge=2)
        """Patches or vectors of a made picture that a turn looks at, at each scale."""
        side: int = Field(default=128, ge=8)
        """Rows and columns of a made picture in training; at most the exemplar's."""
        pictures_a_turn: int = Field(default=1, ge=1)
        """Pictures that are made in a turn."""
        ascents: int = Field(default=10, ge=1)
        """Steps of the potentials after each turn of the generator."""
        turns: int = Field(default=800, ge=1)
        """Turns of the generator."""
        optimizer: Annotated[Any, choice(Optimizer, "adam")] = Adam.Config(lr=5e-3)
        """How the generator moves."""
        rate: float = Field(default=0.05, gt=0.0)
        """How far the first step moves a potential that gets nothing, as a share of the mean squared distance of patches."""

        @field_validator("features")
        @classmethod
        def _perceives(cls, features: Any) -> Any:
            if features is not None and not issubclass(features.owner, Perceives):
                raise ValueError(f"a loss cannot follow features {features.kind!r}; use lite0 or vgg")
            return features

    wraps = True
    smallest = 8
    steps: Tensor

    def prepare(self) -> None:
        """The generator, the exemplar's vectors and their potentials."""
        config = self.config
        self.scales = min(config.scales, depth(min(config.side, *self.spec.size), 2 * config.patch))
        self.net = TextureNet(self.spec.channels, config.width, config.noise, self.scales)
        with torch.no_grad():
            clouds = [rows for rows, _ in self._clouds(self.exemplars, None)]
        for i, rows in enumerate(clouds):
            self.register_buffer(f"points_{i}", torch.zeros(config.targets, rows.shape[1]))
            self.register_buffer(f"potentials_{i}", torch.zeros(config.targets))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.clouds = len(clouds)

    @property
    def grain(self) -> int:
        """The coarsest noise has to meet itself too."""
        return 1 << (self.scales - 1)

    def stages(self) -> Sequence[Stage]:
        """One, which counts turns."""
        return (Stage(turns=self.config.turns),)

    def learn(self, stage: Stage, rng: Generator) -> Iterator[float]:
        """Vectors of the exemplar at random places where all counts."""
        for i, (rows, counts) in enumerate(self._clouds(self.exemplars, self.known)):
            points = self._kept("points", i)
            self.require_patches(counts, self.config.patch)
            places = counts.nonzero()[:, 0]
            order = torch.randperm(len(places), generator=rng, device=rng.device)
            points.copy_(rows[places[order.repeat(-(-len(points) // len(order)))[: len(points)]]])
        yield 1.0

    def players(self, stage: Stage) -> Sequence[Player]:
        """The generator; what its turns leave is taken up by the potentials."""
        loss, config = Objective(self.generator_loss), self.config
        return [Player("generator", [weights(self.net)], [loss], config.optimizer, after_step=self.ascend)]

    def generator_loss(self, batch: Batch) -> Terms:
        """The dual, whose potentials do not move; each scale over the numbers in a patch."""
        total, made = torch.zeros((), device=self.device), self._made(batch.rng)
        for i, (rows, _) in enumerate(self._clouds(made, None)):
            y, v = self._kept("points", i), self._kept("potentials", i)
            some = rows[torch.randint(len(rows), (self.config.seen,), generator=batch.rng, device=rows.device)]
            with torch.no_grad():
                place = cell(some, y, v)
            total = total + ((some - y[place]).square().sum(1).mean() - v[place].mean() + v.mean()) / y.shape[1]
        return {"transport": total / self.clouds}

    @torch.no_grad()
    def ascend(self, batch: Batch) -> None:
        """v_j rises where fewer of the made patches go to y_j than their share; the steps get smaller as 1 / sqrt(t)."""
        self.steps += 1
        for i, (rows, _) in enumerate(self._clouds(self._made(batch.rng), None)):
            y, v = self._kept("points", i), self._kept("potentials", i)
            far = float((rows.mean(0) - y).square().sum(1).mean() + rows.var(0, unbiased=False).sum())
            step = self.config.rate * far * len(y) / float(self.steps) ** 0.5
            for _ in range(self.config.ascents):
                some = torch.randint(len(rows), (self.config.seen,), generator=batch.rng, device=rows.device)
                share = torch.bincount(cell(rows[some], y, v), minlength=len(y)) / self.config.seen
                v += step * (1 / len(y) - share)

    def _kept(self, name: str, i: int) -> Tensor:
        return self.get_buffer(f"{name}_{i}")

    def _made(self, rng: Generator) -> Images:
        """Windows of planes that the stream names."""
        side = min(self.config.side, *self.spec.size)
        seeds = torch.randint(1 << 62, (self.config.pictures_a_turn,), generator=rng, device=rng.device).tolist()

        def noise(scale: int, box: Box) -> Tensor:
            return torch.stack([self._noise(scale, box, seed, None) for seed in seeds])

        made: Images = self.net(Box(0, 0, side, side), noise)
        return made

    def _noise(self, scale: int, box: Box, seed: int, period: Size | None) -> Float[Tensor, "n h w"]:
        across = None if period is None else (period[0] >> scale, period[1] >> scale)
        return normals(box, self.config.noise, seed, f"scale {scale}", across).to(self.device)

    def _clouds(self, x: Images, known: Tensor | None) -> Iterator[tuple[Float[Tensor, "n d"], Tensor]]:
        """The vectors that are transported, of each scale or map, and which of them count."""
        config = self.config
        if config.features is not None:
            features: Any = extractor(config.features, x.device)
            for _, one in islice(features.maps(x), config.maps):
                size = one.shape[2], one.shape[3]
                counts = one.new_ones(len(one), *size) if known is None else counting(known, size)
                yield one.permute(0, 2, 3, 1).flatten(0, 2), counts.flatten() == 1
            return
        for scale in range(self.scales):
            small = F.avg_pool2d(x, 1 << scale)
            side = min(config.patch, *small.shape[2:])
            rows = F.unfold(small, side).transpose(1, 2).flatten(0, 1)
            counts = torch.ones(len(rows), dtype=torch.bool, device=x.device)
            if known is not None:
                counts = whole(counting(known, (small.shape[2], small.shape[3])), side).flatten()
            yield rows, counts

    def block(self, row: int, column: int, seed: int, period: Size | None) -> Float[Tensor, "C s s"]:
        """One pass."""
        box = Box(row * self.side, column * self.side, self.side, self.side)
        made: Images = self.net(box, lambda scale, where: self._noise(scale, where, seed, period)[None])
        return made[0]

    def make(self, wish: Wish, rng: Generator) -> Images:
        """A window of the plane."""
        return a_window(self, wish, rng)

    def deployed(self) -> Sequence[nn.Module]:
        """The generator."""
        return (self.net,)
