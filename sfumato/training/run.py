"""A run: what to train, written down; and the folder that training leaves behind.

`model.safetensors` holds the averaged weights that sampling needs, `config.json` everything they were made from, `card.md`
says it to people, `ledger.json` what it cost; the last one is written last, so its presence means the run is finished.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from sfumato import config as settings
from sfumato.config import Strict
from sfumato.data.base import Dataset, DataSpec, Source, source_of
from sfumato.errors import ConfigError, WeightsError
from sfumato.families.base import Family
from sfumato.files import write_atomic
from sfumato.kinds import Plugins, build, choice
from sfumato.memory import free_memory
from sfumato.streams import lent, stream
from sfumato.tasks.base import Task
from sfumato.training import checkpoint, moments, parts, processes
from sfumato.training.averages import deployed_state
from sfumato.training.budget import Budget
from sfumato.training.card import adoption, card
from sfumato.training.claims import claim, held, migrated
from sfumato.training.ledger import Ledger
from sfumato.training.state import Watch, grown
from sfumato.training.trainer import Trainer

SNAPSHOTS = "snapshots.safetensors"  # of averages whose length is chosen after training
LARGE = 256  # width from which a family is weighed before it is built
LEAST = 0.1  # share of a parent's numbers that have to fit, or else it is no fine-tuning


class RunConfig(Plugins):
    """One training: a family on the images of a source, for one task or for several together."""

    data: Annotated[Any, choice(Source)]
    """Where the images come from."""
    tasks: list[Annotated[Any, choice(Task)]] = Field(min_length=1)
    """What the model is trained to do; with several, each batch holds all of them."""
    family: Annotated[Any, choice(Family)]
    """What is trained."""
    parts: dict[str, Path] = {}
    """Folders of finished runs that it goes on from (`start`) or is built of (what the family wants)."""
    budget: Budget = Budget()
    """How much it may spend."""
    seed: int = Field(default=0, ge=0)
    """Start of every stream of random numbers."""
    format: Literal[4] = 4
    """The version of this file's form."""

    @model_validator(mode="after")
    def _distinct(self) -> RunConfig:
        names = [build(task).name for task in self.tasks]
        if len(set(names)) < len(names):
            raise ValueError(f"two tasks are the same in {names}; make them differ")
        return self


@dataclass(frozen=True)
class Run:
    """A finished run: its settings, its ledger and the family with the averaged weights."""

    config: RunConfig
    ledger: Ledger
    family: Family
    spec: DataSpec
    parts: Mapping[str, Run] = field(default_factory=dict)
    """The runs it came from, with their own ledgers; their weights are in this one's family."""

    @property
    def tasks(self) -> list[Task]:
        """The tasks it was trained on."""
        return [build(task) for task in self.config.tasks]


def run_spec(data: Dataset, tasks: list[Task]) -> DataSpec:
    """The data's spec with the condition's channels: C + 1 as soon as one task restores."""
    condition = data.spec.channels + 1 if any(task.conditional for task in tasks) else 0
    return data.spec.model_copy(update={"condition": condition})


def make_family(config: Strict, spec: DataSpec, seed: int, runs: Mapping[str, Run] | None = None) -> Family:
    """A family with fresh weights that depend on the seed alone, built of the families of these runs.

    Initialisers of torch.nn draw from the global generator; its state is put back afterwards.
    """
    given = {name: run.family for name, run in (runs or {}).items() if name != parts.START}
    _require_room(config, spec, given)
    with lent(stream(seed, "init")):
        family: Family = build(config, spec, given)
    return family


def _require_room(config: Strict, spec: DataSpec, given: Mapping[str, Family]) -> None:
    """Raises: ConfigError: the weights alone do not fit into memory; found by building the family without any."""
    if given or (getattr(config, "width", 0) or 0) < LARGE:
        return
    with torch.device("meta"):
        probe = build(config, spec)
    need = sum(value.numel() * value.element_size() for value in probe.state_dict().values())
    if need > free_memory():
        raise ConfigError(
            f"a {config.kind} of width {config.width:,} has {need / 2**30:,.1f} GiB of weights, more than the memory here; "  # type: ignore[attr-defined]
            "lower the width"
        )


