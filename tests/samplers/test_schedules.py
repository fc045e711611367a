"""What holds for every schedule: alpha_bar from 1 down to nearly 0, and alpha, sigma of real time between its levels."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from sfumato.kinds import build, discover, parse
from sfumato.samplers.schedules import Betas, Cosine, Grid, Linear, Schedule
from sfumato.streams import stream

each = pytest.mark.parametrize("name", [name for name, kind in discover(Schedule).items() if issubclass(kind, Grid)])


def schedule(name: str, steps: int, **more: object) -> Schedule:
    if name == "betas":  # T is the length of its table
        more["betas"] = Linear(Linear.Config(steps=steps)).betas().tolist()
    return build(parse(Schedule, {"kind": name, "steps": steps, **more}))


def levels(made: Schedule) -> Tensor:
    return torch.arange(made.grid + 1, dtype=torch.float64) / made.grid


@each
@pytest.mark.parametrize("steps", [2, 10, 100, 1000])
def test_from_one_down_to_nearly_zero(name: str, steps: int) -> None:
    made = schedule(name, steps)
    assert made.grid == steps
    assert made.alpha_bar.shape == (steps + 1,) and made.alpha_bar.dtype == torch.float64
    assert float(made.alpha_bar[0]) == 1.0 and 0 < float(made.alpha_bar[-1]) < 0.01
    assert (made.alpha_bar.diff() < 0).all()
    assert made.betas().shape == (steps,) and 0 < float(made.betas().min()) and float(made.betas().max()) <= 0.999


@each
@pytest.mark.parametrize("steps", [2, 10, 1000])
def test_on_the_grid_they_are_the_table(name: str, steps: int) -> None:
    made = schedule(name, steps)
    alpha, sigma = made.alpha(levels(made)), made.sigma(levels(made))
    assert alpha.dtype == sigma.dtype == torch.float64 and alpha.shape == sigma.shape == (steps + 1,)
    torch.testing.assert_close(alpha**2, made.alpha_bar, rtol=0, atol=1e-15)
    torch.testing.assert_close(sigma**2, 1 - made.alpha_bar, rtol=0, atol=1e-15)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(alpha), rtol=0, atol=1e-15)
    assert made.at(0.0) == (1.0, 0.0) and made.spread == pytest.approx(1.0, abs=1e-15)


@each
@settings(max_examples=40, deadline=None)
@given(steps=st.integers(2, 300), t=st.floats(0, 1))
def test_between_two_levels(name: str, steps: int, t: float) -> None:
    made = schedule(name, steps)
    alpha, sigma = made.at(t)
    assert alpha**2 + sigma**2 == pytest.approx(1.0, abs=1e-14)
    low = min(math.floor(t * steps), steps - 1)
    assert float(made.alpha_bar[low + 1]) - 1e-12 <= alpha**2 <= float(made.alpha_bar[low]) + 1e-12
    time = torch.tensor([t], dtype=torch.float64)
    assert made.at(t) == (float(made.alpha(time)), float(made.sigma(time)))


@each
def test_time_is_not_rounded_to_a_level(name: str) -> None:
    made = schedule(name, 10)
    t = torch.linspace(0, 1, 501, dtype=torch.float64)
    assert (made.alpha(t).diff() < 0).all()
    assert (made.sigma(t).diff() >= 0).all() and (made.sigma(t).diff() > 0)[made.alpha(t)[1:] > 1e-3].all()
    middle = made.alpha(torch.tensor([0.45]).double()) ** 2  # log alpha_bar is linear: the geometric mean
    torch.testing.assert_close(middle, (made.alpha_bar[4] * made.alpha_bar[5]).sqrt()[None])


@each
def test_any_shape_of_times(name: str) -> None:
    made = schedule(name, 10)
    maps = torch.tensor([0.0, 0.33, 1.0], dtype=torch.float64).view(3, 1, 1, 1).repeat(1, 1, 2, 2)
    for part in (made.alpha, made.sigma):
        assert part(maps).shape == (3, 1, 2, 2)
        torch.testing.assert_close(part(maps)[:, 0, 1, 0], part(maps[:, 0, 0, 0]))


@each
def test_the_first_variance_keeps_ten_digits(name: str) -> None:
    made = schedule(name, 1000)
    assert made.at(1 / 1000)[1] ** 2 == pytest.approx(float(made.betas()[0]), rel=1e-10)


@each
def test_rounded_repeats_version_0_1(name: str) -> None:
    exact, made = schedule(name, 1000), schedule(name, 1000, rounded=True)
    bar = exact.alpha_bar.float()
    t = levels(made)
    assert torch.equal(made.alpha(t).float(), bar.sqrt()) and torch.equal(made.sigma(t).float(), (1 - bar).sqrt())
    torch.testing.assert_close(made.sigma(t) ** 2, (1 - bar).double(), rtol=2e-7, atol=0)
    assert not torch.allclose(made.sigma(t[1:3]), exact.sigma(t[1:3]), rtol=1e-6, atol=0)


@each
def test_noise_in_two_strides_is_noise_in_one(name: str) -> None:
    made = schedule(name, 40)
    zero, s, t = (torch.tensor(v, dtype=torch.float64) for v in (0.0, 0.3, 0.71))
    one, none = torch.ones(2, 1, 3, 3, dtype=torch.float64), torch.zeros(2, 1, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(made.noise(one, zero, t, none), made.alpha(t) * one)
    torch.testing.assert_close(made.noise(made.noise(one, zero, s, none), s, t, none), made.alpha(t) * one)
    # Variances: that of the first stride, carried along, and that of the second.
    carried, own = made.noise(made.sigma(s) * one, s, t, none), made.noise(none, s, t, one)
    torch.testing.assert_close(carried**2 + own**2, made.sigma(t) ** 2 * one)


@each
def test_the_times_of_training_are_all_levels(name: str) -> None:
    made = schedule(name, 7)
    t = made.draw(7000, stream(0, "t"))
    assert t.dtype == torch.float64 and t.shape == (7000,)
    counts = torch.bincount((t * 7).round().long(), minlength=8)
    torch.testing.assert_close(t * 7, (t * 7).round(), rtol=0, atol=1e-12)
    assert counts[0] == 0 and counts[1:].min() > 850 and counts[1:].max() < 1150


def test_a_schedule_without_a_grid_trains_in_all_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Cosine(Cosine.Config(steps=5))
    made.grid = None
    t = made.draw(4000, stream(0, "t"))
    assert 0 < float(t.min()) < 0.002 and 0.998 < float(t.max()) <= 1
    assert float(t.mean()) == pytest.approx(0.5, abs=0.02)
    monkeypatch.setattr(torch, "rand", lambda n, **more: torch.zeros(n, dtype=torch.float64))  # one in 2^53
    assert (made.draw(3, stream(0, "t")) > 0).all(), "at t = 0 there is no noise to predict"


def test_betas_are_as_written() -> None:
    made = Betas(Betas.Config(betas=(0.1, 0.2, 0.5)))
    assert made.grid == 3 and made.betas().tolist() == [0.1, 0.2, 0.5]
    assert made.alpha_bar.tolist() == pytest.approx([1, 0.9, 0.72, 0.36], rel=1e-14)
    with pytest.raises(ValidationError, match="between 0 and 1"):
        Betas.Config(betas=(0.1, 1.0))


def test_one_step_is_no_schedule() -> None:
    with pytest.raises(ValidationError, match="steps"):
        Linear.Config(steps=1)
    with pytest.raises(ValidationError, match="betas"):
        Betas.Config(betas=(0.5,))


def test_betas_that_are_a_number_are_refused_in_a_line() -> None:
    with pytest.raises(ValueError, match="tuple"):
        parse(Schedule, {"kind": "betas", "betas": 3})
