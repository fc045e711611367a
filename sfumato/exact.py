"""Samplers on a law that is known: normal images with the mean and covariance of a data set, whose denoiser is a formula."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
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
from sfumato.reports.exact import build_page
from sfumato.samplers.base import Sampler
from sfumato.samplers.denoiser import Denoised, From
from sfumato.samplers.exact import Law, denoiser_of, errors
from sfumato.samplers.schedules import Schedule
from sfumato.samplers.spacings import Spacing
from sfumato.streams import stream
from sfumato.training.loader import Loader
from sfumato.training.run import make_family

LARGEST = 3_072  # numbers of an image whose covariance is taken as it is; beyond, the images are taken as stationary
DRAWS = 400  # images of a walk that is no linear one, and as many of the law


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
    """Where draws are compared: what two sets of exact draws are apart."""


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


def axes(data: Dataset) -> tuple[Law, str, Callable[[Tensor], Tensor]]:
    """Normal images in the axes of their covariance, what they are in words, and the way back to pixels."""
    family: Any = make_family(Gaussian.Config(), data.spec, 0)
    if data.spec.dimensions <= LARGEST:
        for _ in family.fit(family.stages()[0], Loader(data.train, 256)):
            pass
        values, vectors = torch.linalg.eigh(family.covariances[0].double())
        law = Law(vectors.T @ family.means[0].double(), values.clamp(min=1e-12))
        return law, "mean and covariance of the training images", lambda z: z @ vectors.T
    return stationary(data)


def stationary(data: Dataset) -> tuple[Law, str, Callable[[Tensor], Tensor]]:
    """The same with the covariance of a torus: each frequency for itself, with a covariance of the channels."""
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

    def no_way_back(z: Tensor) -> Tensor:
        raise ConfigError(
            f"walks that are not linear are drawn at {LARGEST:,} numbers an image at most; leave --clamped out"
        )

    return Law(centre, values), "mean colour and power spectrum of the training images, as on a torus", no_way_back


def drawn(
    walk: Sampler, schedule: Schedule, law: Law, pixels: Callable[[Tensor], Tensor], seed: int
) -> tuple[float, float]:
    """W_2 between draws of a clamped walk and of the law, and between two sets of the law's."""
    d, shape = len(law.mean), (DRAWS, 1, 1, len(law.mean))
    basis = pixels(torch.eye(d, dtype=torch.float64))  # rows: what each coordinate is in pixels
    inner = denoiser_of(law, schedule)

    def to_pixels(z: Float64[Tensor, "n 1 1 d"]) -> Tensor:
        return z[:, 0, 0] @ basis

    def back(x: Tensor) -> Tensor:
        return (x @ basis.T)[:, None, None]

    def call(x_t: Tensor, t: Tensor) -> Denoised:
        return Denoised(back(to_pixels(inner(x_t, t).mean).clamp(-1.0, 1.0)))

    x_1 = schedule.spread * torch.randn(shape, generator=stream(seed, "start"), dtype=torch.float64)
    made = walk.sample(From(schedule, call), x_1, stream(seed, "walk"))[:, 0, 0]
    first, second = (
        law.mean + law.variance.sqrt() * torch.randn(DRAWS, d, generator=stream(seed, name), dtype=torch.float64)
        for name in ("first", "second")
    )

    def apart(a: Tensor, b: Tensor) -> float:
        return float((a - b[matched(a, b)]).square().sum(1).mean().sqrt())

    return apart(made, first), apart(second, first)


def exact(
    source: Strict, schedule: str, samplers: str, steps: str, spacing: str, clamp: bool, out: Path, seed: int = 0
) -> Exact:
    """Judge samplers on normal images like a data set's, print a table, and write exact.json and a page.

    `samplers` and `steps` are lists by commas; of no samplers all are taken, and without a spacing each has its own.

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
    law, words, pixels = axes(data)
    level = 1 / (LEVEL * math.sqrt(len(law.mean)))
    rows = list[Row]()
    for name, n, walk in walks:
        if noise.grid is not None and n > noise.grid:
            continue
        found = errors(walk, noise, law)
        parts = {"total": found.total, "start": found.start, "walk": found.steps, "end": found.end}
        rows.append(Row(sampler=name, steps=n, calls=found.calls, **{key: level * part for key, part in parts.items()}))
        if clamp and not walk.combines:
            total, floor = drawn(walk, noise, law, pixels, seed)
            told = {"total": level * total, "floor": level * floor}
            rows.append(Row(sampler=f"{name}, clamped", steps=n, calls=found.calls, **told))
    made = Exact(
        data=data.name,
        size=" x ".join(map(str, (data.spec.channels, *data.size))),
        law=words,
        schedule=schedule,
        spacing=spacing or "each sampler's own",
        numbers=len(law.mean),
        seconds=time.perf_counter() - begun,
        rows=rows,
    )
    write_atomic(out / "exact.json", json.dumps(asdict(made), indent=2) + "\n")
    page = build_page(out, asdict(made))
    for row in sorted(rows, key=lambda row: (row.calls, row.total)):
        display.say(f"{row.sampler:24} {row.steps:5} steps {row.calls:5} calls  {row.total:8.3f} levels")
    display.say(page)
    return made
