"""A run: what to train, written down; and the folder that training leaves behind.

`model.safetensors` holds the averaged weights that sampling needs, `config.json` everything they were made from, `card.md`
says it to people, `ledger.json` what it cost; the last one is written last, so its presence means the run is finished.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, model_validator

import sfumato
from sfumato import config as settings
from sfumato.config import Strict, write_atomic
from sfumato.data.base import Dataset, DataSpec, Source
from sfumato.errors import CapabilityError, ConfigError, WeightsError
from sfumato.families.base import Family, parameter_count
from sfumato.images import Pixels, to_uint8
from sfumato.kinds import build, choice
from sfumato.streams import lent, stream
from sfumato.tasks.base import Task
from sfumato.training import checkpoint, processes
from sfumato.training.ema import deployed_state
from sfumato.training.ledger import Ledger
from sfumato.training.trainer import Budget, Trainer, Watch

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
    if processes.rank() == 0:
        claim(folder, config.to_json(), "config.json")
    processes.barrier()
    if is_finished(folder):
        checkpoint.drop_checkpoints(folder)  # left behind where the last step of an earlier training was cut off
        return load(folder, device=device)
    data = data or build(config.data).load()
    tasks: list[Task] = [build(task) for task in config.tasks]
    spec = run_spec(data, tasks)
    family = make_family(config.family, spec, config.seed)
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


def claim(folder: Path, text: str, name: str) -> None:
    """Take a folder for these settings, or find that it was taken for the same ones.

    Raises: ConfigError: it was taken for others.
    """
    path = folder / name
    if path.is_file() and settings.read(path) != json.loads(text):
        raise ConfigError(f"{folder} holds another run (its {name} differs); choose another --out or remove the folder")
    if path.is_file():
        return
    if folder.is_dir() and any(not entry.name.startswith(".") for entry in folder.iterdir()):
        raise ConfigError(f"{folder} is not empty and holds no {name}; choose another --out")
    write_atomic(path, text)


def load(folder: Path | str, device: str = "cpu") -> Run:
    """Read a finished run.

    Raises: WeightsError: the folder is no finished run, or its weights do not fit its settings.
    """
    folder = Path(folder)
    for name in ("config.json", "spec.json", "ledger.json", "model.safetensors"):
        if not (folder / name).is_file():
            state = "is not finished: give its command again" if (folder / "config.json").is_file() else "is not a run"
            raise WeightsError(f"{folder} {state} ({name} is missing)")
    config = settings.load(RunConfig, settings.read(folder / "config.json"), str(folder / "config.json"))
    spec = settings.load(DataSpec, settings.read(folder / "spec.json"), str(folder / "spec.json"))
    ledger = settings.load(Ledger, settings.read(folder / "ledger.json"), str(folder / "ledger.json"))
    family = make_family(config.family, spec, config.seed)
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
    share = config.budget.ema
    average = f"running averages (half-life {share:.0%} of the images seen)" if share else "the last ones"
    turns = ", ".join(f"{name} {count:,}" for name, count in ledger.turns.items())
    return f"""# {config.family.kind} for {tasks}

- Data: `{config.data.kind}`, {run.spec.channels} x {run.spec.size} x {run.spec.size}
- Parameters: {parameter_count(run.family.deployed()):,} to sample, {parameter_count([run.family]):,} in training
- Spent: {ledger.images:,} images, turns: {turns}, {ledger.flops:.3g} floating-point operations, {ledger.seconds:.0f} s
  on {ledger.device}, peak memory {ledger.peak_bytes / 2**20:.0f} MiB
- Seed {config.seed}, sfumato {sfumato.__version__}, torch {torch.__version__.split("+")[0]}

The weights are {average}, stored as safetensors. `config.json`
beside this card holds every setting; `sfumato restore` and `sfumato sample` take this folder as `--model`.
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


def sample_pixels(run: Run, n: int, seed: int) -> Pixels:
    """n images drawn from a run that was trained on generation, as uint8.

    Raises: CapabilityError: it was only trained to restore.
    """
    free = next((task for task in run.tasks if not task.conditional), None)
    if free is None:
        names = ", ".join(task.name for task in run.tasks)
        raise CapabilityError(f"this model was trained for {names}, not for generation; use `sfumato restore`")
    device = run.family.device
    parts = []
    for first in range(0, n, AT_ONCE):
        blank = torch.zeros(min(AT_ONCE, n - first), run.spec.channels, run.spec.size, run.spec.size, device=device)
        observation = free.observe(blank, stream(seed, "mask"))
        rng = stream(seed, "sample", first, device=device)
        parts.append(to_uint8(run.family.sample(len(blank), observation=observation, rng=rng)).cpu())
    return torch.cat(parts)
