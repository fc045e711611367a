"""Samplers on a law that is known: normal images with the mean and covariance of a data set, whose denoiser is a formula."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from sfumato import display
from sfumato.config import Strict
from sfumato.data.base import Dataset
from sfumato.errors import ConfigError, shortened
from sfumato.families.gaussian import Gaussian
from sfumato.files import write_atomic
from sfumato.images import LEVEL
from sfumato.kinds import build, discover, parse
from sfumato.maths.assignment import matched
from sfumato.maths.mixture import Mixture
from sfumato.reports.exact import build_page
from sfumato.samplers.base import Sampler
from sfumato.samplers.denoiser import clamped
from sfumato.samplers.exact import Law, denoiser_of, errors
from sfumato.samplers.schedules import Schedule
from sfumato.samplers.spacings import Spacing
from sfumato.streams import stream
from sfumato.training.loader import Loader
from sfumato.training.run import make_family

LARGEST = 3_072  # numbers of an image whose covariance is taken as it is; beyond, the images are taken as stationary
DRAWS, SETS = 600, 4  # images of a walk that is no linear one, and as many of the law; and how often both are drawn
FEW = 8  # numbers of a point, whose best matching says what it should
RIDGE = 1e-4  # added to the variances of a class, whose images may be fewer than their numbers


@dataclass(frozen=True)
class Row:
    """One walk."""

    sampler: str
    steps: int
    calls: int
    total: float
    """W_2 to the images, over the root of their numbers, in grey levels."""
    start: float | None = None
    """The part of the beginning alone; null where the walk is not linear and only draws are compared."""
    walk: float | None = None
    """The part of the steps alone."""
    end: float | None = None
    """The part of the last step alone."""
    floor: float | None = None
    """Where draws are compared: what two sets of exact draws are apart, which is taken from the square of the total."""
    error: float | None = None
    """Where draws are compared: the standard error of their distance."""


@dataclass(frozen=True)
class Exact:
    """What the page is made from."""

    data: str
    size: str
    law: str
    schedule: str
    spacing: str
    numbers: int
    seconds: float
    rows: list[Row]


def gaussian_of(data: Dataset, classes: bool = False) -> tuple[Any, Mixture]:
    """The family `gaussian` fitted to the training images, and its law: one Gaussian, or one for each class.

    Raises: ConfigError: images too large for a covariance, or without classes.
    """
    if data.spec.dimensions > LARGEST:
        raise ConfigError(
            f"images of {data.spec.dimensions:,} numbers are compared by formula alone, up to {LARGEST:,} by draws too; make "
            "them smaller, or leave out --clamped and --classes"
        )
    if classes and not data.spec.classes:
        raise ConfigError(f"--classes takes a Gaussian for each class, and {data.name} has none; leave it out")
    config = Gaussian.Config(labels=True, ridge=RIDGE) if classes else Gaussian.Config()
    family: Any = make_family(config, data.spec, 0)
    for _ in family.fit(family.stages()[0], Loader(data.train, 256)):
        pass
    count = data.spec.classes if classes else 1
    weights = torch.ones(count)
    if classes and data.train.labels is not None:
        weights = torch.bincount(data.train.labels, minlength=count)
    return family, Mixture.of(weights / weights.sum(), family.means[:count], family.covariances[:count])


def law_of(data: Dataset, classes: bool, clamp: bool) -> tuple[Law | None, Mixture | None, str]:
    """The law in the axes of its covariance, for formulas; as pixels, for draws; and in words."""
    if classes:
        return None, gaussian_of(data, classes)[1], "mean and covariance of each class of the training images"
    if data.spec.dimensions > LARGEST and not clamp:
        return stationary(data), None, "mean colour and power spectrum of the training images, as on a torus"
    one = gaussian_of(data)[1]
    axes, variances = one.axes
    law = Law(axes[0].T @ one.means[0], variances[0])
    return law, one, "mean and covariance of the training images"


def stationary(data: Dataset) -> Law:
    """Normal images with the covariance of a torus: each frequency for itself, with a covariance of the channels."""
    channels, (rows, columns) = data.spec.channels, data.size
    power = torch.zeros(rows, columns, channels, channels, dtype=torch.complex128)
    mean, count = torch.zeros(channels, dtype=torch.float64), 0
    for x, _ in Loader(data.train, 256).all():
        mean += x.double().mean((2, 3)).sum(0)
        count += len(x)
    mean /= count
    for x, _ in Loader(data.train, 256).all():
        f = torch.fft.fft2(x.double() - mean[:, None, None], norm="ortho").permute(0, 2, 3, 1)
        power += torch.einsum("nhwc,nhwd->hwcd", f, f.conj())
    values = torch.linalg.eigvalsh(power / count).clamp(min=1e-12).flatten()
    centre = torch.zeros(len(values), dtype=torch.float64)
    turn = torch.linalg.eigh(power[0, 0] / count)[1].real  # at frequency 0 all is real
    centre[:channels] = turn.T @ mean * math.sqrt(rows * columns)

    return Law(centre, values)


def apart(a: Float64[Tensor, "n d"], b: Float64[Tensor, "n d"], axes: Float64[Tensor, "d d"]) -> float:
    """W_2^2 of two sets of as many images: by the best matching of points, and along the principal axes of larger images.

    Matched images of many numbers are all about as far apart, whatever they show. Sorted along each axis their distances add
    up to W_2^2 of normal images with these axes, and to no more than W_2^2 of others.
    """
    if a.shape[1] <= FEW:
        return float((a - b[matched(a, b)]).square().sum(1).mean())
    return float(((a @ axes).sort(0).values - (b @ axes).sort(0).values).square().sum(1).mean())


def drawn(walk: Sampler, schedule: Schedule, law: Mixture, clamp: bool, seed: int) -> list[Tensor]:
    """Sets of images that a walk draws with the exact denoiser; every walk begins at the same noise."""
    exact = denoiser_of(law, schedule)
    denoiser, shape = clamped(exact) if clamp else exact, (DRAWS, law.means.shape[1], 1, 1)
    starts = [torch.randn(shape, generator=stream(seed, "start", k), dtype=torch.float64) for k in range(SETS)]
    walks = [walk.sample(denoiser, schedule.spread * x, stream(seed, "walk", k)) for k, x in enumerate(starts)]
    return [x.flatten(1) for x in walks]


def exact(
    source: Strict,
    schedule: str,
    samplers: str,
    steps: str,
    spacing: str,
    clamp: bool,
    out: Path,
    classes: bool = False,
    seed: int = 0,
) -> Exact:
    """Judge samplers on normal images like a data set's, print a table, and write exact.json and a page.

    `samplers` and `steps` are lists by commas; of no samplers all are taken, and without a spacing each has its own. With
    `classes` the law is a mixture of one Gaussian for each class, and walks are compared by draws.

    Raises: ConfigError: no such schedule or sampler, or steps that are no numbers.
    """
    begun = time.perf_counter()
    names = [name.strip() for name in samplers.split(",") if name.strip()] or sorted(discover(Sampler))
    try:
        counts = sorted({int(n) for n in steps.split(",")})
    except ValueError:
        counts = [0]
    if counts[0] < 1:
        raise ConfigError(f"--steps {shortened(steps)}: whole numbers from 1 on, by commas, are needed, as in 5,10,25")
    placed = {"spacing": parse(Spacing, spacing)} if spacing else {}
    walks: list[tuple[str, int, Sampler]] = [
        (name, n, build(parse(Sampler, {"kind": name, "steps": n} | placed))) for name in names for n in counts
    ]
    noise: Schedule = build(parse(Schedule, schedule))
    data = build(source).load()
    law, mixture, words = law_of(data, classes, clamp)
    level = 1 / (LEVEL * math.sqrt(data.spec.dimensions))
    rows = list[Row]()
    true, others, floor = list[Tensor](), list[Tensor](), 0.0
    if mixture is not None and (clamp or classes):
        true, others = ([mixture.draw(DRAWS, stream(seed, name, k)) for k in range(SETS)] for name in ("one", "two"))
        axes = torch.linalg.eigh(mixture.covariance)[1]
        floor = sum(apart(a, b, axes) for a, b in zip(others, true, strict=True)) / SETS
    for name, n, walk in walks:
        if noise.grid is not None and n > noise.grid:
            continue
        calls = walk.calls(noise)
        if law is not None:
            cause = errors(walk, noise, law)
            parts = {"total": cause.total, "start": cause.start, "walk": cause.steps, "end": cause.end}
            rows.append(Row(sampler=name, steps=n, calls=calls, **{key: level * part for key, part in parts.items()}))
        ways = [*([False] if classes else []), *([True] if clamp and not walk.combines else [])]
        for way in ways:
            assert mixture is not None
            sets = drawn(walk, noise, mixture, way, seed)
            found = torch.tensor([apart(a, b, axes) for a, b in zip(sets, true, strict=True)])
            error, square = float(found.std()) / math.sqrt(SETS), max(float(found.mean()) - floor, 0.0)
            total = math.sqrt(square)
            told = {"error": level * (math.sqrt(square + error) - total), "floor": level * math.sqrt(floor)}
            rows.append(Row(name + ", clamped" * way, n, calls, level * total, **told))
    made = Exact(
        data=data.name,
        size=" x ".join(map(str, (data.spec.channels, *data.size))),
        law=words,
        schedule=schedule,
        spacing=spacing or "each sampler's own",
        numbers=data.spec.dimensions,
        seconds=time.perf_counter() - begun,
        rows=rows,
    )
    write_atomic(out / "exact.json", json.dumps(asdict(made), indent=2) + "\n")
    page = build_page(out, asdict(made))
    for row in sorted(rows, key=lambda row: (row.calls, row.total)):
        sure = "" if row.floor is None else f" +- {row.error:.3f}, two sets of the law {row.floor:.3f}"
        display.say(f"{row.sampler:24} {row.steps:5} steps {row.calls:5} calls  {row.total:8.3f} levels{sure}")
    display.say(page)
    return made
