"""Families: what learns. A family owns networks, says who plays with which loss, and draws images.

It never steps an optimiser: `training/` owns every step and its accounting, so that budgets can be compared.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, final

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn
from torch.nn import Parameter

from sfumato.config import Strict
from sfumato.data.base import DataSpec
from sfumato.errors import CapabilityError, ConfigError, DivergedError, ShapeError
from sfumato.families.optimizers import AdamW
from sfumato.images import Images, Known, Size
from sfumato.kinds import Kind
from sfumato.networks.condition import Condition
from sfumato.streams import Rngs, device_of, uniforms
from sfumato.tasks.base import Observation, Observed, Task

Terms = Mapping[str, Tensor]
"""Named scalars, already weighted; a loss is their sum."""


@dataclass(frozen=True)
class Batch:
    """What a loss sees."""

    x: Images
    observation: Observed
    condition: Condition
    """What the networks are told: the observation's image, and labels if the family hears them."""
    rng: Generator
    """The stream of this turn, on the device of the images."""
    progress: float = 0.0
    """Share of the budget already spent."""
    within: float = 0.0
    """Share of this stage already spent."""
    index: Int[Tensor, " B"] | None = None
    """The places of the images in the training set."""

    def pick(self, places: slice) -> Batch:
        """A part of the batch, for when all of it does not fit into memory."""
        return replace(
            self,
            x=self.x[places],
            observation=self.observation.pick(places),
            condition=self.condition.pick(places),
            index=None if self.index is None else self.index[places],
        )


@dataclass(frozen=True)
class Objective:
    """A loss; one with `every` = n is computed each n-th turn and counts n times (lazy regularisation).

    It joins the player's step, so nothing else has to be corrected: over n turns the gradients add up to those of a loss
    that is computed each time.
    """

    loss: Callable[[Batch], Terms]
    every: int = 1


@dataclass(frozen=True)
class Group:
    """Weights that move at their own rate: `rate` times the player's learning rate."""

    weights: Sequence[Parameter]
    rate: float = 1.0


def nothing(batch: Batch) -> None:
    """The `after_step` of a player that needs none."""


@dataclass(frozen=True)
class Player:
    """One optimiser's part: whose weights move, by which objectives, how, how often."""

    name: str
    groups: Sequence[Group]
    objectives: Sequence[Objective]
    optimizer: Strict = field(default_factory=AdamW.Config)
    """The settings of an Optimizer."""
    turns: int = 1
    """Turns in each round."""
    fresh: bool = True
    """Whether each turn takes a new batch; else the turns of a round share one."""
    in_budget: bool = True
    """Whether the images of its turns count as consumed."""
    after_step: Callable[[Batch], None] = nothing
    """Called when the weights have moved, with the batch that moved them."""
    gauges: Callable[[], Terms] = dict
    """Numbers that stand in the logs beside the losses, as they are after each turn; nothing follows them."""

    @property
    def weights(self) -> list[Parameter]:
        """The weights of all groups."""
        return [weight for group in self.groups for weight in group.weights]


@dataclass(frozen=True)
class Stage:
    """A part of the training: its share of the budget and what differs in it."""

    name: str = "train"
    share: float = 1.0
    turns: int | None = None
    """Rounds that it lasts, in place of a share: what learns from one picture counts turns and not images."""
    size: Size | None = None
    """Images are made smaller to this size."""
    crop: Size | None = None
    """A window of this size is cut out of each image, at random."""
    keep_optimizers: bool = False
    """Optimisers go on from the stage before, for the weights that both have."""
    use_average: bool = False
    """When the stage ends, the averaged weights take the place of the trained ones."""
    stop_when: Callable[[Mapping[str, float]], bool] | None = None
    """Looks at the mean losses now and then and may end the stage early; what it saves is not spent."""


class Pass(Protocol):
    """One pass over the training images, as `fit` sees it."""

    def all(self, at_once: int = 256) -> Iterator[tuple[Images, Tensor | None]]:
        """Images in [-1, 1] in the order of the set, and their labels; each is charged to the ledger."""
        ...

    def known(self) -> Known | None:
        """Where the images count, 1, and where not, 0, in the same order; None where they count everywhere."""
        ...

    def stream(self, name: str) -> Generator:
        """A stream of the training's seed."""
        ...


