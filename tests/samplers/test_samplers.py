"""What holds for every walk: the times it visits, where its noise comes from, and what it costs."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sfumato.kinds import build, discover, parse
from sfumato.samplers.base import Sampler
from sfumato.samplers.denoiser import Denoised, Denoiser, From
from sfumato.samplers.schedules import Cosine
from sfumato.streams import stream

SCHEDULE = Cosine(Cosine.Config(steps=40))
SETTINGS = [
    *({"kind": name} for name in sorted(discover(Sampler))),
    {"kind": "ancestral", "steps": 7},
    {"kind": "ancestral", "variance": "beta"},
    {"kind": "ddim", "steps": 5},
    {"kind": "ddim", "steps": None, "eta": 1.0},
    {"kind": "ddim", "steps": 6, "spacing": "even"},
    {"kind": "ancestral", "steps": 6, "spacing": "karras"},
]
each = pytest.mark.parametrize("settings", SETTINGS, ids=str)


def noise(n: int = 3) -> Tensor:
    return torch.randn(n, 1, 4, 4, generator=stream(0, "noise"))


def sampler(settings: dict[str, object]) -> Sampler:
    return build(parse(Sampler, settings))


def shrink(x: Tensor, t: Tensor) -> Tensor:
    """The exact denoiser of images that are standard normal noise: E[x_0 | x_t] = alpha x_t."""
    return SCHEDULE.alpha(t).float().view(-1, 1, 1, 1) * x


def says(answer: Callable[[Tensor, Tensor], Tensor]) -> Denoiser:
    return From(SCHEDULE, lambda x, t: Denoised(answer(x, t)))


@each
def test_a_known_image_is_found(settings: dict[str, object]) -> None:
    x_0 = noise().clamp(-1, 1)
    made = sampler(settings).sample(says(lambda x, t: x_0), noise().flip(0), stream(0, "sample"))
    torch.testing.assert_close(made, x_0, atol=1e-5, rtol=0)


@each
def test_calls_are_counted_and_times_fall(settings: dict[str, object]) -> None:
    times: list[float] = []

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        assert t.shape == (3,) and t.dtype == torch.float64 and bool((t == t[0]).all())
        times.append(float(t[0]))
        return x.clamp(-1, 1)

    walk = sampler(settings)
    walk.sample(says(denoise), noise(), stream(0, "sample"))
    assert len(times) == walk.calls(SCHEDULE) and times[0] == 1.0 and times[-1] >= 1 / 40
    visited = list(dict.fromkeys(times))  # a step may look where it will land, which is where the next one begins
    assert all(t * 40 == round(t * 40) for t in times) and visited == walk.times(SCHEDULE)[:-1]
    assert visited == sorted(set(times), reverse=True)


@each
def test_the_same_stream_draws_the_same_image(settings: dict[str, object]) -> None:
    walk, state = sampler(settings), torch.get_rng_state()
    one, two = (walk.sample(says(shrink), noise(), stream(0, "sample")) for _ in range(2))
    other = walk.sample(says(shrink), noise(), stream(1, "sample"))
    assert torch.equal(one, two) and torch.equal(torch.get_rng_state(), state)
    deterministic = {"ancestral": False, "ddim": not settings.get("eta")}.get(str(settings["kind"]))
    assert deterministic is None or torch.equal(one, other) == deterministic


@each
def test_what_it_was_given_is_left_alone(settings: dict[str, object]) -> None:
    x_1 = noise()
    sampler(settings).sample(says(shrink), x_1, stream(0, "sample"))
    assert torch.equal(x_1, noise())


@pytest.mark.parametrize(
    "settings",
    [{"kind": "ancestral"}, {"kind": "ddim", "steps": None}, {"kind": "ddim", "steps": None, "eta": 1.0}],
    ids=str,
)
def test_standard_normal_images_stay_standard_normal(settings: dict[str, object]) -> None:
    # x_0 ~ N(0, 1): with its exact denoiser a DDIM step has the factor cos(a - b), sqrt(alpha_bar) = cos; noise fills the rest.
    made = sampler(settings).sample(says(shrink), torch.randn(4000, 1, 1, 1, generator=stream(1)), stream(0, "s"))
    angles = SCHEDULE.alpha_bar.sqrt().acos()
    factor = math.prod(math.cos(a) for a in angles.diff().tolist())
    expected = factor if settings["kind"] == "ddim" and not settings.get("eta") else None
    if expected is not None:
        assert float(made.std()) == pytest.approx(expected, rel=0.04)
    assert float(made.std()) == pytest.approx(1.0, abs=0.12) and float(made.mean()) == pytest.approx(0, abs=0.06)
