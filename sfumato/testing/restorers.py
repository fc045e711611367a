"""The check of restorers."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch

from sfumato.config import Strict
from sfumato.data.base import DataSpec
from sfumato.errors import CapabilityError, ConfigError
from sfumato.families.base import Family, parameter_count
from sfumato.images import Images, to_float, to_uint8
from sfumato.kinds import build, discover
from sfumato.restorers.base import Restorer
from sfumato.streams import stream
from sfumato.tasks.base import Observation, Operator
from sfumato.tasks.down_sampling import BlockMean, CubicDown
from sfumato.tasks.operators import Masking
from sfumato.testing.configs import check_config
from sfumato.testing.parts import (
    BATCH,
    COLOUR,
    check_images,
    configured,
    no_global_random,
    observed,
    pictures,
    raises,
    require,
    streams,
    tasks_for,
)
from sfumato.training.run import make_family


def check_restorer(kind: str | Strict, family: Family | None = None) -> None:
    """A restorer keeps what is known, stays in range and refuses what it cannot undo.

    Held for every task kind, down-sampling by 2, nothing to fill and nothing known: known pixels come back to one level of
    255; images are finite, float32, in [-1, 1]; an equal rng gives equal bits; the observation is left as it was; an operator
    that it does not answer raises CapabilityError, and so does a missing family. Without a `family` the first that fits is
    built.

    Raises: AssertionError: the first promise that is broken. CapabilityError: the given family cannot be used.
    """
    config = configured(Restorer, kind)
    check_config(config)
    cls: Any = config.owner
    if cls.needs is not None:
        raises(CapabilityError, lambda: build(config), f"{config.kind} can be built without the family that it needs")
        family = family if family is not None else _family_for(config)
    restorer: Restorer = build(config, family)
    spec = family.spec if family is not None else COLOUR
    x = to_float(pictures(BATCH, spec.channels, spec.size))
    for observation in _observations(x):
        name = f"{config.kind} on {type(observation.operator).__name__}"
        if not cls.answers(observation.operator):
            raises(
                CapabilityError,
                lambda seen=observation: restorer.restore(seen, rng=stream(0, "sample")),
                f"{name}: an operator that it does not answer must raise CapabilityError",
            )
            continue
        before = observation.y.clone(), observation.known.clone()
        with no_global_random(name):
            made = restorer.restore(observation, rng=stream(0, "sample"))
        check_images(made, x, name)
        same = torch.equal(before[0], observation.y) and torch.equal(before[1], observation.known)
        require(same, f"{name} changed the observation it was given")
        again = restorer.restore(observation, rng=stream(0, "sample"))
        require(torch.equal(made, again), f"{name}: an equal rng gave other bits")
        if getattr(config, "project", True):
            off = (to_uint8(made).int() - to_uint8(x).int()).abs() * observation.known
            require(int(off.max()) <= 1, f"{name} changed known pixels by up to {int(off.max())} levels of 255")


def _observations(x: Images) -> list[Observation]:
    """What a restorer may meet: every task kind, down-sampling by 2, nothing to fill, nothing known."""
    n, size = len(x), (x.shape[2], x.shape[3])
    spec = DataSpec(channels=x.shape[1], size=size, condition=x.shape[1] + 1)
    whole = torch.ones(n, 1, *size)
    operators: list[Operator] = [Masking(whole), Masking(torch.zeros_like(whole))]
    operators += [BlockMean(n, size, 2), CubicDown(n, size, 2)]
    return [task.observe(x, streams(n)) for task in tasks_for(spec)] + [observed(one, x) for one in operators]


def _family_for(config: Any) -> Family:
    """Of the families that a restorer can use the one with the fewest calls, then weights, made small."""
    spec = COLOUR.model_copy(update={"condition": 4 if config.owner.trains_on_tasks else 0})
    found = list[Family]()
    for name in discover(Family):
        if not config.owner.lacks(configured(Family, name)):
            with suppress(ConfigError):  # it only generates, or only restores
                found.append(make_family(configured(Family, name), spec, 0))
    require(bool(found), f"no family is a {config.owner.needs.__name__}, which {config.kind} needs")
    return min(found, key=lambda family: (family.calls(), parameter_count(family.deployed()))).eval()
