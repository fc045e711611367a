"""The engine of spatial GANs: a field of noise becomes a texture of any size, and each position of a critic's map of scores is
told from the exemplar's. `sgan` and `psgan` are short files that say what the field is made of.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Generator, Tensor, nn

from sfumato.data.base import DataSpec
from sfumato.errors import ConfigError
from sfumato.families.adversaries import Adversaries
from sfumato.families.base import Batch, Objective, Player, Stage, Terms, weights
from sfumato.families.games import Game, NonSaturating
from sfumato.families.optimizers import Adam, Optimizer
from sfumato.families.penalties import Penalty
from sfumato.families.texture import Plane, Texture, TextureConfig, Wish, a_window
from sfumato.images import Images, Size
from sfumato.kinds import build, choice
from sfumato.maths.keyed import normals
from sfumato.maths.patches import depth as halvings
from sfumato.maths.patches import whole
from sfumato.maths.rectangles import largest_square
from sfumato.maths.regions import Box
from sfumato.networks.spatial import MARGIN, NoiseField, SpatialCritic, SpatialGenerator, SpatialRecoder

FURTHER = 10.0  # times the generator's rate for wave numbers: they are angles, and a thousand turns would not move them
LEAST = 2  # cells of a crop: with one alone nothing is learnt of how cells meet
SHARE = (
    0.625  # of the exemplar's shorter side that a crop has at most: with one as large as the exemplar there is a single
)
# crop, which the critic learns by heart, and the generator repeats one motif


class SpatialConfig(TextureConfig):
    """What every spatial GAN can be told."""

    width: float = Field(default=16, gt=0)
    """Channels of the maps next to the picture in both networks; doubled inward, at most eight times as many."""
    depth: int = Field(default=5, ge=1, le=7)
    """Layers of both networks; a cell of noise becomes 2^depth pixels. Fewer where two cells do not fit into a crop."""
    local_channels: int = Field(default=30, ge=1, le=1024)
    """Channels of the field that differ from cell to cell."""
    crop: int = Field(default=128, ge=4)
    """Rows and columns of a training crop; at most 5 / 8 of what the exemplar, or its mask, holds."""
    crops: int = Field(default=8, ge=1, le=1024)
    """Crops in a turn, of the exemplar and of what is made."""
    turns: int = Field(default=1000, ge=1, le=10_000_000)
    """Turns of each network."""
    game: Annotated[Any, choice(Game, "non_saturating")] = NonSaturating.Config()
    """What scores are worth; wasserstein needs a penalty."""
    penalties: list[Annotated[Any, choice(Penalty)]] = []
    """What steadies the critic: zero_centred, spectral_norm, lecam, gradient_penalty, clip; any, or none as in the papers."""
    generator_optimizer: Annotated[Any, choice(Optimizer, "adam")] = Adam.Config(
        lr=2e-4, betas=(0.5, 0.999), warmup=0.0, decay="constant"
    )
    """How the generator moves."""
    critic_optimizer: Annotated[Any, choice(Optimizer, "adam")] = Adam.Config(
        lr=2e-4, betas=(0.5, 0.999), warmup=0.0, decay="constant"
    )
    """How the critic moves."""


class Spatial(Adversaries, abstract=True):
    """Both networks, for a game to choose its critic from."""

    def __init__(self, depth: int):
        self.depth = depth

    def generator(
        self, spec: DataSpec, width: float, latent: int, classes: int = 0, embedding: int | None = None
    ) -> nn.Module:
        return SpatialGenerator(latent, spec.channels, width, self.depth)

    def critic(self, spec: DataSpec, width: float, classes: int = 0) -> nn.Module:
        return SpatialCritic(spec.channels, width, self.depth)

    def recoder(self, spec: DataSpec, width: float, code: int, classes: int = 0) -> nn.Module:
        return SpatialRecoder(spec.channels, width, self.depth, code)


class SpatialGAN(Texture, Plane, abstract=True):
    """Critic: the game's loss on all positions of C(x) and C(G(z)), averaged. Generator: its own on C(G(z)), averaged."""

    wraps = True
    corners: Tensor
    cut: Tensor
    penalties: nn.ModuleList

    def connect(self, shared: int, periodic: int) -> None:
        """Make both networks for a field of so many global and periodic channels beside the local ones."""
        config, K = self.config, self.config.pictures
        room = min(config.crop, max(int(SHARE * min(self.spec.size)), 4))
        self.depth = max(min(config.depth, halvings(room, LEAST) - 1), 1)
        self.game: Game = build(config.game)
        self.penalties = nn.ModuleList(build(one) for one in config.penalties)
        self.field = NoiseField(shared, periodic)
        networks = Spatial(self.depth)
        inputs = config.local_channels + shared + periodic
        self.generator = networks.generator(self.spec, config.width, inputs)
        critic = self.game.judge(networks, self.spec, config.width, 0)
        for penalty in self._steadying():
            critic = penalty.wrap(critic)
        self.critic: nn.Module = critic
        self.register_buffer("corners", torch.zeros(K, *self.spec.size, dtype=torch.bool))
        self.register_buffer("cut", torch.zeros((), dtype=torch.int64))

    def _steadying(self) -> list[Penalty]:
        return [part for part in self.penalties if isinstance(part, Penalty)]

    @property
    def grain(self) -> int:
        """The pixels of a cell."""
        return 1 << self.depth

    def stages(self) -> Sequence[Stage]:
        """One, of so many turns."""
        return (Stage(turns=self.config.turns),)

    def learn(self, stage: Stage, rng: Generator) -> Iterator[float]:
        """Find the largest crops that lie in what counts, and where they begin."""
        least = LEAST * self.grain
        room = largest_square(self.known)
        side = max(min(self.config.crop, int(SHARE * room)), min(least, room)) // self.grain * self.grain
        if side < least:
            raise ConfigError(f"no window of {least} x {least} lies in the mask; lower depth, or give a larger mask")
        corners = whole(self.known, side)
        self.cut.fill_(side)
        self.corners.zero_()[:, : corners.shape[1], : corners.shape[2]] = corners
        yield 1.0

    def players(self, stage: Stage) -> Sequence[Player]:
        """The critic's turn, then the generator's, with the wave numbers."""
        config = self.config
        critic = Objective(self.critic_loss)
        generator = Objective(self.generator_loss)
        moving = [weights(self.generator), weights(self.field, rate=FURTHER)]
        return [
            Player("critic", [weights(self.critic)], [critic], config.critic_optimizer, after_step=self.after_critic),
            Player("generator", moving, [generator], config.generator_optimizer),
        ]

    def after_critic(self, batch: Batch) -> None:
        """What penalties do once the critic has moved."""
        for penalty in self._steadying():
            penalty.after(self.critic)

    def critic_loss(self, batch: Batch) -> Terms:
        """The game's loss, and what keeps the critic steady."""
        real = self.crops(batch.rng)
        with torch.no_grad():
            made = self.made(batch.rng)
        terms: dict[str, Tensor] = {}
        for penalty in self._steadying():
            terms |= penalty.penalty(lambda x: self.scores(x).mean(1), real, made, batch.rng, batch.progress)
        return {**self.game.critic(self.scores(real).flatten(), self.scores(made).flatten()), **terms}

    def generator_loss(self, batch: Batch) -> Terms:
        """The game's loss."""
        made = self.scores(self.made(batch.rng)).flatten()
        real = self.scores(self.crops(batch.rng)).flatten() if self.game.paired else None
        return {"adversarial": self.game.generator(real, made)}

    def scores(self, x: Images) -> Float[Tensor, "B n"]:
        """One for each position of the critic's map."""
        scores: Tensor = self.critic(x)
        return scores.flatten(1)

    def crops(self, rng: Generator) -> Images:
        """Crops of the exemplars at random places, all of which counts."""
        places, side = self.corners.nonzero(), int(self.cut)
        some = places[torch.randint(len(places), (self.config.crops,), generator=rng, device=rng.device)]
        found = [self.exemplars[k, :, i : i + side, j : j + side] for k, i, j in some.tolist()]
        return torch.stack(found).contiguous(memory_format=torch.channels_last)

    def made(self, rng: Generator) -> Images:
        """As many pictures of that size, each from a field of its own."""
        config, n, cells = self.config, self.config.crops, int(self.cut) // self.grain

        def uniform(*shape: int) -> Tensor:
            return 2 * torch.rand(n, *shape, generator=rng, device=rng.device) - 1

        at = torch.arange(cells, device=rng.device)
        local, field = uniform(config.local_channels, cells, cells), self.field
        made: Tensor = self.generator(field(local, uniform(field.shared), uniform(field.periodic), at, at))
        return made

    def block(self, row: int, column: int, seed: int, period: Size | None) -> Float[Tensor, "C s s"]:
        """The cells of the block and as many around them as it takes for zeros beyond not to be seen."""
        n, device = self.side // self.grain, self.device
        box = Box(row * n - MARGIN, column * n - MARGIN, n + 2 * MARGIN, n + 2 * MARGIN)
        cells = None if period is None else (period[0] // self.grain, period[1] // self.grain)

        def uniform(at: Box, channels: int, name: str, period: Size | None = None) -> Tensor:
            return torch.erf(normals(at, channels, seed, name, period) / math.sqrt(2)).to(device)[None]

        one = Box(0, 0, 1, 1)
        field = self.field(
            uniform(box, self.config.local_channels, "local", cells),
            uniform(one, self.field.shared, "global").flatten(1),
            uniform(one, self.field.periodic, "phase").flatten(1),
            torch.arange(box.top, box.top + box.rows, device=device),
            torch.arange(box.left, box.left + box.columns, device=device),
            cells,
        )
        training = self.generator.training
        self.generator.eval()  # a picture is made with the running statistics, in the midst of a training too
        try:
            wide: Tensor = self.generator(field)[0]
        finally:
            self.generator.train(training)
        edge = MARGIN * self.grain
        return F.pad(wide, (-edge, -edge, -edge, -edge))

    def make(self, wish: Wish, rng: Generator) -> Images:
        """A window of the plane."""
        return a_window(self, wish, rng)

    def deployed(self) -> Sequence[nn.Module]:
        """The generator and the wave numbers; the critic stays at home."""
        return self.generator, self.field
