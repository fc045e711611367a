"""Answerer: the restorer that answers for a picture, chosen by a run, a name, or what comes with the package."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from sfumato import zoo
from sfumato.config import Strict
from sfumato.errors import CapabilityError, ConfigError, ShapeError, WeightsError, counted
from sfumato.images import to_float, to_uint8
from sfumato.kinds import build, discover, find, parse
from sfumato.restorers import fitting
from sfumato.restorers.base import Restorer
from sfumato.streams import stream
from sfumato.tasks.base import Observation, Operator, region_weight
from sfumato.training.run import Run, load

FILLS, ENLARGES = "telea", "bicubic"  # where no packaged model can


@dataclass(frozen=True)
class Answerer:
    """A restorer, the run whose family it asks, and what is to be said of the choice."""

    restorer: Restorer
    run: Run | None = None
    said: tuple[str, ...] = ()
    asked: bool = True
    """Whether somebody named it; else another one may answer where it cannot."""

    def instead(self, why: str) -> Answerer:
        """Who answers where this one cannot fill.

        Raises: ShapeError: it was asked for.
        """
        if self.asked:
            raise ShapeError(f"{why}; enlarge it first, or use a classical restorer (telea, biharmonic ...)")
        return Answerer(answerer_of(FILLS).restorer, None, (f"{why}; {FILLS} answers",))

    @property
    def called(self) -> str:
        """It in words."""
        kind = str(self.restorer.config.kind)
        if self.run is None:
            return kind
        made = f"{self.run.config.family.kind}, {self.run.ledger.images:,} images, seed {self.run.config.seed}"
        return made if self.run.spec.condition else f"{kind} over {made}"

    def promise(self, parts: int, draws: int = 1) -> str:
        """What it will ask of a network, and how long that should take; empty where it asks none it can time."""
        each, calls = self.restorer.seconds_a_call(), self.restorer.calls()
        if not each:
            return ""
        seconds = each * calls * parts * draws
        length = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
        many = f"{counted(parts, 'part')} x {counted(draws, 'draw')} x " if parts * draws > 1 else ""
        return f"{self.called}: {many}{counted(calls, 'call')} of the network, about {length}"

    def answer(
        self, pixels: UInt8[Tensor, "B C h w"], operator: Operator, noise: float, seed: int, part: int = 0
    ) -> UInt8[Tensor, "B C H W"]:
        """Pictures through the restorer as observations; each part of a picture has a stream of its own."""
        family = self.restorer.family
        where = family.device if family is not None else torch.device("cpu")
        x, operator = to_float(pixels).to(where), operator.to(where)
        # A mask hides and grey mixes what the picture still has; blurred, noisy and small pictures are what was measured.
        y = operator.forward(x) if operator.hides or operator.mixes else x
        observation = Observation(y, operator, region_weight(operator.known, "all"), noise)
        self.restorer.check(observation)
        rng = stream(seed, "sample", *([part] if part else []), device=where)
        return to_uint8(self.restorer.restore(observation, rng=rng)).cpu()


Choice = str | Run | Restorer | Answerer | None
Way = str | Strict | None
"""How a run restores: the name or the settings of a restorer."""


def chosen(
    model: Choice,
    fills: bool,
    scale: int | None,
    device: str = "auto",
    restorer: Way = None,
) -> Answerer:
    """Who answers: a restorer, a run or its folder, a name, or for None the packaged model that can fill or enlarge so.

    Raises: WeightsError: the folder is no finished run. ConfigError: neither a folder nor a name. CapabilityError: a restorer
    that cannot use this run, or none named where one is needed.
    """
    if isinstance(model, Answerer):
        return model
    if isinstance(model, Restorer):
        return Answerer(model)
    if model is not None:
        return answerer_of(model, device, restorer)
    if restorer is not None:
        raise ConfigError(f"--restorer {kind_of(restorer)} says how a run restores; give --model the folder of one")
    if not fills and scale is None:
        raise CapabilityError(fitting.ASK)

    def can(operator: Operator) -> bool:
        return operator.hides if fills else operator.shrinks and getattr(operator, "scale", None) == scale

    for name in zoo.names():
        run = load(zoo.folder(name), device)
        if fitting.able(run, can):
            return replace(answerer_of(run, device), asked=False)
    name = FILLS if fills else ENLARGES
    return Answerer(
        answerer_of(name).restorer, None, (f"no model that comes with sfumato can do this; {name} answers",)
    )


def answerer_of(model: str | Run, device: str = "auto", restorer: Way = None) -> Answerer:
    """Who answers, from a run, from its folder, or from the name of a packaged model or of a classical restorer.

    A folder of the name of a packaged model is meant.

    Raises: as `chosen`.
    """
    if isinstance(model, Run):
        return Answerer(_using(model, restorer), model)
    folder = zoo.folder(model) if model in zoo.names() and not Path(model).is_dir() else Path(model)
    if folder.is_dir():
        run = load(folder, device)
        return Answerer(_using(run, restorer), run)
    if len(folder.parts) > 1:
        raise WeightsError(f"no run at {model}; give the folder of a finished one, or the name of a classical restorer")
    if restorer is not None:
        raise ConfigError(f"--restorer {kind_of(restorer)} says how a run restores; {model} is none")
    kind: Any = find(Restorer, model)
    if kind.needs is not None:
        raise CapabilityError(f"restorer {model!r} needs a trained model; give --model the folder of a run")
    return Answerer(build(parse(Restorer, model)))


def limited(way: str | None, calls: int | None) -> Way:
    """How a run restores with at most so many calls of its network.

    Raises: ConfigError: calls without a restorer. CapabilityError: of one that has none.
    """
    if calls is None:
        return way
    if calls < 1:
        raise ConfigError(f"--calls {calls} asks nothing; give 1 or more")
    if way is None:
        raise ConfigError("--calls are those of a restorer that walks with a denoiser: name one, as --method ddnm")
    config: Any = parse(Restorer, way)
    changed: Strict = config.owner.within(config, calls)
    return changed


def ways() -> dict[str, Any]:
    """The restorers that ask a model of images, by name."""
    kinds: dict[str, Any] = discover(Restorer)
    return {name: kind for name, kind in kinds.items() if kind.needs is not None and not kind.trains_on_tasks}


def kind_of(way: str | Strict) -> str:
    """Its name."""
    return way if isinstance(way, str) else str(way.kind)  # type: ignore[attr-defined]


def _using(run: Run, name: Way) -> Restorer:
    """The restorer of this name or of these settings over a run's family; `conditional` for one that was trained to restore."""
    if name is None and run.spec.condition:
        name = "conditional"
    if name is None:
        fit = [key for key, kind in ways().items() if isinstance(run.family, kind.needs)]
        named = f"name what restores with it: --restorer {' or '.join(fit)}" if fit else "nothing restores with it"
        raise CapabilityError(
            f"this {run.config.family.kind} was trained on {fitting.tasks(run)}, not to restore; {named}"
        )
    made: Restorer = build(parse(Restorer, name), run.family)
    if made.needs is None:
        raise ConfigError(f"restorer {kind_of(name)!r} asks no model; give it as --model {kind_of(name)}")
    return made