def is_finished(folder: Path) -> bool:
    """Whether a folder holds a finished run."""
    return (folder / "ledger.json").is_file()


def train(
    config: RunConfig,
    folder: Path | str,
    *,
    device: str = "auto",
    data: Dataset | None = None,
    watch: Watch | None = None,
) -> Run:
    """Train, or go on where an interrupted training stopped, or load what is finished.

    Raises: ConfigError: the folder holds another run, or another process is at work in it. DivergedError: a loss became
    infinite. Interrupted: Ctrl-C.
    """
    folder, place = Path(folder), processes.join(device)
    with held(folder) if processes.rank() == 0 else nullcontext():
        return _train(config, folder, place, device, data, watch)


def _train(
    config: RunConfig, folder: Path, place: torch.device, device: str, data: Dataset | None, watch: Watch | None
) -> Run:
    if is_finished(folder) and processes.rank() == 0 and grows(folder, config):
        parts.set_aside(folder)
        claim(folder, config, free={"budget"})
    processes.barrier()
    if is_finished(folder):
        claim(folder, config)
        _tidy(folder)  # where the last step of an earlier training was cut off
        return load(folder, device=device)
    ready = prepare(config, data, folder)
    if processes.rank() == 0:
        claim(folder, config)  # only now: a training that is refused leaves nothing behind
        parts.bring(folder, config.parts)
    processes.barrier()
    trainer = Trainer(
        ready.family,
        ready.tasks,
        config.budget,
        seed=config.seed,
        device=place,
        folder=folder,
        watch=watch,
        start=ready.start,
        earlier=None if ready.earlier is None else ready.earlier.ledger,
    )
    trainer.run(ready.data.train)
    family, spec = ready.family, ready.family.spec
    run = Run(config, trainer.ledger, family, spec, ready.made_of)
    if processes.rank() == 0:
        told = "" if ready.start is None else adoption(family, list(ready.start), trainer.state.progress.adopted)
        if ready.earlier is not None:
            told += f"\n- Went on from {ready.earlier.ledger.images:,} images: averaged weights, new optimisers"
        told = "\n".join([*([told] if told else []), *(f"- Trained on {line}" for line in ready.data.credits)])
        if snapshots := trainer.state.average.kept():
            checkpoint.save_tensors(snapshots, folder / SNAPSHOTS)
        checkpoint.save_tensors(deployed_state(family), folder / "model.safetensors")
        write_atomic(folder / "spec.json", spec.to_json())
        write_atomic(folder / "card.md", card(run, told))
        write_atomic(folder / "ledger.json", trainer.ledger.to_json())
        _tidy(folder)
    processes.barrier()
    return run


@dataclass(frozen=True)
class Ready:
    """What a training begins with, everything checked and nothing written."""

    data: Dataset
    tasks: list[Task]
    made_of: Mapping[str, Run]
    family: Family
    start: Mapping[str, Tensor] | None
    """Weights to go on from."""
    earlier: Run | None = None
    """The same training with the smaller budget that it had before."""


