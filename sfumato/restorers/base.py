"""Restorers: whatever answers an observation with images, learned or classical, behind one signature."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, final

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from sfumato.errors import CapabilityError
from sfumato.families.base import Family
from sfumato.images import Images, Size, to_float, to_uint8
from sfumato.kinds import Kind
from sfumato.streams import Rngs
from sfumato.tasks.base import Observation, Operator

ROUNDS = 20  # of project and clamp; block means agree to about 1e-3 of the range after them, masks after one


def agree(x: Images, observation: Observation) -> Images:
    """Bring x into the range [-1, 1] and into agreement with the measurement, by projecting on each in turn.

    Clamping can break what the projection x + A+ (y - A x) made right, except for masks; both sets are convex, so the
    alternation converges to their intersection (Bauschke and Borwein, 1996, On projection algorithms).
    """
    for _ in range(ROUNDS):
        projected = observation.project(x)
        x = projected.clamp(-1.0, 1.0)
        if torch.equal(x, projected):
            break
    return x


class Restorer(Kind, ABC, root=True):
    """Answers an observation; it never sees the true image."""

    needs: ClassVar[type | None] = None
    """What it needs of a family (Family, Denoises, Decodes ...); None for the classical ones."""

    trains_on_tasks: ClassVar[bool] = True
    """Whether its family is trained on the tasks themselves; else on generation, once for all of them."""

    unconditional: ClassVar[bool] = False
    """Whether it asks its family as one of images alone, which a family that was trained to restore is not."""
    own_patches: ClassVar[bool] = False
    """Whether it learns from the very picture that it answers for, which takes seconds or minutes: it is named to be used, and
    not set beside every model as the quick classical methods are."""
    rehearses: ClassVar[bool] = True
    """Whether a first answer is thrown away before the clock starts, so that libraries are warm."""

    def __init__(self, config: Any, family: Family | None = None):
        self.config: Any = config
        if lacking := self.lacks(None if family is None else family.config):
            raise CapabilityError(f"restorer {self.config.kind!r} {lacking}")
        self.family = family
        if self.unconditional and family is not None and family.spec.condition:
            raise CapabilityError(
                f"{self.config.kind} needs an unconditional model, but this {family.config.kind} was trained to "
                "restore; train it on generation, or use the restorer conditional"
            )

    @classmethod
    def lacks(cls, family: Any) -> str:
        """Why a family of such settings cannot be used, in words; empty where it can."""
        if cls.needs is None:
            return ""
        wanted = f"needs a family that is a {cls.needs.__name__}"
        if family is None:
            return f"{wanted}; none was given"
        if not issubclass(family.owner, cls.needs):
            return f"{wanted}; {family.kind} is none"
        return "" if family.owner.draws else f"needs a family that makes images; {family.kind} only rates them"

    @abstractmethod
    def restore(self, observation: Observation, *, rng: Rngs) -> Images:
        """Images in [-1, 1] for what was observed."""

    def answer(self, observation: Observation, label: Tensor | None, *, rng: Rngs) -> Images:
        """`restore`, telling labels where they are known and the restorer can use them."""
        return self.restore(observation, rng=rng)

    @final
    def require_known(self, observation: Observation) -> None:
        """Raises: CapabilityError: the operator is not known."""
        if not observation.operator.linear:
            raise CapabilityError(
                f"{self.config.kind} needs a known operator, which pairs of pictures have not; use conditional"
            )

    def calls(self) -> int:
        """How many network calls one answer takes."""
        return 0 if self.family is None else self.family.calls()

    @classmethod
    def within(cls, config: Any, calls: int) -> Any:
        """The same settings for at most so many calls of the network.

        Raises: CapabilityError: it does not walk with a denoiser.
        """
        raise CapabilityError(f"restorer {config.kind!r} does not walk with a denoiser, so calls cannot be chosen")

    def seconds_a_call(self) -> float:
        """What one call takes on one image, tried; 0 where nothing is called."""
        return 0.0

    def costs(self) -> dict[str, float]:
        """What its answers took beside the time of each, by name and unit."""
        return {}

    @classmethod
    def answers(cls, operator: Operator) -> bool:
        """Whether it can undo such an operator: classical in-painters fill what is hidden, interpolators enlarge."""
        return not operator.likens

    @final
    def check(self, observation: Observation) -> None:
        """Raises: CapabilityError: this restorer cannot undo this operator."""
        if not self.answers(observation.operator):
            raise CapabilityError(
                f"restorer {self.config.kind!r} cannot undo {type(observation.operator).__name__}; "
                "in-painters fill masks, interpolators enlarge, learned methods do what they were trained for"
            )


class Filler(Restorer, abstract=True):
    """A classical in-painter that works picture by picture on uint8 rows x columns x channels."""

    reach: int | None = None
    """How many pixels around a hole decide what fills it; None where all of the picture does."""

    @classmethod
    def answers(cls, operator: Operator) -> bool:
        return operator.hides

    @final
    def filled(self, picture: NDArray[np.uint8], hole: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """`fill`, shown no more than what decides: of a large picture with a small hole that is little."""
        if self.reach is None:
            return self.fill(picture, hole)
        lines = [np.flatnonzero(hole.any(1 - axis)) for axis in (0, 1)]
        place = tuple(slice(max(int(line[0]) - self.reach, 0), int(line[-1]) + self.reach + 1) for line in lines)
        made = picture.copy()
        made[place] = self.fill(np.ascontiguousarray(picture[place]), np.ascontiguousarray(hole[place])).reshape(
            picture[place].shape
        )
        return made

    @abstractmethod
    def fill(self, picture: NDArray[np.uint8], hole: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """The picture [H, W, C] with its hole [H, W] (True = to be made) filled."""

    def restore(self, observation: Observation, *, rng: Rngs) -> Images:
        """Fill each picture; one without known pixels becomes mid-grey, since nothing is known of it."""
        self.check(observation)
        pictures = to_uint8(observation.preview).permute(0, 2, 3, 1).contiguous().cpu().numpy()
        holes = (observation.operator.known[:, 0] < 0.5).cpu().numpy()
        made = np.empty_like(pictures)
        for i, (picture, hole) in enumerate(zip(pictures, holes, strict=True)):
            if not hole.any():
                made[i] = picture
            elif hole.all():
                made[i] = 128
            else:
                made[i] = self.filled(picture, hole).reshape(picture.shape)
        x = to_float(torch.from_numpy(made).permute(0, 3, 1, 2)).to(observation.y.device)
        return observation.project(x)


class Enlarger(Restorer, abstract=True):
    """A classical interpolation of a smaller image."""

    @classmethod
    def answers(cls, operator: Operator) -> bool:
        return operator.shrinks

    @abstractmethod
    def enlarge(self, y: Float[torch.Tensor, "B C h w"], size: Size) -> Images:
        """y at full size."""

    def restore(self, observation: Observation, *, rng: Rngs) -> Images:
        """Enlarge all pictures at once; what was measured is kept, as in learned answers."""
        self.check(observation)
        return agree(self.enlarge(observation.y, observation.operator.size), observation)
