"""Synthesis: learns a texture from each picture that it is shown, and answers with another one."""

from __future__ import annotations

import hashlib
import time
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Generator

from sfumato.config import Strict
from sfumato.data.base import DataSpec, Split
from sfumato.errors import ConfigError
from sfumato.families.base import Family
from sfumato.families.gaussian_field import GaussianField
from sfumato.families.texture import Texture
from sfumato.images import Images, Known, to_uint8
from sfumato.kinds import choice
from sfumato.restorers.base import Restorer
from sfumato.streams import Rngs
from sfumato.tasks.base import Observation, Operator
from sfumato.tasks.generation import Generation
from sfumato.training.averages import Last
from sfumato.training.budget import Budget
from sfumato.training.run import make_family
from sfumato.training.state import Watch
from sfumato.training.trainer import Trainer


def learnt(
    method: Strict, picture: Images, seed: int, *, known: Known | None = None, watch: Watch | None = None
) -> Texture:
    """A texture family that has learnt from one picture [1, C, H, W]; what it takes its own settings say.

    Raises: ConfigError: the method is no texture, or the picture is too small for it.
    """
    family = make_family(method, DataSpec(channels=picture.shape[1], size=(picture.shape[2], picture.shape[3])), seed)
    if not isinstance(family, Texture):
        raise ConfigError(f"{method.kind!r} learns from many pictures; a texture is learnt from one")  # type: ignore[attr-defined]
    split = Split(to_uint8(picture), known=None if known is None else known > 0)
    budget = Budget(batch=1, average=Last.Config())
    Trainer(family, Generation(Generation.Config()), budget, seed=seed, device=picture.device, watch=watch).run(split)
    return family.eval()


class Synthesis(Restorer):
    """Train the method on the picture alone, then draw one of the same size; further draws come from what was learnt."""

    class Config(Strict):
        kind: Literal["synthesis"] = "synthesis"
        method: Annotated[Any, choice(Family, "gaussian_field")] = GaussianField.Config()
        """A texture family and its settings."""

    own_patches = True
    rehearses: ClassVar[bool] = False

    def __init__(self, config: Config, family: Family | None = None):
        super().__init__(config, family)
        if not issubclass(config.method.owner, Texture):
            raise ConfigError(
                f"{config.method.kind!r} learns from many pictures; name a texture, as in method = 'texto'"
            )
        self._learnt: dict[bytes, Texture] = {}
        self._spent: dict[str, list[float]] = {"learning, s": [], "synthesis, s": []}

    @classmethod
    def answers(cls, operator: Operator) -> bool:
        return operator.likens

    def restore(self, observation: Observation, *, rng: Rngs) -> Images:
        """One picture after the other."""
        self.check(observation)
        made = []
        for i, picture in enumerate(observation.y):
            own = rng if isinstance(rng, Generator) else rng[i]
            texture = self._of(picture[None], int(torch.randint(1 << 31, (1,), generator=own, device=own.device)))
            start = time.perf_counter()
            made.append(texture.sample(1, size=observation.operator.size, rng=own))
            self._spent["synthesis, s"].append(time.perf_counter() - start)
        return torch.cat(made)

    def _of(self, picture: Images, seed: int) -> Texture:
        key = hashlib.sha256(to_uint8(picture).cpu().numpy().tobytes()).digest()
        if key not in self._learnt:
            start = time.perf_counter()
            self._learnt[key] = learnt(self.config.method, picture, seed)
            self._spent["learning, s"].append(time.perf_counter() - start)
        return self._learnt[key]

    def costs(self) -> dict[str, float]:
        """The means of what a picture took to learn and to make."""
        return {name: sum(spent) / len(spent) for name, spent in self._spent.items() if spent}
