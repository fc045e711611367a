"""What a walk means: where its steps lie, which variance it takes, what wrappers change, what time a network hears."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from sfumato.data.base import DataSpec
from sfumato.families.base import Batch
from sfumato.families.ddpm import DDPM
from sfumato.images import Images
from sfumato.kinds import build, kinds_of, parse
from sfumato.maths.mixture import Mixture
from sfumato.networks.condition import Condition
from sfumato.restorers.ddnm import DDNM
from sfumato.samplers.base import Past, Sampler, Walk, full
from sfumato.samplers.denoiser import Denoised, Denoiser, From, clamped, classifier_free, guided, projected
from sfumato.samplers.exact import denoiser_of
from sfumato.samplers.schedules import Cosine
from sfumato.streams import Rngs, stream
from sfumato.tasks.base import Observation
from sfumato.tasks.generation import Generation
from sfumato.tasks.operators import Identity, Masking
from sfumato.training.budget import Budget
from sfumato.training.run import make_family
from sfumato.training.trainer import Trainer

from ..training.tiny import data

SCHEDULE = Cosine(Cosine.Config(steps=1000))
MEANS = torch.tensor([[0.7, 0.0], [-0.35, 0.6], [-0.35, -0.6]])
WEIGHTS = torch.tensor([0.5, 0.3, 0.2])


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def mixture(sigma: float) -> Denoiser:
    return denoiser_of(Mixture.round(WEIGHTS, MEANS, sigma), SCHEDULE)


def spread(spacing: str, steps: int, sigma: float = 0.05) -> float:
    """The spread of a mode after a walk, over the true one."""
    sampler: Sampler = build(parse(Sampler, {"kind": "ddim", "steps": steps, "spacing": spacing}))
    made = sampler.sample(mixture(sigma), drawn(0, 3000, 2, 1, 1), stream(0, "sample"))[:, :, 0, 0]
    return float((made - MEANS[torch.cdist(made, MEANS).argmin(1)]).std() / sigma)


def test_short_walks_keep_the_spread_of_a_mode() -> None:
    assert spread("even", 25) < 0.7, "even steps lose 40 %; if they no longer do, a reason for the default is gone"
    assert 0.9 < spread("quadratic", 25) < 1.05 and 0.9 < spread("quadratic", 10) < 1.1
    assert 0.95 < spread("karras", 25) < 1.15
    assert DDPM.Config().sampler.spacing.kind == "karras"


def test_a_respaced_ancestral_walk_never_takes_the_large_variance() -> None:
    def walk(variance: str, steps: int | None) -> Tensor:
        sampler: Sampler = build(parse(Sampler, {"kind": "ancestral", "variance": variance, "steps": steps}))
        return sampler.sample(mixture(0.05), drawn(0, 8, 2, 1, 1), stream(0, "sample"))

    assert torch.equal(walk("beta", 50), walk("beta_tilde", 50))
    assert not torch.equal(walk("beta", None), walk("beta_tilde", None))


def test_a_learned_step_variance_is_taken_on_the_trained_grid() -> None:
    def call(x: Tensor, t: Tensor) -> Denoised:
        return Denoised(torch.zeros_like(x), step_variance=torch.full_like(x, 4.0))

    sampler: Sampler = build(parse(Sampler, "ancestral"))
    x, denoiser = torch.zeros(5000, 1, 1, 1), From(SCHEDULE, call)
    assert float(sampler.step(denoiser, x, 0.5, 0.499, stream(0, "s"), []).std()) == pytest.approx(2.0, rel=0.05)
    assert float(sampler.step(denoiser, x, 0.5, 0.4, stream(0, "s"), []).std()) < 1.0


def constant(value: float) -> Denoiser:
    return From(SCHEDULE, lambda x, t: Denoised(torch.full_like(x, value)))


def test_classifier_free_guidance() -> None:
    x, t = torch.zeros(2, 1, 2, 2), torch.tensor([0.2, 0.8]).double()
    for scale, expected in ((1.0, 0.5), (0.0, 0.1), (2.0, 0.9)):
        made = classifier_free(constant(0.5), constant(0.1), scale)(x, t).mean
        assert torch.allclose(made, torch.full_like(x, expected)), scale
    late = classifier_free(constant(0.5), constant(0.1), 2.0, (0.5, 1.0))(x, t).mean
    assert torch.allclose(late[0], torch.tensor(0.5)) and torch.allclose(late[1], torch.tensor(0.9))


def test_guidance_by_a_density_gives_the_posterior() -> None:
    """x_0 ~ N(0, 1) and y = x_0 + n, n ~ N(0, s^2): E[x_0 | x_t, y] in closed form, precision by precision."""
    alpha, sigma = SCHEDULE.at(0.4)
    s, y = 0.5, 0.8
    x_t = drawn(1, 6, 1, 1, 1)
    prior = From(SCHEDULE, lambda x, t: Denoised(alpha * x))  # E[x_0 | x_t] where alpha^2 + sigma^2 = 1

    def log_p(x: Tensor, t: Tensor) -> Tensor:  # y | x_t ~ N(alpha x_t, sigma^2 + s^2)
        return -((y - alpha * x).square() / (2 * (sigma**2 + s**2))).flatten(1).sum(1)

    made = guided(prior, log_p)(x_t, full(0.4, x_t)).mean
    precision = 1 + alpha**2 / sigma**2 + 1 / s**2
    expected = (alpha * x_t / sigma**2 + y / s**2) / precision
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-5)


def test_projection_and_clamp_are_wrappers() -> None:
    known = torch.tensor([[[[1.0, 0.0]]]])
    truth = torch.tensor([[[[0.3, -0.9]]]])
    observation = Observation(truth * known, Masking(known), torch.ones_like(known))
    x, t = torch.zeros(1, 1, 1, 2), torch.tensor([0.5]).double()
    assert torch.equal(projected(constant(0.6), observation)(x, t).mean, torch.tensor([[[[0.3, 0.6]]]]))
    assert torch.equal(clamped(constant(3.0))(x, t).mean, torch.ones(1, 1, 1, 2))


@pytest.fixture
def forgotten() -> Iterator[None]:
    before = dict(kinds_of(Sampler))
    yield
    kinds_of(Sampler).clear()
    kinds_of(Sampler).update(before)


def test_a_solver_that_remembers_never_sees_the_clamp(forgotten: None) -> None:
    seen: list[Tensor] = []

    class TwoSteps(Sampler):
        """Adams-Bashforth in x_0: extrapolate from the last two answers."""

        combines = True

        class Config(Walk):
            kind: Literal["two-steps"] = "two-steps"

        def step(self, denoiser: Denoiser, x_t: Images, t: float, s: float, rng: Rngs, past: Past) -> Images:
            x_0 = denoiser(x_t, full(t, x_t)).mean
            seen.append(x_0)
            better = x_0 if not past else 1.5 * x_0 - 0.5 * past[-1]
            past.append(x_0)
            (a_t, s_t), (a_s, s_s) = denoiser.schedule.at(t), denoiser.schedule.at(s)
            return a_s * better + s_s * (x_t - a_t * better) / s_t

    class Loud(nn.Module):
        def forward(self, x_t: Tensor, time: Tensor, condition: Condition) -> Tensor:
            return torch.full_like(x_t, 2.0)

    for kind, expected in (("two-steps", 2.0), ("ddim", 1.0)):
        family: Any = make_family(
            DDPM.Config(width=4, sampler={"kind": kind, "steps": 5}), DataSpec(channels=1, size=4), 0
        )
        family.network = Loud()
        made = family.draw(2, Condition(), (4, 4), stream(0, "s"))  # the last step ends in x_0; `sample` would clamp it
        assert torch.equal(made, torch.full_like(made, expected))
        if kind == "two-steps":
            assert len(seen) == 5 and all(torch.equal(x, torch.full_like(x, expected)) for x in seen)


class Listening(nn.Module):
    """Notes the times; answers as the exact denoiser of the mixture, which it knows from x_t and the time alone."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.times: list[Tensor] = []

    def forward(self, x_t: Tensor, time: Tensor, condition: Condition) -> Tensor:
        self.times.append(time)
        if x_t.shape[1] != 2:
            return x_t * self.weight
        return mixture(0.08)(x_t, time).mean


