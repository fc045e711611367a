"""A run: what to train, written down; and the folder that training leaves behind.

`model.safetensors` holds the averaged weights that sampling needs, `config.json` everything they were made from, `card.md`
says it to people, `ledger.json` what it cost; the last one is written last, so its presence means the run is finished.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator

import sfumato
from sfumato import config as settings
from sfumato.config import Strict
from sfumato.data.base import Dataset, DataSpec, Source
from sfumato.errors import CapabilityError, ConfigError, WeightsError
from sfumato.families.base import Family, parameter_count
from sfumato.files import write_atomic
from sfumato.images import Pixels, to_uint8
from sfumato.kinds import build, choice, import_plugins
from sfumato.streams import lent, stream
from sfumato.tasks.base import Task
from sfumato.training import checkpoint, processes
from sfumato.training.averages import deployed_state
from sfumato.training.ledger import Ledger
from sfumato.training.trainer import Budget, Trainer, Watch, grown

AT_ONCE = 256  # images drawn in one call, so that a large sheet needs no more memory than a small one


class RunConfig(Strict):
    """One training: a family on the images of a source, for one task or several in turn."""

    data: Annotated[Any, choice(Source)]
    """Where the images come from."""
    tasks: list[Annotated[Any, choice(Task)]] = Field(min_length=1)
    """What the model is trained to do; with several, each batch serves one of them."""
    family: Annotated[Any, choice(Family)]
    """What is trained."""
    budget: Budget = Budget()
    """How much it may spend."""
    seed: int = Field(default=0, ge=0)
    """Start of every stream of random numbers."""
    plugins: list[str] = []
    """Python modules to import first, for kinds that live outside sfumato."""
    format: Literal[3] = 3
    """The version of this file's form."""

    @model_validator(mode="before")
    @classmethod
    def _plugins(cls, values: Any) -> Any:
        if isinstance(values, dict):
            import_plugins(values.get("plugins", []))
        return values

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

    @property
    def tasks(self) -> list[Task]:
        """The tasks it was trained on."""
        return [build(task) for task in self.config.tasks]


def run_spec(data: Dataset, tasks: list[Task]) -> DataSpec:
    """The data's spec with the condition's channels: C + 1 as soon as one task restores."""
    condition = data.spec.channels + 1 if any(task.conditional for task in tasks) else 0
    return data.spec.model_copy(update={"condition": condition})


def make_family(config: Strict, spec: DataSpec, seed: int) -> Family:
    """A family with fresh weights that depend on the seed alone.

    Initialisers of torch.nn draw from the global generator; its state is put back afterwards.
    """
    with lent(stream(seed, "init")):
        family: Family = build(config, spec)
    return family


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

    Raises: ConfigError: the folder holds another run. DivergedError: a loss became infinite. Interrupted: Ctrl-C.
    """
    folder = Path(folder)
    where = processes.join(device)
    if is_finished(folder):
        claim(folder, config)
        checkpoint.drop_checkpoints(folder)  # left behind where the last step of an earlier training was cut off
        return load(folder, device=device)
    data = data or build(config.data).load()
    tasks: list[Task] = [build(task) for task in config.tasks]
    spec = run_spec(data, tasks)
    for task in tasks:
        task.check(spec)
    family = make_family(config.family, spec, config.seed)
    if processes.rank() == 0:
        claim(folder, config)  # only now: a training that is refused leaves nothing behind
    processes.barrier()
    trainer = Trainer(family, tasks, config.budget, seed=config.seed, device=where, folder=folder, watch=watch)
    trainer.run(data.train)
    run = Run(config, trainer.ledger, family, spec)
    if processes.rank() == 0:
        checkpoint.save_tensors(deployed_state(family), folder / "model.safetensors")
        write_atomic(folder / "spec.json", spec.to_json())
        write_atomic(folder / "card.md", card(run))
        write_atomic(folder / "ledger.json", trainer.ledger.to_json())
        checkpoint.drop_checkpoints(folder)
    processes.barrier()
    return run


def claim(folder: Path, config: Strict, name: str = "config.json") -> None:
    """Take a folder for these settings, or find that it was taken for the same ones.

    Raises: ConfigError: it was taken for others; the message names the first settings that differ.
    """
    path, text = folder / name, config.to_json()
    if path.is_file():
        there = settings.load(type(config), migrated(settings.read(path)), str(path))
        if there != config:
            keys = differing(json.loads(there.to_json()), json.loads(text))
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            raise ConfigError(
                f"{folder} holds another run (its {name} differs in {', '.join(keys[:3])}{more}); "
                "choose another --out or remove the folder"
            )
        return
    if folder.is_dir() and any(not entry.name.startswith(".") for entry in folder.iterdir()):
        raise ConfigError(f"{folder} is not empty and holds no {name}; choose another --out")
    write_atomic(path, text)


def differing(a: Any, b: Any, path: str = "") -> list[str]:
    """The paths at which two settings differ.

    Example:
        >>> differing({"budget": {"images": 1}, "seed": 0}, {"budget": {"images": 2}, "seed": 0})
        ['budget.images']
    """
    if isinstance(a, dict) and isinstance(b, dict):
        keys = list(dict.fromkeys([*a, *b]))
        return [found for key in keys for found in differing(a.get(key), b.get(key), f"{path}.{key}" if path else key)]
    return [] if a == b else [path]


def migrated(values: dict[str, Any]) -> dict[str, Any]:
    """The settings of an older run in today's form, with what were defaults then written down."""
    if "family" not in values or not isinstance(values["family"], dict):
        return values
    family, budget, form = dict(values["family"]), dict(values.get("budget", {})), values.get("format")
    if form is None:  # version 0.1
        if "schedule" in family:
            family["schedule"] = {**family["schedule"], "rounded": True}
        if "sampler" in family:
            family["sampler"] = {**family["sampler"], "spacing": "even"}
        share = budget.pop("ema", 0.05)
        budget["average"] = {"kind": "half_life", "share": share} if share else "none"
    elif form != 2:
        return values
    network = family.get("network")
    if isinstance(network, dict) and network.get("kind") in ("unet", "residual"):
        family["network"] = {**network, "grain": 1}
    return {**values, "family": family, "budget": budget, "format": 3}


