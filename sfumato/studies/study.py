"""A study: one question as one file. Data only; `runner.run` answers it, `reports` shows the answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from sfumato import config as settings
from sfumato.config import Strict
from sfumato.data.base import Source
from sfumato.errors import ConfigError
from sfumato.families.base import Family
from sfumato.kinds import Plugins, build, choice
from sfumato.metrics.base import Metric
from sfumato.restorers.base import Restorer
from sfumato.restorers.conditional import Conditional
from sfumato.studies.tries import expanded
from sfumato.tasks.base import Task
from sfumato.training.budget import Budget
from sfumato.training.run import changed


class Parity(Strict):
    """What has to be equal for the comparison to be fair."""

    parameters: int | None = Field(default=None, ge=1)
    """Deployed parameters of each learned method: its width is solved for; null leaves the widths alone."""
    tolerance: float = Field(default=0.02, gt=0.0, lt=1.0)
    """Largest relative difference from that number; above it the study is refused."""


class Method(Strict):
    """One row of the tables: a family and the way it restores, or a classical restorer alone."""

    name: str = Field(min_length=1, max_length=80)
    """How the tables call it."""
    family: Annotated[Any, choice(Family)] | None = None
    """What is trained; left out for classical restorers."""
    parts: dict[str, Path] = {}
    """Folders of finished runs that its trainings go on from (`start`) or are built of (what the family wants)."""
    drawn: dict[str, Any] = {}
    """Settings of the family that are others once it is trained, as { sampler = { kind = "heun", steps = 10 } }: methods that
    differ in nothing else share a training."""
    restorer: Annotated[Any, choice(Restorer, "conditional")] = Conditional.Config()
    """How observations are answered."""
    weights: Literal["last", "best"] = "last"
    """best: of the moments that `budget.moments` kept, the one whose figure on the validation images is best; such a row
    stands beside the training's end and gets no verdict."""

    of: str = ""
    """Of a method with `tries`, whose settings are drawn at random: the name that its tries share."""

    @field_validator("name")
    @classmethod
    def _text(cls, name: str) -> str:
        if not name.isprintable() or not name.strip():
            raise ValueError("a name is a line of printable text")
        return name

    @model_validator(mode="after")
    def _can_be_drawn(self) -> Method:
        if not self.drawn:
            return self
        if self.family is None or self.weights == "best":
            raise ValueError(
                f"method {self.name!r}: `drawn` changes a family that is trained to its end; give it a family and "
                'leave weights = "best" out'
            )
        changed(self.family, self.drawn)
        return self

    @property
    def slug(self) -> str:
        """The name as a part of a path."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-") or "method"


class Study(Plugins):
    """Title, question, data, tasks, seeds, budget, parity, methods, metrics: everything that decides the figures.

    Example:
        >>> study = Study(title="t", data="digits", tasks=["inpainting"], methods=[{"name": "Telea", "restorer": "telea"}])
        >>> Study.model_validate_json(study.to_json()) == study
        True
    """

    FREE: ClassVar[frozenset[str]] = frozenset(
        {"title", "question", "expects", "baseline", "contrasts", "metrics", "classes", "batch"}
        | {"methods", "tasks", "seeds"}
    )
    """What may change in a folder that has results: words cost nothing, the rest is measured again or trained anew where it
    is needed, and no training is lost."""

    title: str
    """A few words."""
    question: str = ""
    """What the study asks."""
    expects: str = ""
    """What is expected, and why: the papers' figures, or a reason."""
    data: Annotated[Any, choice(Source)]
    """Where the images come from."""
    tasks: list[Annotated[Any, choice(Task)]] = Field(min_length=1)
    """What is restored."""
    train: Literal["each", "jointly"] = "each"
    """each: a model for every task; jointly: one model on all the tasks, since the condition has one shape."""
    seeds: list[Annotated[int, Field(ge=0)]] = Field(default=[0], min_length=1)
    """Training seeds; test images and masks are the same for all."""
    budget: Budget = Budget()
    """What each training may spend."""
    parity: Parity = Parity()
    """What is held equal."""
    methods: list[Method] = Field(min_length=1)
    """The rows of the tables."""
    metrics: list[Annotated[Any, choice(Metric)]] = Field(
        default=["l1", "psnr", "ssim", "frechet", "consistency"], min_length=1, validate_default=True
    )
    """The columns of the tables; the first one ranks."""
    baseline: str | None = None
    """The method that each other is held against; left out: the first one without randomness in training, or else the first."""
    contrasts: list[tuple[str, str]] | None = None
    """The pairs of methods that get a verdict, in place of all against the baseline; the two leaders get one always."""
    classes: bool = False
    """Show figures within each class of the test images beside the whole."""
    batch: int = Field(default=256, ge=1)
    """Images restored at once."""

    @model_validator(mode="after")
    def _consistent(self) -> Study:
        for what, names in (
            ("method names", [method.slug for method in self.methods]),
            ("tasks", [build(task).name for task in self.tasks]),
            ("seeds", self.seeds),
            ("metrics", [metric.to_json() for metric in self.metrics]),
        ):
            if len(set(names)) < len(names):
                raise ValueError(f"two {what} are the same in {names}; make them differ")
        if any(not build(task).trains for task in self.tasks) and any(method.family for method in self.methods):
            raise ValueError(
                "a texture is learnt picture by picture: give its methods the restorer synthesis and no family"
            )
        known = [method.name for method in self.methods]
        for name in [self.baseline or known[0], *(name for pair in self.contrasts or () for name in pair)]:
            if name not in known:
                raise ValueError(f"baseline and contrasts: no method is called {name!r}; there are {', '.join(known)}")
        chosen = [method for method in self.methods if method.weights == "best"]
        for method in chosen:
            if method.family is None or not method.family.owner.random or not self.budget.moments:
                raise ValueError(
                    f'method {method.name!r}: weights = "best" chooses among the moments of a training; '
                    "give it a trained family, and say how many with budget.moments"
                )
        for judged in [self.baseline, *(name for pair in self.contrasts or () for name in pair)]:
            if judged in [method.name for method in chosen]:
                raise ValueError(
                    f'{judged!r} has weights = "best"; verdicts speak of the end of a training, name another method'
                )
        for first, second in self.contrasts or ():
            if first == second:
                raise ValueError(f"contrasts: {first!r} stands against itself; name two methods")
        for method in self.methods:
            if lacking := method.restorer.owner.lacks(method.family):
                raise ValueError(f"method {method.name!r}: {method.restorer.kind!r} {lacking}")
            if method.parts and method.family is None:
                raise ValueError(f"method {method.name!r} has parts but no family that could use them; remove them")
            if method.restorer.owner.needs is None and method.family is not None:
                raise ValueError(
                    f"method {method.name!r}: restorer {method.restorer.kind!r} uses no family; remove one of the two"
                )
        return self

    def compared(self, present: Sequence[str]) -> list[tuple[str, str]]:
        """The pairs that get a verdict among the methods that were measured on a task.

        Where the baseline was not, as an inpainter that cannot enlarge, the next one takes its place.
        """
        if self.contrasts is not None:
            return self.contrasts
        here = [method for method in self.methods if method.name in present and method.weights == "last"]
        named = [method for method in here if method.name == self.baseline]
        sure = [method for method in here if method.family is None or not method.family.owner.random]
        first = [*named, *sure, *here][:1]
        return [(method.name, base.name) for base in first for method in here if method is not base]


