"""The short use: one call trains, and what comes back draws, restores, is measured and is saved.

run = sfumato.train("ddpm", pixels, task="inpainting", images=50_000)
run.sample(), run.restore(...), run.evaluate(), run.save("runs/mine")
"""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sfumato import config as settings
from sfumato.config import Strict
from sfumato.data.base import Dataset, DataSpec, SourceConfig, source_of
from sfumato.data.memory import in_memory, record
from sfumato.errors import ConfigError, DataError, Interrupted
from sfumato.families.base import Family
from sfumato.images import Pixels
from sfumato.restorers.border import Border
from sfumato.restorers.picture import restore_picture
from sfumato.studies.evaluate import evaluate_run
from sfumato.studies.results import Result
from sfumato.training import run as runs
from sfumato.training.averages import deployed_state
from sfumato.training.checkpoint import half as halved
from sfumato.training.checkpoint import load_tensors, save_tensors
from sfumato.training.ledger import Ledger
from sfumato.training.plan import Plan
from sfumato.training.plan import plan as plan_run
from sfumato.training.post_hoc import average
from sfumato.training.run import Run, RunConfig
from sfumato.training.sampling import sample_pixels

Array = Tensor | NDArray[np.uint8]


class Model:
    """A trained model, in a folder of its own or, until it is saved, in a temporary one.

    Example:
        >>> import torch
        >>> pixels = torch.randint(0, 256, (40, 8, 8, 3), dtype=torch.uint8)
        >>> run = train("ddpm", pixels, images=64, settings={"family.width": 4}, progress=False)
        >>> run.sample(2).shape, run.config.data.counts
        (torch.Size([2, 3, 8, 8]), (32, 4, 4))
    """

    def __init__(self, run: Run, folder: Path, data: Dataset | None = None, temporary: Path | None = None):
        self.run, self.folder = run, folder
        self._data = data
        self._keep: Model | None = None
        if temporary is not None:  # it goes when nobody has the model any more
            weakref.finalize(self, shutil.rmtree, temporary, ignore_errors=True)

    @property
    def config(self) -> RunConfig:
        """Every setting."""
        return self.run.config

    @property
    def ledger(self) -> Ledger:
        """What it cost."""
        return self.run.ledger

    @property
    def family(self) -> Family:
        """The networks, with their averaged weights."""
        return self.run.family

    @property
    def spec(self) -> DataSpec:
        """What its images are."""
        return self.run.spec

    @property
    def card(self) -> str:
        """The model card, in Markdown."""
        return (self.folder / "card.md").read_text()

    def __repr__(self) -> str:
        return f"<{self.config.family.kind} for {', '.join(task.name for task in self.run.tasks)} in {self.folder}>"

    def sample(self, n: int = 16, *, seed: int = 0, label: int | None = None) -> Pixels:
        """n images, uint8 [n, C, H, W], of one class if wanted; image i depends on the seed and i alone.

        Raises: CapabilityError: it was only trained to restore.
        """
        return sample_pixels(self.run, n, seed, label)

    def restore(
        self,
        picture: Path | str | Array,
        *,
        mask: Path | str | Array | None = None,
        scale: int | None = None,
        border: Border | None = None,
        invert: bool = False,
        seed: int = 0,
        restorer: str | None = None,
        watch: Callable[[int, int], None] = lambda done, of: None,
    ) -> Tensor:
        """A restored picture of any size, uint8 [C, H, W]; what looks wrong is said as a warning.

        Picture and mask are files or arrays of uint8: H x W, H x W x C or C x H x W. In a mask white is where the picture
        is to be made; `border` pixels are made around it, or with `scale` it is enlarged; with none of these, what the model
        was trained for is undone. A model of generation restores by the `restorer` that is named. `watch` is told how many
        parts are done, and of how many.

        Raises: DataError, ShapeError: picture or mask cannot be used. CapabilityError: it was not trained for this.
        """
        made = restore_picture(
            picture, self.run, mask=mask, scale=scale, border=border, invert=invert, seed=seed,
            restorer=restorer, watch=watch,
        )  # fmt: skip
        for line in made.warnings:
            warnings.warn(line, stacklevel=2)
        return made.pixels

    def evaluate(
        self, data: Any = None, *, metrics: Sequence[str | Strict] = (), test: int | None = None
    ) -> list[Result]:
        """One result for each task it was trained on, on the test images of its own data or of `data`.

        Raises: ConfigError: an unknown metric, or no test images. DataError: the images are not at hand.
        """
        given = self._data if data is None else dataset(data)[1]
        return evaluate_run(self.folder, metrics, test, data=given, run=self.run)

    def averaged(self, length: float) -> Model:
        """The same run with an average of another length, for one that was trained with budget.average = "post_hoc".

        `length` is the standard deviation as a share of the training; choose it on validation images.

        Raises: ConfigError: it has no snapshots, or the length is not in (0, 0.25).
        """
        path, settings_of = self.folder / runs.SNAPSHOTS, self.config.budget.average
        kept = load_tensors(path) if path.is_file() else {}
        weights = average(kept, getattr(settings_of, "tracks", (0.05, 0.1)), length)
        other = copy.deepcopy(self.run.family)
        other.load_state_dict(weights, strict=False)
        made = Model(dataclasses.replace(self.run, family=other), self.folder, self._data)
        made._keep = self  # whose temporary folder this is
        return made

    def save(self, folder: Path | str, *, half: bool = False) -> Model:
        """Copy everything into a folder, from which `sfumato.load_run` and every command take it.

        With `half` the weights are written in half precision, half as large.

        Raises: ConfigError: the folder is not empty. DataError: no space or no permission. WeightsError: a weight is beyond
        what half precision can hold.
        """
        folder, state = Path(folder), deployed_state(self.family)  # of this average
        state = halved(state) if half else state
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(f"{folder} is there already; choose another folder")
        temporary = folder.with_name(f".{folder.name}.tmp")
        try:
            shutil.copytree(self.folder, temporary)
            save_tensors(state, temporary / "model.safetensors")
            if folder.is_dir():
                folder.rmdir()
            temporary.rename(folder)
        except OSError as error:
            raise DataError(f"cannot write {folder}: {error}; free some space or choose another folder") from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self.folder = folder
        return self


