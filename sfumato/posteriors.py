"""Restorers on a law that is known: normal images like a data set's, whose posterior given y = A x + noise n is a formula."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor

from sfumato import display
from sfumato.config import Strict
from sfumato.errors import CapabilityError, ConfigError, shortened
from sfumato.exact import apart, gaussian_of
from sfumato.files import write_atomic
from sfumato.images import LEVEL
from sfumato.kinds import build, discover, parse
from sfumato.reports.posteriors import build_page
from sfumato.restorers.base import Restorer
from sfumato.restorers.exact import TINY, Judged, Normal, covered, judged, matrix_of, posterior, seen, walked
from sfumato.restorers.zero_shot import ZeroShot
from sfumato.samplers.denoiser import Denoiser, clamped
from sfumato.samplers.exact import denoiser_of
from sfumato.samplers.schedules import Schedule
from sfumato.streams import normals, stream
from sfumato.tasks.base import Operator, Task

SMALL = (
    256  # numbers of an image up to which a walk is followed by formulas; beyond, and where it is not affine, by draws
)
SEEN, DRAWS = 4, 400  # measurements that each method answers, and answers to each, twice, where draws are compared


@dataclass(frozen=True)
class Row:
    """One method on one task, in grey levels where it is a distance."""

    task: str
    noise: float
    restorer: str
    calls: int
    distance: float
    mean: float
    spread: float
    coverage: float
    error: float | None
    """The standard error of the distance where draws were compared; null where all is by formulas."""
    seconds: float


def numbers(text: str, option: str, least: float, whole: bool) -> list[float]:
    """Numbers by commas.

    Raises: ConfigError: they are none, or too small.
    """
    try:
        found = sorted({float(part) for part in text.split(",")})
    except ValueError:
        found = [math.nan]
    if not all(value >= least and math.isfinite(value) and (not whole or value == int(value)) for value in found):
        kind = "whole numbers" if whole else "numbers"
        raise ConfigError(f"{option} {shortened(text)}: {kind} from {least:g} on, by commas, are needed")
    return found


def methods(names: str) -> dict[str, Strict]:
    """Settings of the zero-shot restorers of these names, by commas; of all for none.

    Raises: ConfigError: one of them is no zero-shot restorer.
    """
    known = {name: kind for name, kind in discover(Restorer).items() if issubclass(kind, ZeroShot)}
    wanted = [name.strip() for name in names.split(",") if name.strip()] or sorted(known)
    for name in wanted:
        if name not in known:
            raise ConfigError(f"--restorer {shortened(name)}: one of {', '.join(sorted(known))} is needed")
    return {name: parse(Restorer, name) for name in wanted}


def posteriors(
    source: Strict, tasks: Sequence[str | Strict], noises: str, restorers: str, calls: str, schedule: str, clamp: bool,
    out: Path, seed: int = 0,
) -> list[Row]:  # fmt: skip
    """Hold zero-shot restorers against the posterior, print a table, and write posteriors.json and a page.

    Raises: ConfigError: a name or number that does not do. CapabilityError: no task whose operator is known.
    """
    begun, data = time.perf_counter(), build(source).load()
    family, law = gaussian_of(data)
    noise_schedule: Schedule = build(parse(Schedule, schedule))
    denoiser, shape = denoiser_of(law, noise_schedule), (data.spec.channels, *data.size)
    wanted, levels = methods(restorers), numbers(noises, "--noise", 0.0, False)
    counts = [int(value) for value in numbers(calls, "--calls", 1, True)]
    rows = list[Row]()
    for one in tasks:
        task: Task = build(parse(Task, one))
        task.check(data.spec)
        operator = task.operator(stream(seed, "operator", task.name), 1, data.size)
        if not operator.linear or not task.conditional:
            raise CapabilityError(f"{task.name} measures nothing by a known operator; name inpainting, deblurring ...")
        a = matrix_of(operator, shape)
        for noise in levels:
            x = law.draw(SEEN, stream(seed, "images"))
            y = x @ a.T + noise * normals(stream(seed, "noise"), SEEN, len(a)).double()
            true = posterior(law, a, y, noise)
            for name, config in wanted.items():
                for count in counts:
                    restorer: ZeroShot = build(type(config).owner.within(config, count), family)
                    if not restorer.answers(operator):
                        continue
                    begin = time.perf_counter()
                    if restorer.affine and not clamp and len(law.means[0]) <= SMALL:
                        found, sure = judged(walked(restorer, denoiser, operator, y, shape, noise), true), True
                    else:
                        used = clamped(denoiser) if clamp and not restorer.combines else denoiser
                        found, sure = sampled(restorer, used, operator, y, shape, noise, true, seed), False
                    taken = time.perf_counter() - begin
                    rows.append(row(task.name, noise, name, restorer.cost(noise_schedule), found, sure, taken))
                    show(rows[-1])
    told = {
        "data": data.name, "size": " x ".join(map(str, shape)), "schedule": schedule, "clamped": clamp, "measurements": SEEN,
        "draws": DRAWS, "seconds": time.perf_counter() - begun, "rows": [asdict(one) for one in rows],
    }  # fmt: skip
    write_atomic(out / "posteriors.json", json.dumps(told, indent=2) + "\n")
    display.say(build_page(out, told))
    return rows


def row(task: str, noise: float, name: str, calls: int, found: Judged, sure: bool, seconds: float) -> Row:
    """A row in grey levels."""
    level = 1 / LEVEL
    error = None if sure else level * found.error
    distances = level * found.distance, level * found.mean
    return Row(task, noise, name, calls, *distances, found.spread, found.coverage, error, seconds)


def show(row: Row) -> None:
    """A line on the screen."""
    sure = "" if row.error is None else f" +- {row.error:.2f}"
    display.say(
        f"{row.task:20} noise {row.noise:<5g} {row.restorer:8} {row.calls:5} calls: {row.distance:6.2f} levels{sure} from the "
        f"posterior, its mean {row.mean:6.2f}, spread {row.spread:.2f}, coverage {row.coverage:.2f}"
    )


def sampled(
    restorer: ZeroShot, denoiser: Denoiser, operator: Operator, y: Float64[Tensor, "n m"], shape: tuple[int, int, int],
    noise: float, true: Normal, seed: int,
) -> Judged:  # fmt: skip
    """The same by draws: for each y answers and as many draws of the posterior, less what two sets of these are apart."""
    d, values = len(true.covariance), list[tuple[float, float, float, float]]()
    variances, axes = torch.linalg.eigh(true.covariance)
    root = axes * variances.clamp(min=0).sqrt()
    open_ = true.covariance.diagonal() > TINY
    sd = true.covariance.diagonal()[open_].sqrt()
    for k, again in ((k, again) for k in range(len(y)) for again in range(2)):
        observation = seen(operator, y[k].expand(DRAWS, -1), shape, noise)
        like = torch.empty(DRAWS, *shape, dtype=torch.float64)
        made = observation.project(restorer.walk(denoiser, observation, like, stream(seed, "walk", k, again))).flatten(
            1
        )
        one, two = (
            true.means[k] + normals(stream(seed, name, k, again), DRAWS, d).double() @ root.T for name in ("one", "two")
        )
        square = apart(made, one, axes) - apart(two, one, axes)
        off = (made.mean(0) - true.means[k]).square().sum() - made.var(0).sum() / DRAWS
        share = covered((made.mean(0) - true.means[k])[open_], made.std(0)[open_], sd)
        ratio = made.var(0)[open_].sum() / sd.square().sum()
        values.append((square, float(off), float(ratio), share))
    squares, offs, ratios, shares = torch.tensor(values, dtype=torch.float64).T
    first, second = squares.view(-1, 2).T  # of each y two sets of draws, whose difference tells the error
    distance, error = max(float(squares.mean()), 0.0), float((first - second).norm()) / (2 * len(y))
    return Judged(
        distance=math.sqrt(distance / d),
        mean=math.sqrt(max(float(offs.mean()), 0.0) / d),
        spread=math.sqrt(float(ratios.mean())),
        coverage=float(shares.mean()),
        error=(math.sqrt(distance + error) - math.sqrt(distance)) / math.sqrt(d),
    )