class Family(Kind, nn.Module, ABC, root=True):
    """Networks, objectives and a way to draw, built from settings and a `DataSpec` alone."""

    labelled: bool = False
    """Whether the networks hear labels; a setting `labels` turns it on."""

    random: ClassVar[bool] = True
    """Whether another seed trains another model; a study then needs several to speak of the method."""

    draws: ClassVar[bool] = True
    """Whether it makes images; else it only says how odd some are."""

    wants: ClassVar[Mapping[str, type]] = MappingProxyType({})
    """Trained families that this one is made of, by name, and what each must be (Family, Decodes, Denoises ...)."""

    def __init__(self, config: Strict, spec: DataSpec, parts: Mapping[str, Family] = MappingProxyType({})):
        super().__init__()
        self.config: Any = config
        self.spec = spec
        for name, kind in self.wants.items():
            if not isinstance(parts.get(name), kind):
                given = f"it is a {parts[name].config.kind}" if name in parts else "none was given"
                raise ConfigError(
                    f"{config.kind!r} needs a trained {kind.__name__} as its part {name!r}, and {given}; "  # type: ignore[attr-defined]
                    f"name a run: parts.{name} = 'runs/...'"
                )
        if more := sorted(set(parts) - set(self.wants)):
            raise ConfigError(f"{config.kind!r} has no part {more[0]!r}; its parts: {', '.join(self.wants) or 'none'}")  # type: ignore[attr-defined]
        for name in self.wants:
            self.add_module(name, parts[name].requires_grad_(False))
        self.labelled = self.labelled or bool(getattr(config, "labels", False))
        if self.labelled and not spec.classes:
            raise ConfigError("labels = true needs data with labels; this data has none")
        self.check_size(spec.size)
        self.build()

    @classmethod
    def refuses(cls, config: Any, observation: Observation) -> str:
        """Why a family of such settings cannot be trained on what is observed so; empty where it can."""
        return ""

    def check_parts(self, tasks: Mapping[str, Sequence[Task]]) -> None:
        """Raises: ConfigError: a part was trained on tasks that are not what this family wants of it."""

    @abstractmethod
    def build(self) -> None:
        """Make the networks; the parts that the family wants are there under their names."""

    def train(self, mode: bool = True) -> Family:
        """Training or drawing; parts stay as they were trained, batch statistics too."""
        super().train(mode)
        for name in self.wants:
            getattr(self, name).eval()
        return self

    @abstractmethod
    def players(self, stage: Stage) -> Sequence[Player]:
        """Who plays in this stage, in the order of their turns; pure, and empty where nothing is trained by steps."""

    def draw(self, n: int, condition: Condition, size: Size, rng: Rngs) -> Images:
        """n images; `rng` is on the device of the weights.

        Raises: CapabilityError: the family makes none.
        """
        raise CapabilityError(
            f"a {self.config.kind} makes no images, it says how odd some are: sfumato anomaly RUN IMAGES"
        )

    def stages(self) -> Sequence[Stage]:
        """The parts of the training, in order; one unless the family grows; none where there is nothing to learn."""
        return (Stage(),)

    def grow(self, stage: Stage) -> None:
        """Change the networks' structure for a stage: a pure function of settings and stage, replayed when a run is loaded."""

    def adopt(self, weights: Mapping[str, Tensor]) -> list[str]:
        """Take over what fits of another training's weights, and say which; the rest stays as it is.

        What has the same name and shape is kept. A convolution that now sees more channels keeps what it knew of the first
        ones and begins with 0 for the others, so that it still says the same.
        """
        kept, state = [], self.state_dict()
        with torch.no_grad():
            for name, value in weights.items():
                mine = state.get(name)
                if mine is None or mine.ndim != value.ndim or mine.dtype != value.dtype:
                    continue
                more = mine.ndim == 4 and mine.shape[1] > value.shape[1]
                if mine.shape == value.shape:
                    mine.copy_(value)
                elif more and mine.shape[0] == value.shape[0] and mine.shape[2:] == value.shape[2:]:
                    mine.zero_()[:, : value.shape[1]].copy_(value)
                else:
                    continue
                kept.append(name)
        return kept

    def fit(self, stage: Stage, images: Pass) -> Iterator[float]:
        """Set what is computed once and not trained (buffers), yielding the share done; skipped at load and resume."""
        return iter(())

    def check_size(self, size: Size) -> None:
        """Raises: ConfigError: the family cannot draw images of this size."""

    def deployed(self) -> Sequence[nn.Module]:
        """The networks that sampling needs: what parity counts and what is averaged and published."""
        return (self,)

    def companions(self) -> Sequence[nn.Module]:
        """Networks that sampling does without and other uses do not, as an encoder: averaged and saved, not counted."""
        return ()

    def notes(self) -> Sequence[str]:
        """What the card of a finished run should say beyond its settings."""
        return ()

    def alarm(self, means: Mapping[str, float]) -> str:
        """What is wrong with a training, from the mean losses of the last rounds; empty where nothing is.

        It is asked once a tenth of the budget is spent; what it says is told at once and stays on the card.
        """
        return ""

    def frozen(self) -> Sequence[nn.Module]:
        """Deployed parts that nobody trains."""
        return ()

    def calls(self) -> int:
        """How many network calls one image takes."""
        return 1

    def untold(self, n: int, rng: Rngs) -> Int[Tensor, " n"]:
        """The labels that stand for nobody having told any: random classes, unless the family knows "not told"."""
        return (uniforms(rng, n) * self.spec.classes).long()

    @property
    def device(self) -> torch.device:
        """Where the weights or, without any, the buffers are."""
        tensors = (*self.parameters(), *self.buffers())
        return tensors[0].device if tensors else torch.device("cpu")

    @final
    def condition(self, observation: Observed | None, label: Int[Tensor, " B"] | None = None) -> Condition:
        """What the networks are told.

        Raises: CapabilityError: the family was trained for restoration and has nothing to restore, or the reverse.
        """
        told = label if self.labelled else None
        if self.spec.condition == 0:
            if observation is not None and not observation.empty:
                raise CapabilityError(
                    f"this {self.config.kind} was trained to generate, not to restore; train it on the task"
                )
            return Condition(label=told)
        if observation is None:
            raise CapabilityError(f"this {self.config.kind} was trained to restore; give it an observation")
        return Condition(observation.image, told)

    @final
    def labels(self, label: int | Int[Tensor, " B"] | None, n: int, rng: Rngs) -> Int[Tensor, " B"] | None:
        """Labels for n images: those given, one for all, or "not told"; None for a family that hears none.

        Raises: CapabilityError: a label for a family that hears none. ConfigError: no such class.
        """
        if not self.labelled:
            if label is not None:
                raise CapabilityError(f"this {self.config.kind} was trained without labels; leave the class out")
            return None
        if label is None:
            return self.untold(n, rng)
        told = torch.as_tensor(label, device=device_of(rng)).long().expand(n)
        if int(told.min()) < 0 or int(told.max()) >= self.spec.classes:
            raise ConfigError(f"class {label} does not exist; this model knows 0 to {self.spec.classes - 1}")
        return told

    @final
    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        observation: Observation | None = None,
        label: int | Int[Tensor, " B"] | None = None,
        size: Size | None = None,
        rng: Rngs,
    ) -> Images:
        """n images in [-1, 1], conditioned on the observation and the label where there are any.

        Raises: ShapeError: an observation of another number or size of images. DivergedError: a pixel is not finite.
        """
        size = size or self.spec.size
        if observation is not None and (len(observation) != n or observation.operator.size != size):
            seen = observation.operator.size
            raise ShapeError(
                f"{n} images of {size[0]} x {size[1]} were asked for, but the observation is of {len(observation)} "
                f"of {seen[0]} x {seen[1]}; they must agree"
            )
        was_training = self.training
        self.eval()
        try:
            x = self.draw(n, self.condition(observation, self.labels(label, n, rng)), size, rng)
        finally:
            self.train(was_training)
        if not bool(x.isfinite().all()):
            raise DivergedError(f"{self.config.kind} drew pixels that are not finite; its training diverged")
        return x.float().clamp(-1.0, 1.0)


def weights(*modules: nn.Module, rate: float = 1.0) -> Group:
    """All parameters of some modules, as one group."""
    return Group([parameter for module in modules for parameter in module.parameters()], rate)


def parameter_count(modules: Sequence[nn.Module]) -> int:
    """The number of weights in some modules, each counted once."""
    return sum({id(p): p.numel() for module in modules for p in module.parameters()}.values())


def weighted_mean(error: Images, weight: Float[Tensor, "B 1 H W"]) -> Float[Tensor, ""]:
    """sum(weight error) / sum(weight) over pixels and channels: a mean that looks only where the task says."""
    return (error * weight).sum() / (weight.sum() * error.shape[1]).clamp(min=1.0)