def test_a_network_hears_the_same_time_in_training_and_in_sampling() -> None:
    family: Any = make_family(DDPM.Config(width=4), DataSpec(channels=1, size=8), 0)
    family.network = Listening()
    Trainer(family, Generation(Generation.Config()), Budget(images=640, batch=16), seed=0).run(data().train)
    trained = torch.cat(family.network.times)
    assert 0 < float(trained.min()) < 0.02 and 0.98 < float(trained.max()) <= 1.0
    assert 0.4 < float(trained.mean()) < 0.6
    family.network.times.clear()
    family.sample(2, rng=stream(0, "s"))
    walked = torch.stack(family.network.times)
    assert len(walked) == 25 and float(walked[0, 0]) == 1.0 and 0 < float(walked[-1, 0]) < 0.01


def test_an_exact_network_in_a_ddpm_draws_the_mixture() -> None:
    family: Any = make_family(DDPM.Config(width=4, sampler={"steps": 100}), DataSpec(channels=2, size=1), 0)
    family.network = Listening()
    made = family.sample(3000, rng=stream(0, "s"))[:, :, 0, 0]
    mode = torch.cdist(made, MEANS).argmin(1)
    assert torch.allclose(torch.bincount(mode, minlength=3) / 3000, WEIGHTS, atol=0.04)
    assert float((made - MEANS[mode]).std()) == pytest.approx(0.08, rel=0.08)