def train(
    family: str | Strict | type[Family] | None = None,
    data: Any = "digits",
    *,
    task: str | Strict | Mapping[str, Any] | Sequence[Any] = "generation",
    images: int | None = None,
    start: Model | Path | str | None = None,
    out: Path | str | None = None,
    seed: int = 0,
    device: str = "auto",
    settings: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Model:
    """Train a model on images, for one task or several.

    `data` is a tensor or array of uint8 images, a pair of such with labels, a Dataset, a folder, an .npz file, or the name or
    settings of a source. `settings` are those of `--set`, as in {"family.width": 64, "budget.batch": 32}. With `out` the run
    is kept there and an interrupted training goes on from it; without, it is temporary until `save`. `start` is a
    finished run to go on from.

    Raises: ConfigError: a wrong name or value, with its path. DataError: images that cannot be used.
    """
    config, given = described(family, data, task, images, start, seed, settings)
    temporary = None if out is not None else Path(tempfile.mkdtemp(prefix="sfumato-"))
    folder = Path(out) if out is not None else temporary / "run"  # type: ignore[operator]
    watching: Any = nullcontext()
    if progress:
        from sfumato.display import training_bar

        watching = training_bar(str(config.family.kind), config.budget.images)
    try:
        with watching as watch:
            run = runs.train(config, folder, device=device, data=given, watch=watch)
    except Exception as error:
        if temporary is not None and not isinstance(error, Interrupted):
            shutil.rmtree(temporary, ignore_errors=True)
        raise
    return Model(run, folder, given, temporary)


def plan(
    family: str | Strict | type[Family] | None = None,
    data: Any = "digits",
    *,
    task: str | Strict | Mapping[str, Any] | Sequence[Any] = "generation",
    images: int | None = None,
    start: Model | Path | str | None = None,
    seed: int = 0,
    device: str = "auto",
    settings: Mapping[str, Any] | None = None,
) -> Plan:
    """What `train` would take with the same arguments: time, memory, operations. Nothing is written."""
    config, given = described(family, data, task, images, start, seed, settings)
    return plan_run(config, device=device, data=given)


def load_run(folder: Path | str, device: str = "cpu") -> Model:
    """A finished run as a Model.

    Raises: WeightsError: the folder is no finished run, or its weights do not fit its settings.
    """
    return Model(runs.load(folder, device), Path(folder))


def described(
    family: str | Strict | type[Family] | None,
    data: Any,
    task: str | Strict | Mapping[str, Any] | Sequence[Any],
    images: int | None,
    start: Model | Path | str | None,
    seed: int,
    more: Mapping[str, Any] | None,
) -> tuple[RunConfig, Dataset | None]:
    """The settings that these arguments stand for, and the images where they are in memory."""
    source, given = dataset(data)
    parent = start.folder if isinstance(start, Model) else None if start is None else Path(start)
    if family is None:
        if parent is None:
            raise ConfigError("name a family, as in sfumato.train('ddpm', ...), or give a run to start from")
        family = runs.skeleton(parent).config.family
    family = family.Config() if isinstance(family, type) else family
    module = str(getattr(getattr(family, "owner", None), "__module__", "sfumato"))
    own = module.partition(".")[0] not in ("sfumato", "__main__", "builtins")
    if module == "__main__":
        warnings.warn(
            "this family lives in __main__, so the run can be loaded only where it is defined again; put it into a module",
            stacklevel=3,
        )
    values: dict[str, Any] = {
        "data": plain(source),
        "tasks": [plain(one) for one in ([task] if isinstance(task, str | Strict | Mapping) else task)],
        "family": plain(family),
        "seed": seed,
        "plugins": [module] if own else [],
    }
    if parent is not None:
        values["parts"] = {"start": str(parent)}
    if images is not None:
        values["budget"] = {"images": images}
    changes = [f"{path}={json.dumps(value)}" for path, value in (more or {}).items()]
    return settings.load(RunConfig, settings.override(values, changes), "train"), given


def plain(value: Any) -> Any:
    """Settings as the table that a file would hold."""
    return json.loads(value.to_json()) if isinstance(value, Strict) else value


def dataset(data: Any) -> tuple[Any, Dataset | None]:
    """A source's settings that say truly what `data` is, and the images themselves where no source can read them again.

    Raises: DataError: none of what `train` takes.
    """
    if isinstance(data, SourceConfig | dict):
        return data, None
    if isinstance(data, str | Path):
        return source_of(str(data)), None
    if not isinstance(data, Dataset):
        images, labels = data if isinstance(data, tuple) and len(data) == 2 else (data, None)
        if not isinstance(images, Tensor | np.ndarray):
            raise DataError(
                f"data is a {type(data).__name__}; give uint8 images in a tensor or array, a Dataset, a folder, or a source"
            )
        data = in_memory(images, labels)
    return record(data), data
