"""The check of families: trained for three rounds, sampled, reloaded, poisoned."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from sfumato.config import Strict
from sfumato.data.base import DataSpec, Split
from sfumato.errors import CapabilityError, ConfigError, DivergedError
from sfumato.families.abilities import Rates
from sfumato.families.base import Batch, Family, Objective, Player, Stage, Terms
from sfumato.images import to_float
from sfumato.kinds import discover
from sfumato.restorers.base import Restorer
from sfumato.streams import stream
from sfumato.tasks.base import Task
from sfumato.testing.configs import check_config
from sfumato.testing.parts import (
    BATCH,
    COLOUR,
    GREY,
    POINTS,
    WIDE,
    check_images,
    configured,
    no_global_random,
    pictures,
    raises,
    require,
    short,
    streams,
    tasks_for,
)
from sfumato.testing.restorers import check_restorer
from sfumato.training.averages import deployed_state
from sfumato.training.budget import Budget
from sfumato.training.run import make_family
from sfumato.training.state import grown
from sfumato.training.trainer import Trainer

SET = 4 * BATCH  # images that a family is trained on


def check_family(
    kind: str | Strict, spec: DataSpec | Sequence[DataSpec] | None = None, *, restorers: bool = True
) -> None:
    """A family trains, samples, reloads and answers as every other one does.

    Held for grey, colour, 2-channel 1 x 1 and oblong images (those that the family accepts; all that you name): settings
    survive JSON; building, losses and sampling leave torch's global generator alone; each turn moves the player's own weights
    and nobody else's; each task trains, twice to the same bits; a loss that is not finite raises DivergedError; `sample` gives
    finite float32 in [-1, 1] of the right shape and the same bits for an equal rng and n (not for another n); the deployed
    state in a fresh family samples the same bits; every restorer that fits the family answers (unless `restorers` is off).

    Raises: AssertionError: the first promise that is broken.
    """
    config = configured(Family, kind)
    check_config(config)
    specs = [GREY, COLOUR, POINTS, WIDE] if spec is None else [spec] if isinstance(spec, DataSpec) else list(spec)
    accepted = 0
    for one in specs:
        told = [one.model_copy(update={"condition": condition}) for condition in (0, one.channels + 1)]
        families = [_check_spec(config, each) for each in told if _builds(config, each)]
        if not families:
            require(spec is None, f"{config.kind} cannot be built for {one}")
            continue
        accepted += 1
        if restorers and one.size[0] > 1 and accepted == 1:
            _check_fitting_restorers(families)
    require(accepted > 0, f"{config.kind} accepts none of {specs}")


def _builds(config: Any, spec: DataSpec) -> bool:
    """Whether the family takes such images; some only generate or only restore."""
    try:
        make_family(config, spec, 0)
    except ConfigError:
        return False
    return True


def _check_spec(config: Any, spec: DataSpec) -> Family:
    """One family on one spec; returns it as it came out of a training."""
    name = f"{config.kind} on {spec.channels} x {spec.size[0]} x {spec.size[1]}, condition {spec.condition}"
    with no_global_random(f"building {name}"):
        family = make_family(config, spec, 0)
    require(_bits(family) == _bits(make_family(config, spec, 0)), f"{name}: an equal seed builds other weights")
    trained = family
    stages = family.stages()
    for task in tasks_for(spec, stages, config):
        what = f"{name}, {task.name}"
        witness = Witness(what)
        trained = _train(config, spec, task, what, witness=witness)
        witness.finish(trained)
    again = _train(config, spec, tasks_for(spec, stages, config)[-1], name)
    require(_bits(trained) == _bits(again), f"{name}: training twice from one seed gave other weights")
    if family.draws:
        _check_sample(config, trained, name)
    else:
        _check_rates(trained.eval(), name)
    ill = make_family(config, spec, 0)
    if not any(ill.players(stage) for stage in ill.stages()):
        return trained  # nothing is trained by steps, so no loss can become infinite
    with torch.no_grad():
        for weight in ill.parameters():
            weight.fill_(math.nan)
    raises(
        DivergedError,
        lambda: _run(ill, tasks_for(spec, stages, config)[-1], _budget(config, spec, 1)),
        f"{name}: weights are NaN, but training raised no DivergedError; a loss hides it",
    )
    return trained


def _check_sample(config: Any, family: Family, name: str) -> None:
    spec = family.spec
    x = to_float(pictures(BATCH, spec.channels, spec.size))
    observation = (
        None if spec.condition == 0 else tasks_for(spec, family.stages(), family.config)[-1].observe(x, streams(BATCH))
    )
    before = _bits(family)
    with no_global_random(f"{name}.sample"):
        made = family.sample(BATCH, observation=observation, rng=stream(0, "sample"))
    check_images(made, x, f"{name}.sample")
    again = family.sample(BATCH, observation=observation, rng=stream(0, "sample"))
    require(torch.equal(made, again), f"{name}: sampling twice with an equal rng gave other bits")
    require(before == _bits(family), f"{name}: sampling changed a weight or a buffer")
    if spec.condition:
        raises(
            CapabilityError, lambda: family.sample(1, rng=stream(0, "sample")), f"{name} restored without observation"
        )
    reloaded = _reloaded(family).sample(BATCH, observation=observation, rng=stream(0, "sample"))
    require(
        torch.equal(made, reloaded),
        f"{name}: the deployed state in a fresh family samples other bits; keep growth, fades and statistics in buffers "
        "of the deployed modules, never in attributes",
    )


def _check_rates(family: Any, name: str) -> None:
    """What makes no images says so, and rates those that there are."""
    require(isinstance(family, Rates), f"{name} neither makes images nor rates them")
    raises(CapabilityError, lambda: family.sample(1, rng=stream(0, "sample")), f"{name} makes no images, but drew some")
    x = to_float(pictures(BATCH, family.spec.channels, family.spec.size))
    with no_global_random(f"{name}.rate"):
        score = family.rate(x, streams(BATCH))
    require(score.shape == (BATCH,) and bool(score.isfinite().all()), f"{name}.rate gave {score}, not {BATCH} numbers")
    require(torch.equal(score, family.rate(x, streams(BATCH))), f"{name}: rating twice with equal rngs gave other bits")
    require(
        torch.equal(score, _reloaded(family).rate(x, streams(BATCH))), f"{name}: the deployed state rates otherwise"
    )


def _reloaded(family: Family) -> Any:
    """The deployed state in a fresh family."""
    fresh = make_family(family.config, family.spec, 1)
    for stage in fresh.stages():
        grown(fresh, stage, 1)
    fresh = fresh.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fresh.load_state_dict({key: value.clone() for key, value in deployed_state(family).items()}, strict=False)
    return fresh.eval()


def _check_fitting_restorers(families: Sequence[Family]) -> None:
    """Each restorer that fits answers with the family trained on tasks or with the one trained on generation."""
    kinds: dict[str, Any] = dict(discover(Restorer))
    for name, cls in kinds.items():
        needs = getattr(cls, "needs", None)
        if needs is None or cls.lacks(families[0].config):
            continue
        if getattr(cls, "trains_on_tasks", True) and not any(family.spec.condition for family in families):
            continue  # a family that only generates is trained on no task
        refusals = []
        for family in families:
            try:
                check_restorer(short(cls), family)
            except CapabilityError as error:
                refusals.append(str(error))
        require(len(refusals) < len(families), f"restorer {name} fits but answers with no such family: {refusals}")


class Witness:
    """Takes the place of a family's players and notes, around every turn, whose weights moved."""

    def __init__(self, name: str):
        self.name = name
        self.moved: dict[str, set[str]] = {}
        self.owned: dict[str, set[str]] = {}
        self.before: dict[str, Tensor] = {}

    def watch(self, family: Family) -> None:
        """Hang between the family and its trainer."""
        players = family.players
        family.players = lambda stage: self.seen(family, players(stage))  # type: ignore[method-assign]

    def seen(self, family: Family, players: Sequence[Player]) -> list[Player]:
        """The same players, watched."""
        names = [player.name for player in players]
        require(len(set(names)) == len(names), f"{self.name}: two players have one name in {names}")
        return [
            replace(
                player,
                objectives=[replace(one, loss=self.noting(family, player, one)) for one in player.objectives],
                after_step=lambda batch, player=player: self.compare(family, player, batch),
            )
            for player in players
        ]

    def noting(self, family: Family, player: Player, objective: Objective) -> Callable[[Batch], Terms]:
        """The loss, with the weights before it remembered."""

        def loss(batch: Batch) -> Terms:
            self.before = {key: weight.detach().clone() for key, weight in family.named_parameters()}
            with no_global_random(f"{self.name}: the loss of {player.name}"):
                terms = objective.loss(batch)
            scalars = all(term.ndim == 0 for term in terms.values())
            require(len(terms) > 0 and scalars, f"{self.name}: the loss of {player.name} must give named scalars")
            for key, term in terms.items():
                finite = bool(term.isfinite())
                require(
                    finite, f"{self.name}: the loss {player.name}.{key} became {float(term.detach())} on healthy images"
                )
            return terms

        return loss

    def compare(self, family: Family, player: Player, batch: Batch) -> None:
        """After a turn: its own weights moved, the others did not."""
        player.after_step(batch)
        own = {id(weight) for weight in player.weights}
        named = dict(family.named_parameters())
        moved = {key for key, weight in named.items() if not torch.equal(weight, self.before[key])}
        mine = {key for key, weight in named.items() if id(weight) in own}
        require(moved <= mine, f"{self.name}: the turn of {player.name} moved {sorted(moved - mine)[:3]} of others")
        self.moved.setdefault(player.name, set()).update(moved)
        self.owned.setdefault(player.name, set()).update(mine)

    def finish(self, family: Family) -> None:
        """After a few rounds: nothing that is trained or deployed lies dead."""
        for player, mine in self.owned.items():
            dead = sorted(mine - self.moved[player])
            require(len(dead) < len(mine), f"{self.name}: no weight of {player} moved in its turns")
            require(2 * len(dead) <= len(mine), f"{self.name}: most weights of {player} never moved: {dead[:3]} ...")
        parameters = {key for key, _ in family.named_parameters()}
        still = {id(weight) for module in family.frozen() for weight in module.parameters()}
        parameters -= {key for key, weight in family.named_parameters() if id(weight) in still}
        unowned = sorted(parameters & deployed_state(family).keys() - set().union(*self.owned.values()))
        require(not unowned, f"{self.name}: no player trains the deployed weights {unowned[:3]}")