class Normal(nn.Module):
    """The exact denoiser of pixels N(0, s^2)."""

    s = 0.3

    def forward(self, x_t: Tensor, time: Tensor, condition: Condition) -> Tensor:
        alpha, sigma = SCHEDULE.at(float(time[0]))
        return x_t * alpha * self.s**2 / (alpha**2 * self.s**2 + sigma**2)


def test_ddnm_keeps_what_is_known_and_does_not_take_noise_for_the_picture() -> None:
    spec = DataSpec(channels=1, size=2)
    family: Any = make_family(DDPM.Config(width=4), spec, 0)
    family.network = Normal()
    restorer = DDNM(DDNM.Config(), family)
    n = 2000
    known = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]]).expand(n, 1, 2, 2)
    truth = torch.tensor([[[[0.4, 0.0], [0.0, -0.2]]]]).expand(n, 1, 2, 2)
    seen = Observation(truth * known, Masking(known), torch.ones_like(known))
    made = restorer.restore(seen, rng=stream(0, "s"))
    assert torch.equal(made * known, truth * known)
    assert float(made[:, 0, 0, 1].std()) == pytest.approx(0.3, rel=0.1)
    y = torch.full((n, 1, 2, 2), 0.5)
    noisy = Observation(y, Identity(n, (2, 2)), torch.ones(n, 1, 2, 2), 0.3)
    made = restorer.restore(noisy, rng=stream(0, "s"))
    # The posterior of N(0, 0.3^2) under noise of 0.3 has the mean y / 2; noise taken for the picture would give y.
    assert float(made.mean()) == pytest.approx(0.25, abs=0.08)


