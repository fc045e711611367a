"""What holds for every spacing: a walk from 1 down to 0 on the grid, of as many steps as were asked for."""

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sfumato.config import Strict
from sfumato.kinds import build, discover, kinds_of, parse
from sfumato.samplers.schedules import Cosine, Linear, Schedule
from sfumato.samplers.spacings import Even, Karras, Quadratic, Spacing

each = pytest.mark.parametrize("name", sorted(discover(Spacing)))
T = 1000
SCHEDULES: dict[str, Schedule] = {
    "cosine": Cosine(Cosine.Config(steps=T)),
    "linear": Linear(Linear.Config(steps=T)),
    "small": Cosine(Cosine.Config(steps=30)),
}


def spacing(name: str) -> Spacing:
    return build(parse(Spacing, name))


def places(times: list[float], grid: int) -> list[int]:
    """The levels that a walk visits; it must visit nothing else."""
    found = [round(t * grid) for t in times]
    assert times == [place / grid for place in found]
    return found


@each
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 7, 25, -1, 0])
def test_a_walk(name: str, schedule: str, steps: int) -> None:
    made = SCHEDULES[schedule]
    n = steps if steps > 0 else made.grid + steps  # T - 1 and T
    visited = places(spacing(name).times(made, n), made.grid)
    assert visited[0] == made.grid and visited[-1] == 0 and len(visited) == n + 1
    assert all(t > s for t, s in zip(visited, visited[1:], strict=False))


@each
@settings(max_examples=30, deadline=None)
@given(total=st.integers(2, 300), steps=st.integers(1, 400))
def test_any_walk(name: str, total: int, steps: int) -> None:
    times = spacing(name).times(Linear(Linear.Config(steps=total)), steps)
    visited = places(times, total)
    assert visited[0] == total and visited[-1] == 0 and len(visited) == min(steps, total) + 1
    strides = [t - s for t, s in zip(visited, visited[1:], strict=False)]
    assert min(strides) >= 1
    if name == "even":
        assert max(strides) - min(strides) <= 1


@each
def test_all_steps_where_none_are_named(name: str) -> None:
    assert places(spacing(name).times(Linear(Linear.Config(steps=12)), None), 12) == list(range(12, -1, -1))


def test_quadratic_is_the_square_of_even() -> None:
    made = SCHEDULES["cosine"]
    visited = places(Quadratic(Quadratic.Config()).times(made, 10), T)
    assert visited == [1000, 810, 640, 490, 360, 250, 160, 90, 40, 10, 0]
    assert places(Even(Even.Config()).times(made, 10), T) == list(range(1000, -1, -100))


@pytest.fixture
def tangent() -> Iterator[Schedule]:
    """A schedule of every time whose sigma / alpha is tan(pi t / 2), so that its inverse is known."""
    before = dict(discover(Schedule))

    class Tangent(Schedule):
        class Config(Strict):
            kind: Literal["tangent"] = "tangent"

        def alpha(self, t: Tensor) -> Tensor:
            return (t.double() * math.pi / 2).cos()

        def sigma(self, t: Tensor) -> Tensor:
            return (t.double() * math.pi / 2).sin()

    yield Tangent(Tangent.Config())
    kinds_of(Schedule).clear()
    kinds_of(Schedule).update(before)


@pytest.mark.parametrize(("rho", "least", "most"), [(7.0, 0.002, 80.0), (3.0, 0.01, 20.0), (1.0, 0.1, 2.0)])
def test_karras_is_equation_5(tangent: Schedule, rho: float, least: float, most: float) -> None:
    times = Karras(Karras.Config(rho=rho, least=least, most=most)).times(tangent, 12)
    assert times[0] == 1.0 and times[-1] == 0.0 and len(times) == 13
    # sigma_i = (most^(1/rho) + i / (n - 1) (least^(1/rho) - most^(1/rho)))^rho, i = 0..n-1; the first one is t = 1.
    i = np.arange(12) / 11
    ratios = (most ** (1 / rho) + i * (least ** (1 / rho) - most ** (1 / rho))) ** rho
    # The schedule is inverted by straight lines between 4096 places, which tells at the smallest times.
    np.testing.assert_allclose(times[1:-1], np.arctan(ratios[1:]) * 2 / math.pi, rtol=5e-3)


def test_a_schedule_of_every_time_is_not_put_on_a_grid(tangent: Schedule) -> None:
    assert Even(Even.Config()).times(tangent, 7) == pytest.approx([k / 7 for k in range(7, -1, -1)], abs=1e-15)
    assert len(Quadratic(Quadratic.Config()).times(tangent, None)) == 1001
    assert torch.tensor(Quadratic(Quadratic.Config()).times(tangent, 3)).tolist() == pytest.approx([1, 4 / 9, 1 / 9, 0])