def _budget(config: Strict, spec: DataSpec, rounds: int) -> Budget:
    """Enough images for so many rounds of every stage."""
    family = make_family(config, spec, 0)  # thrown away: asking for players may already make a family grow
    stages: Sequence[Stage] = family.stages()
    looks = SET if type(family).fit is not Family.fit else 0  # a pass over all images, which the budget pays too
    needed = max(
        (
            (rounds * BATCH * sum(player.turns for player in family.players(stage)) + looks) / stage.share
            for stage in stages
            if stage.share
        ),
        default=1,
    )
    return Budget(images=math.ceil(max(needed, rounds * BATCH)), batch=BATCH)


def _run(family: Family, task: Task, budget: Budget) -> Family:
    images = pictures(SET, family.spec.channels, family.spec.size)
    return Trainer(family, task, budget, seed=0).run(Split(images))


def _train(config: Any, spec: DataSpec, task: Task, name: str, witness: Witness | None = None) -> Family:
    family = make_family(config, spec, 0)
    if witness is not None:
        witness.watch(family)
    try:
        with no_global_random(f"training {name}"):
            _run(family, task, _budget(config, spec, 3))
    except DivergedError as error:
        raise AssertionError(f"{name}: {error} (three rounds on healthy images)") from None
    return family


def _bits(family: Family) -> list[bytes]:
    """Weights and buffers of the deployed modules, as bytes."""
    return [value.detach().cpu().contiguous().numpy().tobytes() for value in deployed_state(family).values()]
