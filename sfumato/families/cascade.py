"""Cascades: a model of small images, and one that enlarges what it draws; the first may be a cascade itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

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
from sfumato.tasks.base import Observation, Task
from sfumato.tasks.down_sampling import BlockMean
from sfumato.tasks.super_resolution import SuperResolution


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

    @classmethod
    def refuses(cls, config: Any, observation: Observation) -> str:
        """Whatever gives something: a small picture is enlarged by the restorer `chain`."""
        return "" if observation.empty else "a cascade draws; train it on generation and enlarge pictures by chain"

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
                f"this data has images of {self.spec.channels} x {self.spec.size[0]} x {self.spec.size[1]}, the upper part "
                f"draws {upper.spec.channels} x {large[0]} x {large[1]} and the base {base.spec.channels} channels; make "
                "them agree"
            )
        if base.labelled and base.spec.classes != self.spec.classes:
            raise ConfigError(
                f"the base hears {base.spec.classes} classes, this data has {self.spec.classes or 'none'}"
            )
        level, learnt = self.config.conditioning_level, getattr(upper.config, "conditioning_noise", 0.0)
        if level is not None:
            if level > learnt or not learnt:
                raise ConfigError(
                    f"conditioning_level = {level:g} is for an upper part that learnt with noise up to it "
                    f"(conditioning_noise); this one learnt with up to {learnt:g}"
                )
            upper.config = upper.config.model_copy(update={"conditioning_level": level})

    def check_parts(self, tasks: Mapping[str, Sequence[Task]]) -> None:
        """Raises: ConfigError: `upper` was not trained to enlarge what `base` draws."""
        wanted = SuperResolution(SuperResolution.Config(scale=self.scale))
        told = tasks["upper"]
        if len(told) != 1 or told[0].config != wanted.config:
            raise ConfigError(
                f"upper: it was trained on {', '.join(task.name for task in told)}; to enlarge {self.scale} times it has to be "
                f"trained on super_resolution with scale = {self.scale} and its other settings left as they are"
            )

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
        base, label = self.parts("base"), condition.label
        y = base.draw(n, Condition(label=label), base.spec.size, rng).clamp(-1.0, 1.0)
        told = None if label is None or bool((label >= self.spec.classes).any()) else label
        return self.enlarge(y, rng, told)

    def enlarge(self, y: Images, rng: Rngs, label: Int[Tensor, " n"] | None = None) -> Images:
        """Images of the base's size at this one's; smaller ones go through the base first, if that enlarges."""
        base, n = self.parts("base"), len(y)
        if tuple(y.shape[2:]) != base.spec.size:
            if not isinstance(base, Enlarges):
                raise ConfigError(
                    f"images of {y.shape[2]} x {y.shape[3]} cannot be enlarged by a cascade from {base.spec.size[0]} x "
                    f"{base.spec.size[1]}"
                )
            y = base.enlarge(y, rng, label)
        operator = BlockMean(n, self.spec.size, self.scale).to(y.device)
        seen = Observation(y, operator, 1.0 - operator.known)
        upper = self.parts("upper")
        return upper.sample(n, observation=seen, label=label if upper.labelled else None, rng=rng)
