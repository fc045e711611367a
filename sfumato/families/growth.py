"""Growing up: a training that goes through resolutions, the smallest first; paper 002's in-painter and the progressive GANs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import Field

from sfumato.config import Strict
from sfumato.data.base import DataSpec
from sfumato.errors import ConfigError
from sfumato.families.base import Stage
from sfumato.images import Size
from sfumato.networks.growth import Growing


class Growth(Strict):
    """What every family that grows can be told."""

    grow: bool = True
    """Learn each resolution in turn; else the whole network from scratch."""
    shares: list[float] = []
    """The share of the budget of each resolution, the smallest first; equal ones where left out."""
    fade: float = Field(default=0.25, ge=0.0, le=1.0)
    """The share of a stage in which its new blocks are faded in."""


class Grows(ABC):
    """A family whose networks stand at a level; `begin_growth` when they are built."""

    config: Any
    spec: DataSpec
    levels: int

    @abstractmethod
    def growing(self) -> Sequence[Growing]:
        """The networks."""

    def begin_growth(self, levels: int) -> None:
        """So many resolutions, each with a share of the budget.

        Raises: ConfigError: there are not as many shares.
        """
        self.levels, shares = levels, self.config.shares
        if shares and (len(shares) != levels or min(shares) <= 0):
            raise ConfigError(f"shares = {shares}: {levels} resolutions need as many shares above 0")

    def learnt(self) -> Callable[[Mapping[str, float]], bool] | None:
        """What may end a stage early; nothing does."""
        return None

    def stages(self) -> Sequence[Stage]:
        """One for each resolution."""
        if not self.config.grow:
            return (Stage(self.name_of(self.levels - 1)),)
        shares = self.config.shares or [1.0] * self.levels
        return [
            Stage(self.name_of(level), share / sum(shares), size=self.size_of(level), stop_when=self.learnt())
            for level, share in enumerate(shares)
        ]

    def size_of(self, level: int) -> Size:
        """Rows and columns of a level."""
        rows, columns = self.spec.size
        behind = self.levels - 1 - level
        return rows >> behind, columns >> behind

    def name_of(self, level: int) -> str:
        """How its stage is called."""
        return " x ".join(map(str, self.size_of(level)))

    def level_of(self, stage: Stage) -> int:
        """The level of a stage."""
        return next(level for level in range(self.levels) if self.name_of(level) == stage.name)

    def grow(self, stage: Stage) -> None:
        """All networks stand at the stage's resolution, its blocks not yet faded in where there is something to fade."""
        level = self.level_of(stage)
        new = self.config.grow and level > 0 and self.config.fade > 0
        for network in self.growing():
            network.stand(level, 0.0 if new else 1.0)

    def fade_in(self, within: float) -> None:
        """The newest blocks are there as much as the share of the stage that is over says."""
        fade = self.config.fade
        for network in self.growing():
            level = int(network.level)
            network.stand(level, min(within / fade, 1.0) if self.config.grow and level and fade else 1.0)
