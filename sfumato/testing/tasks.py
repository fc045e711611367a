"""The check of tasks and their operators."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sfumato.config import Strict
from sfumato.data.base import DataSpec
from sfumato.errors import CapabilityError, ConfigError
from sfumato.images import Images, Size, to_float
from sfumato.kinds import build, discover
from sfumato.streams import stream
from sfumato.tasks.base import Observation, Operator, Task
from sfumato.testing.configs import check_config
from sfumato.testing.parts import (
    close,
    configured,
    no_global_random,
    pictures,
    raises,
    require,
    streams,
)


def check_task(kind: str | Strict, sizes: Sequence[Size] = ((8, 8), (16, 16), (8, 12))) -> None:
    """A task's operator is linear with a true pseudo-inverse, and what it observes has the shapes that all code relies on.

    Held for 1 and 3 channels: the four Penrose conditions (A A+ A = A among them); `project` keeps the measurement; known
    pixels are given exactly; `condition` has C + 1 channels and `weight` is 0 or 1 and never empty; with one stream an
    image, masks do not depend on the batch; no other kind has this name.

    Raises: AssertionError: the first promise that is broken.
    """
    config = configured(Task, kind)
    check_config(config)
    task: Task = build(config)
    others = [build(cls.Config()).name for cls in discover(Task).values() if cls is not type(task)]
    require(task.name not in others, f"the name {task.name!r} belongs to another task kind; choose another")
    for size in sizes:
        for channels in (1, 3):
            try:
                task.check(DataSpec(channels=channels, size=size))
            except ConfigError:
                continue
            x = to_float(pictures(5, channels, size))
            inputs = x.flip(3) if task.paired else None
            with no_global_random(f"{task.name}.observe"):
                whole = task.observe(x, streams(5), inputs)
            _check_observation(task, whole, x)
            if whole.operator.linear:
                _check_operator(whole.operator, x, task.name)
            else:
                raises(
                    CapabilityError,
                    lambda seen=whole, x=x: seen.operator.project(x, seen.y),
                    f"{task.name}: an operator that is not linear must refuse to project",
                )
            again = task.observe(x, stream(0, "one"), inputs)
            same = task.observe(x, stream(0, "one"), inputs)
            _same_observation(again, same, f"{task.name}: equal rng, another operator")
            for part in (slice(0, 1), slice(1, 3), slice(3, 5)):
                alone = task.observe(x[part], streams(5)[part], None if inputs is None else inputs[part])
                _same_observation(
                    alone, whole.pick(part), f"{task.name}: the masks depend on the batch they are drawn in"
                )


def _check_observation(task: Task, seen: Observation, x: Images) -> None:
    n, channels, *size = x.shape
    name = f"{task.name} on {channels} x {size[0]} x {size[1]}"
    require(seen.known.shape == (n, 1, *size), f"{name}: known has shape {tuple(seen.known.shape)}")
    shape = (n, channels + 1, *size)
    require(seen.image.shape == shape, f"{name}: the image shown has shape {tuple(seen.image.shape)}, not {shape}")
    require(bool(seen.image.isfinite().all()), f"{name}: the image shown is not finite")
    for what, values in (("known", seen.known), ("weight", seen.weight)):
        require(bool(((values == 0) | (values == 1)).all()), f"{name}: {what} has values other than 0 and 1")
    require(bool((seen.weight.sum(dim=(1, 2, 3)) > 0).all()), f"{name}: the weight of an image is empty")
    require(task.conditional == (seen.y.numel() > 0), f"{name}: `conditional` is {task.conditional}, y says otherwise")
    require(torch.equal(seen.known * seen.preview, seen.known * x), f"{name}: the preview changes known pixels")


def _check_operator(operator: Operator, x: Images, name: str) -> None:
    """Linear, the four Penrose conditions, and a projection that keeps measurement and known pixels."""
    a, up = operator.forward, operator.pinv
    other = torch.rand(x.shape, generator=stream(0, "other")) * 2 - 1
    y, z = a(x), a(other)
    close(a(0.5 * x - 2 * other), 0.5 * y - 2 * z, f"{name}: A is not linear")
    close(a(up(y)), y, f"{name}: A A+ A x is not A x; `pinv` does not explain what was measured")
    close(up(a(up(y))), up(y), f"{name}: A+ A A+ y is not A+ y")
    close(
        (up(a(x)) * other).sum(), (x * up(a(other))).sum(), f"{name}: A+ A is not symmetric; A+ y is not the smallest"
    )
    close((a(up(y)) * z).sum(), (y * a(up(z))).sum(), f"{name}: A A+ is not symmetric")
    back = (operator.adjoint(z) * x).sum(dim=(1, 2, 3))
    close(back, (z * y).flatten(1).sum(1), f"{name}: <A^T z, x> is not <z, A x>; the adjoint is another operator's")
    close(
        operator.solve(y, 1e-6),
        up(y),
        f"{name}: A^T (A A^T + ridge)^-1 y does not come near A+ y as the ridge vanishes",
    )
    made = operator.project(other, y)
    close(a(made), y, f"{name}: `project` does not keep the measurement")
    close(operator.known * made, operator.known * x, f"{name}: a pixel with known = 1 is not given exactly")


def _same_observation(a: Observation, b: Observation, message: str) -> None:
    same = torch.equal(a.known, b.known) and torch.equal(a.weight, b.weight) and len(a) == len(b)
    require(same, message)
    close(a.y, b.y, message)
