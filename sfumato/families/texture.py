"""Textures: families that learn from one picture and make others of any size that look like it.

A picture is read once, by `fit`, and kept: what has no training at all is a texture family too. `make` says which size is
wanted, whether the picture is to meet itself at its borders, and may be told how far it got. `Plane` is for those whose
pictures are windows of one endless texture, so that a large one is made in tiles.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Generator, Tensor

from sfumato.config import Strict
from sfumato.errors import CapabilityError, ConfigError
from sfumato.families.base import Family, Pass, Player, Stage
from sfumato.images import Images, Size
from sfumato.maths.regions import Box
from sfumato.networks.condition import Condition
from sfumato.streams import Rngs

Watch = Callable[[float], None]
"""Told the share of a synthesis that is done; it may raise to stop it."""


def unwatched(done: float) -> None:
    """Nobody looks."""


@dataclass(frozen=True)
class Wish:
    """What a synthesis is asked for."""

    size: Size
    periodic: bool = False
    """Whether the picture has to go on at the opposite border."""
    watch: Watch = unwatched


class TextureConfig(Strict):
    """What every texture family can be told."""

    pictures: int = Field(default=1, ge=1, le=64)
    """Exemplars that are looked at, the first ones of the training set; all have one size, and masks say what counts."""


class Texture(Family, abstract=True):
    """One picture, or a few, and what was learnt of them."""

    exemplars: Float[Tensor, "K C H W"]
    known: Float[Tensor, "K 1 H W"]
    smallest: ClassVar[int] = 4
    """Rows and columns that an exemplar must have."""
    wraps: ClassVar[bool] = False
    """Whether it can make a picture that meets itself at its borders."""

    @final
    def build(self) -> None:
        """Room for the exemplars, and what the family prepares."""
        if self.spec.condition:
            raise ConfigError(f"a {self.config.kind} makes pictures like one, it restores none: train it on generation")
        shape = self.config.pictures, self.spec.channels, *self.spec.size
        self.register_buffer("exemplars", torch.zeros(shape))
        self.register_buffer("known", torch.zeros(shape[0], 1, *shape[2:]))
        self.prepare()

    def prepare(self) -> None:
        """Make networks, and room for what `learn` finds."""

    def check_size(self, size: Size) -> None:
        """An exemplar must hold a few patches."""
        if min(size) < self.smallest:
            rows, columns = size
            raise ConfigError(
                f"an exemplar of {rows} x {columns} is too small for {self.config.kind}, which needs "
                f"{self.smallest} x {self.smallest}; give a larger picture"
            )

    def players(self, stage: Stage) -> Sequence[Player]:
        """Nobody, for what is computed."""
        return ()

    @final
    def fit(self, stage: Stage, images: Pass) -> Iterator[float]:
        """Read the exemplars before the first stage, then what the family computes."""
        if stage.name == self.stages()[0].name:
            self._read(images)
            yield 0.0
        yield from self.learn(stage, images.stream(f"learn {stage.name}"))

    def learn(self, stage: Stage, rng: Generator) -> Iterator[float]:
        """Compute what is not trained by turns, yielding the share done."""
        return iter(())

    def _read(self, images: Pass) -> None:
        K, masks = len(self.exemplars), images.known()
        parts = []
        for x, _ in images.all():
            parts.append(x)
            if sum(map(len, parts)) >= K:
                break
        x = torch.cat(parts)[:K]
        if len(x) < K:
            raise ConfigError(
                f"pictures = {K} exemplars are asked for, and there are {len(x)}; ask for at most so many"
            )
        self.exemplars[: len(x)] = x
        self.known[: len(x)] = 1.0 if masks is None else masks[: len(x)]
        if not bool((self.known > 0).any()):
            raise ConfigError("the mask leaves nothing of the exemplar; white is where the texture is")

    @property
    def exemplar(self) -> Float[Tensor, "C H W"]:
        """The first picture."""
        return self.exemplars[0]

    def require_patches(self, counts: Tensor, side: int) -> None:
        """Raises: ConfigError: no patch of the exemplar lies in the mask."""
        if not bool(counts.any()):
            raise ConfigError(
                f"no {side} x {side} patch of the exemplar lies in the mask; take a smaller patch or a larger mask"
            )

    def draw(self, n: int, condition: Condition, size: Size, rng: Rngs) -> Images:
        """One picture after the other."""
        rngs = [rng] * n if isinstance(rng, Generator) else rng
        if n == 0:
            return self.exemplars.new_zeros(0, self.spec.channels, *size)
        return torch.cat([self.make(Wish(size), one) for one in rngs])

    @abstractmethod
    def make(self, wish: Wish, rng: Generator) -> Images:
        """One picture, [1, C, rows, columns]."""

    def notes(self) -> Sequence[str]:
        """What of the exemplar counted."""
        share = float(self.known.mean())
        return [] if share == 1 else [f"{share:.0%} of the exemplar counted; the rest was masked"]


class Plane(ABC):
    """An endless texture, the same pixels however it is cut: blocks of one size, each a function of its place and the seed.

    A block is always computed with the same shapes, whatever window it is made for, so that not a bit depends on the tiling.
    """

    side: ClassVar[int] = 256
    """Rows and columns of a block."""

    @property
    def grain(self) -> int:
        """Where the picture has to meet itself, its sides are multiples of this."""
        return 1

    @abstractmethod
    def block(self, row: int, column: int, seed: int, period: Size | None) -> Float[Tensor, "C s s"]:
        """The block whose first pixel is at (row, column) times `side`."""

    def require_period(self, size: Size) -> None:
        """Raises: CapabilityError: a picture of this size cannot meet itself at its borders."""
        if size[0] % self.grain or size[1] % self.grain:
            near = tuple(max(round(side / self.grain), 1) * self.grain for side in size)
            raise CapabilityError(
                f"a picture that meets itself at its borders needs sides that are multiples of {self.grain} here; "
                f"{near[1]} x {near[0]} is near to {size[1]} x {size[0]}"
            )

    @final
    @torch.no_grad()
    def window(self, box: Box, seed: int, period: Size | None = None, watch: Watch = unwatched) -> Images:
        """The pixels of a box, [1, C, rows, columns]; it may lie anywhere."""
        return torch.cat([*self.strips(box, seed, period, watch)], 1)[None]

    @final
    @torch.no_grad()
    def strips(
        self, box: Box, seed: int, period: Size | None = None, watch: Watch = unwatched
    ) -> Iterator[Float[Tensor, "C h w"]]:
        """The same from top to bottom, as many rows at once as blocks have: what is large can be written as it comes."""
        if period is not None:
            self.require_period(period)
        s = self.side
        rows = range(box.top // s, -(-(box.top + box.rows) // s))
        columns = range(box.left // s, -(-(box.left + box.columns) // s))
        for i, row in enumerate(rows):
            strip = []
            for j, column in enumerate(columns):
                watch((i + j / len(columns)) / len(rows))
                top, left = max(box.top - row * s, 0), max(box.left - column * s, 0)
                bottom, right = box.top + box.rows - row * s, box.left + box.columns - column * s
                strip.append(
                    self.block(row, column, seed, period)[:, top : min(bottom, s), left : min(right, s)].clone()
                )
            yield torch.cat(strip, 2)
        watch(1.0)


def a_window(plane: Plane, wish: Wish, rng: Generator) -> Images:
    """What a wish is for a texture without ends: its window at the origin, of a plane that the stream names."""
    rows, columns = wish.size
    return plane.window(Box(0, 0, rows, columns), plane_seed(rng), wish.size if wish.periodic else None, wish.watch)


def plane_seed(rng: Generator) -> int:
    """The seed of a plane, from a stream."""
    return int(torch.randint(1 << 62, (1,), generator=rng, device=rng.device))
