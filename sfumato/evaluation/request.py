"""Requests and evaluations: everything that decides a figure as data, and the figures with their cards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializeAsAny, ValidationError, field_validator, model_validator

import sfumato
from sfumato import config as settings
from sfumato.config import Strict
from sfumato.data.imageset import Filter
from sfumato.errors import ConfigError, DataError
from sfumato.features import Features
from sfumato.features.inception import Inception
from sfumato.kinds import choice, parse
from sfumato.metrics.base import Metric, Score
from sfumato.metrics.distribution import DistributionMetric

SHORT: dict[str, Any] = {  # what people type, and what it means
    "fid": "frechet",
    "fd": "frechet",
    "fid-infinity": "frechet_infinity",
    "kid": "kernel",
    "kd": "kernel",
    "mind": "mind",
    "is": "inception_score",
    "prdc": "support",
    "auth": "memorisation",
    "lpips": {"kind": "perceptual", "features": "alexnet", "heads": "lpips"},
    "ms-ssim": "ms_ssim",
    "patch-ot": "patch_transport",
}


DEFAULT = ["fid", "kid", "prdc"]


def metric(name: object) -> Strict:
    """The settings of a metric from its kind, a table, or the short name that people type.

    Raises: ConfigError: no such metric.

    Example:
        >>> metric("kid").kind
        'kernel'
    """
    wanted = SHORT.get(name.lower(), name) if isinstance(name, str) else name
    try:
        return parse(Metric, wanted)
    except ConfigError as error:
        if isinstance(name, str) and "unknown" in str(error):
            raise ConfigError(f"{error}; short names: {', '.join(SHORT)}") from None
        raise


OFFICIAL = ("fid", "fid-infinity", "kid", "is")


def official(name: str) -> Strict:
    """The settings of a metric by the name that people type; fid, kid and is mean the 2015 graph's features, as everywhere.

    Example:
        >>> official("fid").features.kind, official("fd").features.kind
        ('inception', 'lite0')
    """
    if name.lower() not in OFFICIAL:
        return metric(name)
    return metric({"kind": SHORT[name.lower()], "features": "inception"})


class Request(Strict):
    """What to measure: two sets of images, on which features, with which metrics, how many, and how prepared."""

    made: str
    """The images to judge: a folder, zip, npz, run, or a source with its part, as digits:test."""
    real: str
    """What they are compared with; also statistics that `sfumato stats`, pytorch-fid or clean-fid wrote."""
    train: str | None = None
    """The training images, for memorisation and nearest training images."""
    masks: str | None = None
    """Masks of the made images by name or order, white where they were made: paired metrics then look at hole and ring."""
    features: Annotated[Any, choice(Features, "inception")] = Inception.Config()
    """The extractor of every distribution metric that does not name its own."""
    metrics: list[Annotated[SerializeAsAny[Strict], Field()]] = Field(default=[], min_length=1)
    """What is computed; fid, kid and prdc if left out."""
    n: int | None = Field(default=None, ge=1)
    """Use so many of the made images, drawn by a fixed stream; a run draws so many (2,048 if left out)."""
    n_real: int | None = Field(default=None, ge=1)
    """Use so many of the real images."""
    size: int | None = Field(default=None, ge=1, le=4096)
    """Cut both sets square and bring them to this size before anything else."""
    filter: Filter = "lanczos"
    """The antialiased filter that `size` uses."""
    mixed: bool = False
    """Whether a set may hold images of several sizes; each is then resized by the extractor alone."""
    on_broken: Literal["refuse", "skip"] = "refuse"
    """What to do about files that cannot be read: stop and name them, or leave them out and count them."""
    seed: int = Field(default=0, ge=0)
    """The seed that a run draws with."""

    @model_validator(mode="before")
    @classmethod
    def _resolved(cls, values: Any) -> Any:
        """Metrics by short names, each with the features and the region that it will use: what is written is what ran."""
        if not isinstance(values, dict):
            return values
        names = values.get("metrics", DEFAULT)
        names = [name.strip() for name in names.split(",") if name.strip()] if isinstance(names, str) else names
        if not isinstance(names, list):
            return values
        try:
            features = parse(Features, values.get("features", "inception"))
        except (ConfigError, ValidationError):
            return values  # the field itself says what is wrong
        return {**values, "metrics": [completed(name, features, values.get("masks") is None) for name in names]}

    @field_validator("made", "real", "train", "masks")
    @classmethod
    def _text(cls, name: str | None) -> str | None:
        try:
            (name or "").encode()
        except UnicodeEncodeError:
            raise ValueError(
                "the name is not UTF-8, so it could not be written down; rename the file or folder"
            ) from None
        return name

    @field_validator("metrics", mode="before")
    @classmethod
    def _metrics(cls, values: Any) -> Any:
        found = [metric(value) for value in values] if isinstance(values, list) else values
        return list({config.to_json(): config for config in found}.values()) if isinstance(values, list) else values


def completed(name: object, features: Strict, whole: bool) -> object:
    """A metric's settings with these features where it names none, and the whole image where there are no masks.

    What is no metric comes back as it is.
    """
    try:
        config = metric(name)
    except (ConfigError, ValidationError):
        return name
    table = SHORT.get(name.lower(), {}) if isinstance(name, str) else name
    named = config.model_fields_set if isinstance(name, Strict) else set(table) if isinstance(table, dict) else set()
    changes: dict[str, Any] = {}
    if issubclass(config.owner, DistributionMetric) and "features" not in named:
        changes["features"] = features
    if whole and "region" in type(config).model_fields:
        changes["region"] = "all"
    return type(config).model_validate({**{key: getattr(config, key) for key in type(config).model_fields}, **changes})


class Evaluation(Strict):
    """The figures of a request, with what else a page or an explanation needs."""

    request: Request
    """What was asked."""
    made: dict[str, Any]
    """What is known of the made images."""
    real: dict[str, Any]
    """What is known of the real ones."""
    scores: list[Score]
    """The figures with their cards."""
    metric_of: list[int]
    """For each score, which of the request's metrics it belongs to."""
    software: dict[str, str]
    """Versions of what computed it."""

    @model_validator(mode="after")
    def _places(self) -> Evaluation:
        if len(self.metric_of) != len(self.scores) or any(
            not 0 <= i < len(self.request.metrics) for i in self.metric_of
        ):
            raise ValueError("metric_of must name one of the request's metrics for each score; write the file anew")
        return self

    def score(self, label: str) -> Score:
        """The figure of this name.

        Raises: ConfigError: there is none.
        """
        found = next((score for score in self.scores if score.label == label), None)
        if found is None:
            raise ConfigError(f"no figure {label!r}; there are {', '.join(score.label for score in self.scores)}")
        return found


