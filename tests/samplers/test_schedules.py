"""What holds for every schedule: from 1 down to nearly 0, and walks that start at T and end at 0."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sfumato.maths.schedules import Linear, Schedule

from sfumato.kinds import build, discover, parse

each = pytest.mark.parametrize("name", sorted(discover(Schedule)))


def schedule(name: str, steps: int) -> Schedule:
    return build(parse(Schedule, {"kind": name, "steps": steps}))


@each
@pytest.mark.parametrize("steps", [2, 10, 100, 1000])
def test_from_one_down_to_nearly_zero(name: str, steps: int) -> None:
    made = schedule(name, steps)
    assert made.alpha_bar.shape == (steps + 1,) and made.alpha_bar.dtype == torch.float64
    assert float(made.alpha_bar[0]) == 1.0 and 0 < float(made.alpha_bar[-1]) < 0.01
    assert (made.alpha_bar.diff() < 0).all()
    assert made.betas().shape == (steps,) and 0 < float(made.betas().min()) and float(made.betas().max()) <= 0.999


@each
@settings(max_examples=30, deadline=None)
@given(total=st.integers(2, 300), steps=st.integers(1, 400))
def test_a_walk(name: str, total: int, steps: int) -> None:
    times = schedule(name, total).times(steps)
    assert times[0] == total and times[-1] == 0 and len(times) == min(steps, total) + 1
    strides = [t - s for t, s in zip(times, times[1:], strict=False)]
    assert min(strides) >= 1 and max(strides) - min(strides) <= 1


@each
def test_all_steps_where_none_are_named(name: str) -> None:
    assert schedule(name, 12).times(None) == list(range(12, -1, -1))


@each
def test_at(name: str) -> None:
    made = schedule(name, 10)
    at = made.at(torch.tensor([0, 3, 10]), torch.zeros(3, 1, 2, 2))
    assert at.shape == (3, 1, 1, 1) and at.dtype == torch.float32
    torch.testing.assert_close(at.flatten(), made.alpha_bar[[0, 3, 10]].float())


def test_one_step_is_no_schedule() -> None:
    with pytest.raises(ValidationError, match="steps"):
        Linear.Config(steps=1)