def prepare(config: RunConfig, data: Dataset | None = None, folder: Path | None = None) -> Ready:
    """Load and build what a training begins with; parts are read from their copies in its folder where there are any.

    Raises: ConfigError: settings, images and parts do not go together. DataError: the images are not at hand.
    """
    data = data or build(config.data).load()
    tasks: list[Task] = [build(task) for task in config.tasks]
    spec = run_spec(data, tasks)
    for task in tasks:
        task.check(spec)
        if why := config.family.owner.refuses(config.family, task.example(spec.channels, spec.size)):
            raise ConfigError(f"a {config.family.kind} cannot be trained on {task.name}: {why}")
        if not task.trains:
            raise ConfigError(f"nothing is trained on {task.name}: train on generation, with an exemplar as the data")
    made_of = {name: load(parts.where(folder, name, path)) for name, path in config.parts.items()}
    family = make_family(config.family, spec, config.seed, made_of)
    family.check_parts({name: run.tasks for name, run in made_of.items()})
    for size in {stage.size for stage in family.stages() if stage.size is not None}:
        for task in tasks:
            task.check(spec.model_copy(update={"size": size}))
    before = None if folder is None else folder / parts.FOLDER / parts.EARLIER
    if before is not None and (before / parts.WEIGHTS).is_file():
        earlier = load(before)
        return Ready(data, tasks, made_of, family, deployed_state(earlier.family), earlier)
    return Ready(data, tasks, made_of, family, started(config, spec, made_of))


def grows(folder: Path, config: RunConfig) -> bool:
    """Whether a finished run is asked for again with a larger budget and nothing else changed, and learns by turns at all.

    It then goes on with its averaged weights and new optimisers; what was spent counts.
    """
    there = settings.load(RunConfig, migrated(settings.read(folder / "config.json")), str(folder / "config.json"))
    more = config.budget.images > there.budget.images
    same = (
        there.model_copy(update={"budget": there.budget.model_copy(update={"images": config.budget.images})}) == config
    )
    return more and same and config.family.owner.random and not config.parts


def _tidy(folder: Path) -> None:
    """Drop what a finished run does not need."""
    checkpoint.drop_checkpoints(folder)
    parts.settle(folder)


def read_run(
    path: Path | None,
    family: str | None,
    data: str,
    tasks: list[str],
    images: int | None,
    seed: int,
    overrides: list[str],
    start: Path | None = None,
) -> RunConfig:
    """A run's settings from a file, or from names; `path=value` settings are applied last.

    With a run to start from and no family named, its family is taken with all its settings.

    Raises: ConfigError: neither a file nor a family, or a wrong key or value.
    """
    if path is not None and family is not None:
        raise ConfigError(
            f"both a family ({family}) and --config {path} were given; change the file's with --set family=..."
        )
    values: dict[str, Any]
    if path is not None:
        values = settings.read(path)
    elif family is not None or start is not None:
        named = family if family is not None else json.loads(skeleton(Path(start or "")).config.family.to_json())
        values = {"data": source_of(data), "tasks": tasks, "family": named, "seed": seed}
    else:
        raise ConfigError(
            "name a family, as in `sfumato train ddpm`, or give --config; `sfumato kinds family` lists them"
        )
    if start is not None:
        values = {**values, "parts": {**values.get("parts", {}), "start": str(start)}}
    budget = [] if images is None else [f"budget.images={images}"]
    return settings.load(RunConfig, settings.override(values, [*budget, *overrides]), str(path or "command line"))


def started(config: RunConfig, spec: DataSpec, made_of: Mapping[str, Run]) -> dict[str, Tensor] | None:
    """The weights that a training goes on from, if it starts from another run.

    Raises: ConfigError: next to nothing of them fits.
    """
    parent = made_of.get(parts.START)
    if parent is None:
        return None
    if parent.spec.channels != spec.channels:
        raise ConfigError(
            f"{config.parts[parts.START]} was trained on images of {parent.spec.channels} channels, these have "
            f"{spec.channels}; bring the images to the same"
        )
    weights = deployed_state(parent.family)
    probe = make_family(config.family, spec, config.seed, made_of)
    for stage in probe.stages()[:1]:
        grown(probe, stage, config.seed)
    kept = probe.adopt(weights)
    share = sum(weights[name].numel() for name in kept) / max(sum(value.numel() for value in weights.values()), 1)
    if share < LEAST:
        raise ConfigError(
            f"{config.parts[parts.START]} (a {parent.config.family.kind}) does not fit into this {config.family.kind}: "
            f"{len(kept)} of its {len(weights)} tensors would be kept; use the settings of its config.json, widths above all"
        )
    return weights


