"""Cascades: a model of small images, and one that enlarges what it draws; the first may be a cascade itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from jaxtyping import Int
from pydantic import Field
from torch import Tensor

from sfumato.config import Strict
from sfumato.errors import ConfigError
from sfumato.families.abilities import Enlarges
from sfumato.families.base import Family, Player, Stage
from sfumato.images import Images, Size
from sfumato.networks.condition import Condition
from sfumato.streams import Rngs
from sfumato.tasks.base import Observation
from sfumato.tasks.down_sampling import BlockMean


class Cascade(Family, Enlarges):
    """x = upper(base()): y drawn by one family, x drawn by another given A x = y, A the mean of blocks.

    Both are trained before, `base` on generation, `upper` on super-resolution at the size of this one, best with some noise in
    what it sees (`conditioning_noise`), for what is drawn is not what was measured. Nothing is trained here.
    Reference: Ho et al. (2022), Cascaded diffusion models for high fidelity image generation.
    """

    wants = {"base": Family, "upper": Family}

    class Config(Strict):
        kind: Literal["cascade"] = "cascade"
        conditioning_level: float | None = Field(default=None, ge=0.0, le=1.0)
        """How much noise is put into what `base` drew before `upper` sees it; null: as `upper` was set."""

    def build(self) -> None:
        """Nothing but the parts.

        Raises: ConfigError: they do not fit together.
        """
        base, upper = self.parts("base"), self.parts("upper")
        small, large = base.spec.size, upper.spec.size
        self.labelled = base.labelled
        self.scale = large[0] // small[0]
        if base.spec.condition or not upper.spec.condition:
            raise ConfigError("a cascade is of a base that was trained on generation and an upper on super_resolution")
        if large != (small[0] * self.scale, small[1] * self.scale) or self.scale < 2:
            raise ConfigError(
                f"images of {small[0]} x {small[1]} are no whole times smaller than {large[0]} x {large[1]}"
            )
        if large != self.spec.size or not self.spec.channels == base.spec.channels == upper.spec.channels:
            raise ConfigError(
                f"this data has images of {self.spec.channels} x {self.spec.size[0]} x {self.spec.size[1]}, its upper part "
                f"draws {upper.spec.channels} x {large[0]} x {large[1]}; make them agree"
            )
        level = self.config.conditioning_level
        if level is not None:
            if not getattr(upper.config, "conditioning_noise", 0.0):
                raise ConfigError("conditioning_level is for an upper part that learnt with noise (conditioning_noise)")
            upper.config = upper.config.model_copy(update={"conditioning_level": level})

    def parts(self, name: str) -> Family:
        """One of the two."""
        part: Family = getattr(self, name)
        return part

    def stages(self) -> Sequence[Stage]:
        """None: its parts are trained."""
        return ()

    def players(self, stage: Stage) -> Sequence[Player]:
        """Nobody."""
        return ()

    def calls(self) -> int:
        """Those of both."""
        return self.parts("base").calls() + self.parts("upper").calls()

    def untold(self, n: int, rng: Rngs) -> Int[Tensor, " n"]:
        """As the base has it."""
        return self.parts("base").untold(n, rng)

    def draw(self, n: int, condition: Condition, size: Size, rng: Rngs) -> Images:
        """Small images, enlarged."""
        base = self.parts("base")
        return self.enlarge(base.draw(n, Condition(label=condition.label), base.spec.size, rng).clamp(-1.0, 1.0), rng)

    def enlarge(self, y: Images, rng: Rngs) -> Images:
        """Images of the base's size at this one's; smaller ones go through the base first, if that enlarges."""
        base, n = self.parts("base"), len(y)
        if tuple(y.shape[2:]) != base.spec.size:
            if not isinstance(base, Enlarges):
                raise ConfigError(
                    f"images of {y.shape[2]} x {y.shape[3]} cannot be enlarged by a cascade from {base.spec.size[0]} x "
                    f"{base.spec.size[1]}"
                )
            y = base.enlarge(y, rng)
        operator = BlockMean(n, self.spec.size, self.scale).to(y.device)
        seen = Observation(y, operator, 1.0 - operator.known)
        return self.parts("upper").sample(n, observation=seen, rng=rng)