def software() -> dict[str, str]:
    """Versions that may matter."""
    import numpy
    import torch

    return {"sfumato": sfumato.__version__, "torch": torch.__version__, "numpy": numpy.__version__}


def read_evaluation(path: Path) -> Evaluation:
    """An evaluation that `sfumato evaluate` wrote: the JSON file, or the folder it lies in.

    Raises: DataError: missing, or not an evaluation.
    """
    path = path / "evaluation.json" if path.is_dir() else path
    if not path.is_file():
        raise DataError(f"no evaluation at {path}; give the folder that `sfumato evaluate MADE REAL --out` wrote")
    values = settings.read(path)
    if "request" not in values or "scores" not in values:
        raise DataError(f"{path} is no evaluation; give the evaluation.json that `sfumato evaluate MADE REAL` wrote")
    found = settings.load(Evaluation, values, str(path))
    for score in found.scores:
        if wrong := next((key for key, fits in CARD.items() if key in score.card and not fits(score.card[key])), None):
            raise DataError(f"{path}: the card of {score.label} was changed by hand ({wrong}); evaluate again")
    return found


def _line(value: Any) -> bool:
    """Whether a card's line to infinity has what explanations read."""
    return value is None or (
        isinstance(value, dict) and all(isinstance(value.get(k), int | float) for k in ("value", "slope"))
    )


CARD: dict[str, Callable[[Any], bool]] = {  # what else is read of cards, and of which form it must be
    "infinity": _line,
    "made": lambda value: isinstance(value, dict),
    "real": lambda value: isinstance(value, dict),
    "masks": lambda value: isinstance(value, dict),
    "features": lambda value: isinstance(value, dict),
    "warnings": lambda value: isinstance(value, list) and all(isinstance(line, str) for line in value),
}