class Heard(nn.Module):
    """Keeps what it is given, and says nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[tuple[Tensor, Tensor]] = []

    def forward(self, x_t: Tensor, time: Tensor, condition: Condition) -> Tensor:
        self.given.append((x_t, time))
        return torch.zeros_like(x_t)


def cosine_bar(t: Tensor) -> Tensor:
    """alpha_bar of the cosine by its formula, so that a network hears nothing but the time."""
    f = (((t.double() + 0.008) / 1.008) * torch.pi / 2).cos() ** 2
    return f / (torch.tensor(0.008 / 1.008 * torch.pi / 2).double().cos() ** 2)


def test_the_time_in_training_is_that_of_the_noise_in_x_t() -> None:
    """Of a black image nothing but sigma(t) eps is left, so x_t tells its own time."""
    family: Any = make_family(DDPM.Config(width=4), DataSpec(channels=1, size=16), 0)
    family.network = Heard()
    x = torch.zeros(2000, 1, 16, 16)
    observation = Generation(Generation.Config()).observe(x, stream(0, "mask"))
    family.loss(Batch(x, observation, family.condition(observation), stream(0, "loss")))
    ((x_t, time),) = family.network.given
    assert time.shape == (2000,) and 0 < float(time.min()) < 0.003 and 0.997 < float(time.max()) <= 1.0
    share = x_t.std(dim=(1, 2, 3)) / (1 - cosine_bar(time)).sqrt()
    assert float((share - 1).abs().max()) < 0.25 and float(share.mean()) == pytest.approx(1.0, abs=0.005)


@pytest.mark.parametrize("sampler", [{"kind": "ddim"}, {"kind": "ancestral"}, {"kind": "ddim", "spacing": "even"}])
def test_the_time_in_sampling_is_that_of_the_walk(sampler: dict[str, Any]) -> None:
    family: Any = make_family(DDPM.Config(width=4, sampler=sampler), DataSpec(channels=1, size=4), 0)
    family.network = Heard()
    family.sample(3, rng=stream(0, "s"))
    walk = torch.tensor(family.sampler.times(family.schedule)[:-1], dtype=torch.float32)
    assert torch.equal(torch.stack([time for _, time in family.network.given]), walk[:, None].expand(-1, 3))
    assert float(walk[0]) == 1.0 and (len(walk) == 25) == (sampler["kind"] == "ddim")


def test_a_network_that_knows_the_cosine_by_its_formula_draws_the_mixture() -> None:
    """Neither the schedule nor the grid is shared with the network: only what time means."""

    class Oracle(nn.Module):
        def forward(self, x_t: Tensor, time: Tensor, condition: Condition) -> Tensor:
            bar = float(cosine_bar(time[:1]).clamp(min=0))
            x_0 = Mixture.round(WEIGHTS, MEANS, 0.08).denoised(x_t[:, :, 0, 0], bar**0.5, (1 - bar) ** 0.5)
            return x_0[:, :, None, None].float()

    config = DDPM.Config(width=4, prediction="x0", sampler={"kind": "ancestral", "steps": None})
    family: Any = make_family(config, DataSpec(channels=2, size=1), 0)
    family.network = Oracle()
    made = family.sample(3000, rng=stream(0, "s"))[:, :, 0, 0]
    mode = torch.cdist(made, MEANS).argmin(1)
    assert torch.allclose(torch.bincount(mode, minlength=3) / 3000, WEIGHTS, atol=0.04)
    for k in range(3):
        assert torch.allclose(made[mode == k].mean(0), MEANS[k], atol=0.015)
        assert torch.allclose(made[mode == k].std(0), torch.full((2,), 0.08), rtol=0.1)


def test_a_solver_of_two_steps_uses_its_past_and_forgets_it_between_walks(forgotten: None) -> None:
    """For pixels N(0, 1) the flow moves nothing: x_0 = x_1. A solver of order two comes nearer in as many steps."""
    lengths: list[int] = []

    class Remembering(Sampler):
        """DPM-Solver++(2M): x_0 is extrapolated along log(alpha / sigma) by the last two answers."""

        combines = True

        class Config(Walk):
            kind: Literal["remembering"] = "remembering"

        def step(self, denoiser: Denoiser, x_t: Images, t: float, s: float, rng: Rngs, past: Past) -> Images:
            lengths.append(len(past))
            (a_t, s_t), (a_s, s_s) = denoiser.schedule.at(t), denoiser.schedule.at(s)
            place, x_0 = math.log(a_t / s_t), denoiser(x_t, full(t, x_t)).mean
            better = x_0
            if past and s > 0:
                before, earlier = past[-1]
                better = x_0 + 0.5 * (math.log(a_s / s_s) - place) / (place - before) * (x_0 - earlier)
            past.append((place, x_0))
            return a_s * better + s_s * (x_t - a_t * better) / s_t

    def shrinks(x: Tensor, t: Tensor) -> Denoised:
        return Denoised(SCHEDULE.alpha(t).float().view(-1, 1, 1, 1) * x)

    x_1, error = drawn(3, 4, 1, 4, 4), {}
    for kind in ("remembering", "ddim"):
        sampler: Sampler = build(parse(Sampler, {"kind": kind, "steps": 25}))
        one, two = (sampler.sample(From(SCHEDULE, shrinks), x_1, stream(0, "s")) for _ in range(2))
        assert torch.equal(one, two)
        error[kind] = float((one / x_1 - 1).abs().mean())
    assert lengths == 2 * list(range(25)), "a walk begins with an empty past and keeps it"
    assert error["remembering"] < 0.5 * error["ddim"], error