def load(folder: Path | str, device: str = "cpu") -> Run:
    """Read a finished run.

    Raises: WeightsError: the folder is no finished run, or its weights do not fit its settings.
    """
    folder = Path(folder)
    for name in ("config.json", "spec.json", "ledger.json", "model.safetensors"):
        if not (folder / name).is_file():
            state = "is not finished: give its command again" if (folder / "config.json").is_file() else "is not a run"
            raise WeightsError(f"{folder} {state} ({name} is missing)")
    config = settings.load(RunConfig, migrated(settings.read(folder / "config.json")), str(folder / "config.json"))
    spec = settings.load(DataSpec, settings.read(folder / "spec.json"), str(folder / "spec.json"))
    ledger = settings.load(Ledger, settings.read(folder / "ledger.json"), str(folder / "ledger.json"))
    family = make_family(config.family, spec, config.seed)
    for stage in family.stages():
        grown(family, stage, config.seed)
    tensors = checkpoint.load_tensors(folder / "model.safetensors")
    wanted = deployed_state(family)
    shapes = {name: value.shape for name, value in tensors.items()}
    if shapes != {name: value.shape for name, value in wanted.items()}:
        raise WeightsError(
            f"{folder / 'model.safetensors'} does not fit {folder / 'config.json'}; one of them was changed"
        )
    family.load_state_dict(tensors, strict=False)
    family.to(processes.join(device), memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    return Run(config, ledger, family, spec)


def card(run: Run) -> str:
    """A model card in Markdown: what it is, what it was trained on, what it cost, what it must not be used for."""
    config, ledger = run.config, run.ledger
    tasks = ", ".join(str(task.kind) for task in config.tasks)
    average = config.budget.average.owner.words(config.budget.average)
    turns = ", ".join(f"{name} {count:,}" for name, count in ledger.turns.items())
    return f"""# {config.family.kind} for {tasks}

- Data: `{config.data.kind}`, {run.spec.channels} x {run.spec.size[0]} x {run.spec.size[1]}
- Parameters: {parameter_count(run.family.deployed()):,} to sample, {parameter_count([run.family]):,} in training
- Spent: {ledger.images:,} images, turns: {turns}, {ledger.flops:.3g} floating-point operations, {ledger.seconds:.0f} s
  on {ledger.device} in {ledger.precision}, peak memory {ledger.peak_bytes / 2**20:.0f} MiB
- Seed {config.seed}, sfumato {sfumato.__version__}, torch {torch.__version__.split("+")[0]}

The weights are {average}, stored as safetensors. `config.json`
beside this card holds every setting; `sfumato sample` takes this folder, `sfumato restore` takes it as `--model`.
A restored pixel is a plausible guess, never evidence of what was there.
"""


def read_run(
    path: Path | None,
    family: str | None,
    data: str,
    tasks: list[str],
    images: int | None,
    seed: int,
    overrides: list[str],
) -> RunConfig:
    """A run's settings from a file, or from names; `path=value` settings are applied last.

    Raises: ConfigError: neither a file nor a family, or a wrong key or value.
    """
    if path is None and family is None:
        raise ConfigError(
            "name a family, as in `sfumato train ddpm`, or give --config; `sfumato kinds family` lists them"
        )
    values: dict[str, Any] = (
        settings.read(path) if path else {"data": data, "tasks": tasks, "family": family, "seed": seed}
    )
    if path is not None and family is not None:
        raise ConfigError(
            f"both a family ({family}) and --config {path} were given; change the file's with --set family=..."
        )
    budget = [] if images is None else [f"budget.images={images}"]
    return settings.load(RunConfig, settings.override(values, [*budget, *overrides]), str(path or "command line"))


def sample_pixels(run: Run, n: int, seed: int, label: int | None = None) -> Pixels:
    """n images, of one class if wanted, drawn from a run that was trained on generation, as uint8; image i depends on i alone.

    Raises: CapabilityError: it was only trained to restore.
    """
    free = next((task for task in run.tasks if not task.conditional), None)
    if free is None:
        names = ", ".join(task.name for task in run.tasks)
        raise CapabilityError(f"this model was trained for {names}, not for generation; use `sfumato restore`")
    device = run.family.device
    parts = []
    for first in range(0, n, AT_ONCE):
        rngs = [stream(seed, "sample", i, device=device) for i in range(first, min(first + AT_ONCE, n))]
        observation = None
        if run.spec.condition:
            blank = torch.zeros(len(rngs), run.spec.channels, *run.spec.size, device=device)
            observation = free.observe(blank, stream(seed, "mask"))
        parts.append(to_uint8(run.family.sample(len(rngs), observation=observation, label=label, rng=rngs)).cpu())
    return torch.cat(parts)