def load(folder: Path | str, device: str = "cpu", moment: int | None = None, changes: Sequence[str] = ()) -> Run:
    """Read a finished run, or one as it was after as many images as a moment that `budget.moments` kept.

    `changes` are settings of the family that images are drawn by and weights do not depend on, as "temperature=0.7".

    Raises: WeightsError: the folder is no finished run, or its weights do not fit its settings. ConfigError: no such setting.
    """
    folder = Path(folder)
    run = skeleton(folder, changes)
    path = folder / "model.safetensors" if moment is None else moments.kept(folder)[moment]
    if not path.is_file():
        raise WeightsError(f"{folder} has lost its weights ({path.name} is missing); bring them back or train again")
    tensors = checkpoint.whole(checkpoint.load_tensors(path))
    fits = (
        f"{folder / 'config.json'} with {', '.join(f'family.{one}' for one in changes)}"
        if changes
        else f"{folder / 'config.json'}"
    )
    what = f"{path} does not fit {fits}: it"
    filled(run.family, tensors, what, processes.join(device))
    return run if moment is None else replace(run, ledger=run.ledger.model_copy(update={"images": moment}))


def changed(family: Strict, others: Mapping[str, Any]) -> Strict:
    """A family's settings with some of them others.

    Raises: ValueError: no such setting, or a wrong value of one.
    """
    return type(family).model_validate(settings.merged(json.loads(family.to_json()), others))


def redrawn(run: Run, settings: Mapping[str, Any]) -> Run:
    """A run with the same weights, drawn by other settings of its family.

    Raises: WeightsError: the weights do not fit these settings.
    """
    config = run.config.model_copy(update={"family": changed(run.config.family, settings)})
    family = whole_family(config, run.spec, run.parts)
    what = f"a training does not fit {', '.join(settings)}: it"
    filled(family, deployed_state(run.family), what, run.family.device)
    return replace(run, config=config, family=family)


def whole_family(config: RunConfig, spec: DataSpec, made_of: Mapping[str, Run]) -> Family:
    """A family with fresh weights and the structure that it has at the end of its training."""
    family = make_family(config.family, spec, config.seed, made_of)
    for stage in family.stages():
        grown(family, stage, config.seed)
    return family


def filled(family: Family, tensors: Mapping[str, Tensor], what: str, device: torch.device) -> None:
    """Give a family its deployed weights, ready to draw.

    Raises: WeightsError: they do not fit; `what` begins the message.
    """
    checkpoint.require_fit(tensors, deployed_state(family), what)
    family.load_state_dict(tensors, strict=False)
    family.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


def skeleton(folder: Path, changes: Sequence[str] = ()) -> Run:
    """A run with the structure of its family and fresh weights, from what its folder says and changes of the family's settings.

    Raises: WeightsError: the folder is no finished run. ConfigError: no such setting.
    """
    for name in ("config.json", "spec.json", "ledger.json"):
        if not (folder / name).is_file():
            state = "is not finished: give its command again" if (folder / "config.json").is_file() else "is not a run"
            raise WeightsError(f"{folder} {state} ({name} is missing)")
    values = settings.override(migrated(settings.read(folder / "config.json")), [f"family.{one}" for one in changes])
    config = settings.load(RunConfig, values, str(folder / "config.json"))
    spec = settings.load(DataSpec, settings.read(folder / "spec.json"), str(folder / "spec.json"))
    ledger = settings.load(Ledger, settings.read(folder / "ledger.json"), str(folder / "ledger.json"))
    made_of = {name: skeleton(parts.where(folder, name, path)) for name, path in config.parts.items()}
    return Run(config, ledger, whole_family(config, spec, made_of), spec, made_of)
