"""The parts that the checks share: pictures, tasks that fit, and ways to say what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.config import Strict
from sfumato.data.base import DataSpec
from sfumato.errors import ConfigError
from sfumato.families.base import Stage
from sfumato.images import Images, Pixels, Size
from sfumato.kinds import Kind, build, discover, parse
from sfumato.streams import stream
from sfumato.tasks.base import Observation, Operator, Task

BATCH = 4
SMALL = {"width": 4, "turns": 3}
GREY, COLOUR = DataSpec(channels=1, size=(8, 8)), DataSpec(channels=3, size=(16, 16))
POINTS = DataSpec(channels=2, size=(1, 1))
WIDE = DataSpec(channels=3, size=(8, 12))


def configured(root: type[Kind], kind: str | Strict) -> Any:
    """A config as it is, or a kind's defaults with a small width, and few turns where it counts them itself."""
    config = parse(root, kind)
    small = {name: value for name, value in SMALL.items() if name in type(config).model_fields}
    return config.model_copy(update=small) if isinstance(kind, str) else config


def short(kind: Any) -> Any:
    """The settings of a restorer that searches or walks, with few steps: many show nothing more."""
    fields, few = kind.Config.model_fields, {"steps": 6, "calls": 6, "turns": 3, "width": 4}
    settings: dict[str, Any] = {name: n for name, n in few.items() if name in fields}
    if "sampler" in fields:
        settings["sampler"] = fields["sampler"].default.model_copy(update={"steps": 6})
    return kind.Config.model_validate(settings)


def pictures(n: int, channels: int, size: Size | int) -> Pixels:
    """Smooth random pictures of middling brightness, so that noise can be added without clipping."""
    rows, columns = (size, size) if isinstance(size, int) else size
    coarse = torch.rand(n, channels, max(rows // 4, 1), max(columns // 4, 1), generator=stream(0, "picture", rows))
    # Squared, so that half of the pixels are not above and half below the middle: a median would have nothing to learn.
    coarse = coarse.square()
    return (60 + 130 * F.interpolate(coarse, size=(rows, columns), mode="bilinear")).round().byte()


def streams(n: int) -> list[torch.Generator]:
    """One stream for each of n images."""
    return [stream(0, "mask", i) for i in range(n)]


def tasks_for(spec: DataSpec, stages: Sequence[Stage] = (), config: Any = None) -> list[Task]:
    """Every task kind that a family on this spec can be trained on, restoring ones last; at each size of its stages."""
    sizes = {spec.size, *(stage.size for stage in stages if stage.size is not None)}
    tasks: list[Task] = [build(cls.Config()) for cls in discover(Task).values()]
    fit = []
    for task in sorted(tasks, key=lambda task: task.conditional):
        try:
            for size in sizes:
                task.check(spec.model_copy(update={"size": size}))
                task.operator(stream(0, "mask"), 1, size)
            if config is not None and config.owner.refuses(config, task.example(spec.channels, spec.size)):
                continue
            given = task.operator(stream(0, "mask"), 1, spec.size).known * (1 - min(task.noise, 1))
        except ConfigError:
            continue
        something_to_make = bool((given < 1).any())  # not so where the images are 1 x 1 and that pixel is given
        if something_to_make and not task.paired and task.trains and (spec.condition or not task.conditional):
            fit.append(task)
    return fit


def observed(operator: Operator, x: Images) -> Observation:
    """What an operator leaves of x; a loss would look everywhere."""
    return Observation(operator.forward(x), operator, torch.ones_like(operator.known))


def check_images(made: Images, like: Images, name: str) -> None:
    """Finite float32 images in [-1, 1], of the shape of others."""
    require(made.shape == like.shape, f"{name} gave shape {tuple(made.shape)}, not {tuple(like.shape)}")
    require(made.dtype == torch.float32, f"{name} gave {made.dtype}, not float32")
    require(bool(made.isfinite().all()), f"{name} gave pixels that are not finite")
    low, high = float(made.min()), float(made.max())
    require(low >= -1 - 1e-5 and high <= 1 + 1e-5, f"{name} gave pixels from {low:.3g} to {high:.3g}, not in [-1, 1]")


@contextmanager
def no_global_random(name: str) -> Iterator[None]:
    """Inside, torch's global generator may not be drawn from."""
    before = torch.get_rng_state()
    yield
    require(
        torch.equal(before, torch.get_rng_state()), f"{name} uses torch's global generator; draw from the given rng"
    )


def raises(kind: type[Exception], call: Callable[[], object], message: str) -> None:
    """A call must raise this error."""
    try:
        call()
    except kind:
        return
    raise AssertionError(message)


def close(a: Tensor, b: Tensor, message: str) -> None:
    """Two tensors must be equal to four digits."""
    require(a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-4), message)


def require(held: bool, message: str) -> None:
    """Raises: AssertionError: it does not hold."""
    if not held:
        raise AssertionError(message)
