"""Requests and evaluations: everything that decides a figure as data, and the figures with their cards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializeAsAny, field_validator

import sfumato
from sfumato import config as settings
from sfumato.config import Strict
from sfumato.data.imageset import Filter
from sfumato.errors import ConfigError, DataError
from sfumato.features import Features
from sfumato.features.inception import Inception
from sfumato.kinds import choice, parse
from sfumato.metrics.base import Metric, Score

SHORT: dict[str, Any] = {  # what people type, and what it means
    "fid": "frechet",
    "fd": "frechet",
    "fid-infinity": "frechet_infinity",
    "kid": "kernel",
    "is": "inception_score",
    "prdc": "support",
    "auth": "memorisation",
    "lpips": {"kind": "perceptual", "features": "alexnet", "heads": "lpips"},
    "ms-ssim": "ms_ssim",
    "patch-ot": "patch_transport",
}


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
    metrics: list[Annotated[SerializeAsAny[Strict], Field()]] = Field(
        default=["fid", "kid", "prdc"], min_length=1, validate_default=True
    )
    """What is computed."""
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

    @field_validator("metrics", mode="before")
    @classmethod
    def _metrics(cls, values: Any) -> Any:
        if isinstance(values, str):
            values = [name.strip() for name in values.split(",") if name.strip()]
        return [metric(value) for value in values]


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
    values = settings.read(path)
    if "request" not in values or "scores" not in values:
        raise DataError(f"{path} is no evaluation; give the evaluation.json that `sfumato evaluate MADE REAL` wrote")
    return settings.load(Evaluation, values, str(path))
