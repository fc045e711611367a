"""Evaluate: the figures of one set of images against another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sfumato.data.imageset import ImageSet, from_tensor, shown
from sfumato.errors import CapabilityError, ConfigError, DataError, ShapeError
from sfumato.evaluation import pairs, sources
from sfumato.evaluation.request import Evaluation, Request, software
from sfumato.evaluation.statistics import is_statistics, load_statistics
from sfumato.evaluation.vectors import Watch, nobody, vectors
from sfumato.features import Features
from sfumato.files import at_home
from sfumato.kinds import build
from sfumato.maths.moments import Moments
from sfumato.metrics.base import Metric, Score
from sfumato.metrics.distribution import DistributionMetric, Sample


@dataclass(frozen=True)
class Sets:
    """The image sets of a request; `real` is a path where only statistics are known."""

    made: ImageSet
    real: ImageSet | Path
    train: ImageSet | None = None


@dataclass(frozen=True)
class Measured:
    """An evaluation, and what it was made from: vectors by extractor, and images."""

    evaluation: Evaluation
    samples: dict[str, dict[str, Sample]]
    sets: Sets


def evaluate(request: Request, device: torch.device | str = "cpu", cache: bool = True) -> Evaluation:
    """Measure `request.made` against `request.real`; see `measure`.

    Example:
        >>> from sfumato.features.lite0 import Lite0
        >>> lite0 = Lite0.Config(layer="b4")
        >>> found = evaluate(Request(made="digits:train", real="digits:test", features=lite0, metrics="kid", n=100, n_real=100))
        >>> found.scores[0].label, found.made["split"], found.real["split"]
        ('KD-lite0-b4', 'train', 'test')
    """
    return measure(request, device, cache).evaluation


def measure(
    request: Request,
    device: torch.device | str = "cpu",
    cache: bool = True,
    watch: Watch = nobody,
    sets: Sets | None = None,
) -> Measured:
    """Measure `request.made` against `request.real`.

    Each extractor sees each image once, whatever the number of metrics; what it saw is kept in the user's cache.

    Raises: DataError: images that cannot be read or do not fit. WeightsError: no weights, or statistics of other
    features. CapabilityError: a metric that needs what is not there. ShapeError: too few images.
    """
    metrics: list[Metric] = [build(config) for config in request.metrics]
    for metric in metrics:
        metric.prepare(torch.device(device))  # a missing weight file is found before the images are read
    labels = [metric.label for metric in metrics]
    if len(set(labels)) < len(labels):
        raise ConfigError(f"two metrics are both called {max(labels, key=labels.count)}; measure them one by one")
    sets = sets or found(request, str(device))
    seen: dict[str, dict[str, Sample]] = {}
    scores: list[Score] = []
    metric_of: list[int] = []
    for i, metric in enumerate(metrics):
        if isinstance(metric, DistributionMetric):
            key = metric.config.features.to_json()
            if key not in seen:
                seen[key] = samples(sets, metric.features, device, cache, watch)
            mine = (
                metric.judge(**seen[key]) if metric.wants_train else metric.judge(seen[key]["made"], seen[key]["real"])
            )
        else:
            mine = pairs.judge(metric, request, sets.made, images(sets.real, metric.label), watch, device)
        scores += mine
        metric_of += [i] * len(mine)
    if isinstance(sets.real, ImageSet):
        real = sets.real.about()
    else:
        real = next((part["real"].about for part in seen.values()), {"name": str(sets.real)})
    evaluation = Evaluation(
        request=request, made=sets.made.about(), real=real, scores=scores, metric_of=metric_of, software=software()
    )
    return Measured(evaluation, seen, sets)


def found(request: Request, device: str = "cpu") -> Sets:
    """The image sets that a request names, prepared as it says."""
    look = partial(sources.find, on_broken=request.on_broken, seed=request.seed, device=device)
    path = at_home(request.real)
    # Statistics first: they are refused, if they must be, before the images are read
    statistics = path if path.is_file() and is_statistics(path) else None
    if statistics is not None and request.n_real is not None:
        raise ConfigError(f"n_real = {request.n_real}, but {path} holds statistics of all its images; leave it out")
    made = prepared(look(request.made, request.n), request)
    real = statistics or prepared(look(request.real, request.n_real), request)
    return Sets(made, real, prepared(look(request.train), request) if request.train else None)


def prepared(images: ImageSet, request: Request) -> ImageSet:
    """The images brought to the request's size.

    Raises: DataError: several sizes, and nobody said what to do about them.
    """
    if request.size is None and not request.mixed and len(images.sizes) > 1:
        sizes = shown(images.sizes)
        either = "give --size 64 to bring all to one, or --mixed to let the extractor resize each"
        raise DataError(f"{images.name} holds images of {len(images.sizes)} sizes: {sizes}; {either}")
    return images.resized(request.size, request.filter)


def images(real: ImageSet | Path, metric: str) -> ImageSet:
    """The real images.

    Raises: CapabilityError: only statistics are known.
    """
    if isinstance(real, Path):
        raise CapabilityError(f"{metric} compares image with image, but {real} holds statistics; give the images")
    return real


def samples(sets: Sets, features: Features, device: torch.device | str, cache: bool, watch: Watch) -> dict[str, Sample]:
    """Made, real and training images as samples of vectors; statistics are read before any image is looked at."""
    given = {} if isinstance(sets.real, ImageSet) else {"real": load_statistics(sets.real, features)}
    answer: dict[str, Sample] = {}
    for name in ("made", "real", "train"):
        part = getattr(sets, name)
        if name in given:
            answer[name] = like(given[name], sets.made)
        elif part is not None:
            answer[name] = sample_of(part, features, device, cache, watch)
    if isinstance(sets.real, ImageSet) and sets.real.digest == sets.made.digest:
        warning = "made and real are the same images, byte for byte: every figure is at its end"
        answer["made"].about.setdefault("warnings", []).append(warning)
    return answer


def like(statistics: Sample, made: ImageSet) -> Sample:
    """Statistics of images that were prepared as the made ones are.

    Raises: ConfigError: they were prepared otherwise.
    """
    preparation = statistics.about.get("preparation", made.preparation)
    if preparation != made.preparation:
        differ = f"prepared by: {preparation}; {made.name} by: {made.preparation}"
        raise ConfigError(
            f"the statistics of {statistics.about.get('name')} are of images {differ}; give the same --size"
        )
    return statistics


def sample_of(
    images: ImageSet,
    features: Features,
    device: torch.device | str = "cpu",
    cache: bool = True,
    watch: Watch = nobody,
) -> Sample:
    """An image set as a sample of vectors.

    Raises: ShapeError: a single image, which has no spread.
    """
    if len(images) < 2:
        raise ShapeError(
            f"{len(images)} image of {images.name} is measured; a law needs at least 2, and 10,000 to be quoted"
        )
    found = vectors(images, features, device, cache, watch)
    fast = torch.device(device).type == "cuda"  # else mean and covariance wait until a metric asks for them
    return Sample(found, Moments.of(found.to(device)).to("cpu") if fast else None, images.about())


def compare(
    made: Tensor | Sequence[Tensor], real: Tensor | Sequence[Tensor], metrics: str = "fid,kid,prdc", **settings: Any
) -> Evaluation:
    """Measure uint8 tensors [N, C, H, W] that are in memory; `settings` are those of a `Request`, and device and cache.

    Example:
        >>> from sfumato.streams import stream
        >>> noise = torch.randint(0, 256, (2, 60, 3, 32, 32), dtype=torch.uint8, generator=stream(0, "example"))
        >>> found = compare(noise[0], noise[1], "fd", features={"kind": "lite0", "layer": "b4"}, cache=False)
        >>> [score.label for score in found.scores]
        ['FD-lite0-b4']
    """

    def whole(part: Tensor | Sequence[Tensor]) -> Tensor:
        return part if isinstance(part, Tensor) else torch.cat(list(part))

    run = {key: settings.pop(key) for key in ("device", "cache", "watch") if key in settings}
    request = Request(made="made", real="real", metrics=metrics, **settings)  # type: ignore[arg-type]
    sets = Sets(*(prepared(from_tensor(whole(part), name), request) for name, part in (("made", made), ("real", real))))
    return measure(request, sets=sets, **run).evaluation