def read_study(path: Path | str, overrides: list[str] | None = None) -> Study:
    """A study file, with `path=value` settings applied and a method for each of its random tries.

    Raises: DataError: no such file. ConfigError: a wrong key or value, with its path.
    """
    values = expanded(settings.override(settings.read(Path(path)), overrides or []))
    return settings.load(Study, values, str(path))


def scaled(study: Study, scale: float) -> Study:
    """The same study with budget, and any count of training and test images it states, multiplied by `scale`.

    A training keeps at least 8 batches and a part of the data at least 16 images; below a tenth only the first seed is
    trained. The title says that it was scaled.

    Raises: ConfigError: the scale is not in (0, 1].
    """
    if not 0 < scale <= 1:
        raise ConfigError(f"--scale {scale} is not in (0, 1]; 1 runs the study as written, 0.001 a thousandth of it")
    if scale == 1:
        return study
    budget, data = study.budget, study.data
    images = max(round(budget.images * scale), 8 * budget.batch)
    counts = {part: getattr(data, part, None) for part in ("train", "test")}
    parts = {part: max(round(count * scale), min(count, 16)) for part, count in counts.items() if count is not None}
    return study.model_copy(
        update={
            "title": f"{study.title} (at scale {scale:g})",
            "budget": budget.model_copy(update={"images": min(images, budget.images)}),
            "data": data.model_copy(update=parts),
            "seeds": study.seeds if scale >= 0.1 else study.seeds[:1],
        }
    )
