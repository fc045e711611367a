"""Likelihoods of a diffusion with an exact denoiser, of a normal law: the bound and the flow of probability and the truth."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from sfumato.families.bound import believed, bound, levels
from sfumato.families.learned_variance import hybrid, step_variance
from sfumato.kinds import build, parse
from sfumato.samplers.denoiser import Denoised, Denoiser, From
from sfumato.samplers.ode import ode_log_prob
from sfumato.samplers.schedules import Schedule
from sfumato.streams import stream

SD = torch.tensor([0.3, 0.5, 0.2, 0.4]).double().view(1, 1, 2, 2)  # of four independent pixels


def exact(schedule: Schedule, learnt: bool = False) -> Denoiser:
    """x_0 ~ N(0, SD^2): E[x_0 | x_t], and with `learnt` the variance of p(x_s | x_t) one level down."""

    def call(x: Tensor, t: Tensor) -> Denoised:
        alpha, sigma = (part.view(-1, 1, 1, 1) for part in (schedule.alpha(t), schedule.sigma(t)))
        whole = (alpha * SD) ** 2 + sigma**2
        variance = None
        if learnt:
            before = t - 1 / schedule.grid
            a, s = (part.view(-1, 1, 1, 1) for part in (schedule.alpha(before), schedule.sigma(before)))
            beta = sigma**2 - (alpha / a * s) ** 2
            tilde = s**2 * beta / sigma**2
            variance = tilde + (a * beta / sigma**2) ** 2 * SD**2 * sigma**2 / whole
        return Denoised(alpha * SD**2 / whole * x, step_variance=variance)

    return From(schedule, call)


def truth(x: Tensor) -> Tensor:
    return (-0.5 * (x / SD) ** 2 - SD.log() - 0.5 * math.log(2 * math.pi)).flatten(1).sum(1)


def images(n: int) -> Tensor:
    return (SD * torch.randn(n, 1, 2, 2, generator=stream(0, "x")).double()).clamp(-0.99, 0.99)


@pytest.mark.parametrize("name", ["cosine", "linear", "rectified", "edm", "vp", "ve", "shifted"])
def test_the_flow_of_probability_has_the_density(name: str) -> None:
    schedule: Schedule = build(parse(Schedule, name))
    x = images(64)
    made = ode_log_prob(exact(schedule), x, stream(0, "probe"), steps=200)
    # the divergence of independent pixels is the same for all signs, so what is left is the method's own error
    torch.testing.assert_close(made, truth(x), atol=0.05, rtol=0)


def test_probes_are_without_bias_and_more_of_them_steadier() -> None:
    schedule: Schedule = build(parse(Schedule, "cosine"))
    mix = torch.tensor(
        [[0.4, 0.2, 0.0, 0.1], [0.0, 0.3, 0.2, 0.0], [0.1, 0.0, 0.3, 0.2], [0.0, 0.1, 0.0, 0.2]]
    ).double()
    covariance = mix @ mix.T

    def call(x: Tensor, t: Tensor) -> Denoised:
        alpha, sigma = float(schedule.alpha(t[:1])), float(schedule.sigma(t[:1]))
        gain = alpha * covariance @ torch.linalg.inv(alpha**2 * covariance + sigma**2 * torch.eye(4).double())
        return Denoised((x.flatten(1) @ gain.T).view(x.shape))

    x = images(1).expand(400, -1, -1, -1)
    law = torch.distributions.MultivariateNormal(torch.zeros(4).double(), covariance)
    wanted = float(law.log_prob(x[:1].flatten(1)))
    few, many = (ode_log_prob(From(schedule, call), x, stream(0, "probe", n), steps=40, probes=n) for n in (1, 8))
    assert float(few.mean()) == pytest.approx(wanted, abs=0.1) and float(many.mean()) == pytest.approx(wanted, abs=0.1)
    assert float(many.std()) < 0.5 * float(few.std())


@pytest.mark.parametrize("name", ["cosine", "linear", "edm", "rectified"])
def test_the_bound_is_one_and_has_the_terms_that_it_should(name: str) -> None:
    """Of 256 equal pixels: each step has the variance that the walk of an exact denoiser has, and the bound is tight."""
    schedule: Schedule = build(parse(Schedule, name))
    sd = 0.4
    x = sd * torch.randn(500, 1, 16, 16, generator=stream(0, "x")).double()

    def call(x: Tensor, t: Tensor) -> Denoised:
        alpha, sigma = (part.view(-1, 1, 1, 1) for part in (schedule.alpha(t), schedule.sigma(t)))
        return Denoised(alpha * sd**2 / ((alpha * sd) ** 2 + sigma**2) * x)

    terms = bound(From(schedule, call), x, stream(0, "bound"))
    nats = 0.5 * float(x.square().mean()) / sd**2 + 0.5 * math.log(2 * math.pi * sd**2)
    upper = float(sum(terms.values()).mean()) / 256
    assert nats - 0.01 < upper < nats + 0.03
    alpha, sigma = schedule.at(float(levels(schedule, x.device)[0][0]))
    left = sd**2 * sigma**2 / ((alpha * sd) ** 2 + sigma**2)
    assert float(terms["L_0"].mean()) / 256 == pytest.approx(0.5 * math.log(2 * math.pi * math.e * left), abs=0.02)
    assert abs(float(terms["L_T"].mean())) / 256 < 0.01


def test_a_denoiser_that_is_worse_than_its_input_is_not_believed() -> None:
    """The same with an error of 0.05 in what is said, at all levels: where there is less noise x_t is the better answer."""
    schedule: Schedule = build(parse(Schedule, "cosine"))
    sd = 0.4
    x = sd * torch.randn(300, 1, 16, 16, generator=stream(0, "x")).double()
    wrong = 0.05 * torch.randn(300, 1, 16, 16, generator=stream(0, "wrong")).double()

    def call(x: Tensor, t: Tensor) -> Denoised:
        alpha, sigma = (part.view(-1, 1, 1, 1) for part in (schedule.alpha(t), schedule.sigma(t)))
        return Denoised(alpha * sd**2 / ((alpha * sd) ** 2 + sigma**2) * x + wrong)

    upper = float(sum(bound(From(schedule, call), x, stream(0, "bound")).values()).mean()) / 256
    entropy = 0.5 * math.log(2 * math.pi * math.e * sd**2)
    assert entropy < upper < entropy + 1.2, "believed, it would cost hundreds of nats a pixel"


@pytest.mark.parametrize(("error", "noise"), [(0.0, 0.3), (0.2, 0.05)])
def test_what_is_believed_has_the_error_that_it_is_said_to_have(error: float, noise: float) -> None:
    """A posterior mean of N(0, 0.3^2) and one with an error of its own, beside a measurement."""
    x = 0.3 * torch.randn(200, 1, 16, 16, generator=stream(0, "x")).double()
    seen = x + noise * torch.randn(200, 1, 16, 16, generator=stream(0, "n")).double()
    off = error * torch.randn(200, 1, 16, 16, generator=stream(0, "e")).double()
    said = 0.09 / (0.09 + noise**2) * seen if error == 0 else x + off
    mean, variance = believed(said, seen, torch.full((200, 1, 1, 1), noise**2).double())
    assert float((mean - x).square().mean()) == pytest.approx(float(variance.mean()), rel=0.08)
    assert float(variance.mean()) <= noise**2


def test_a_learnt_variance_is_a_step_s_own() -> None:
    schedule: Schedule = build(parse(Schedule, {"kind": "cosine", "steps": 30}))
    x = images(6000)
    terms = bound(exact(schedule, learnt=True), x, stream(0, "bound"))
    gap = float(sum(terms.values()).mean()) + float(truth(x).mean())
    assert -0.05 < gap < 0.3, "as much as 30 steps lose in four unequal pixels"


def test_a_step_s_variance_lies_between_its_ends() -> None:
    schedule: Any = build(parse(Schedule, {"kind": "linear", "steps": 50}))
    t = torch.tensor([1, 2, 25, 50]).double() / 50
    low, middle, high = (
        step_variance(schedule, t, torch.full((4, 1, 1, 1), v).double())[:, 0, 0, 0] for v in (-1, 0, 1)
    )
    torch.testing.assert_close(high, schedule.betas()[[0, 1, 24, 49]])
    bar = schedule.alpha_bar
    tilde = (1 - bar[:-1]) / (1 - bar[1:]) * schedule.betas()
    torch.testing.assert_close(low, tilde[[1, 1, 24, 49]])
    torch.testing.assert_close(middle, (low * high).sqrt())


def test_the_hybrid_is_least_at_the_true_variance() -> None:
    """Of an x_0 that is known but for N(0, e^2) the best variance of a step is beta-tilde + factor^2 e^2."""
    schedule: Any = build(parse(Schedule, {"kind": "cosine", "steps": 20}))
    t, off = torch.full((20_000,), 0.5).double(), 0.3
    x_0 = off * torch.randn(20_000, 1, 1, 1, generator=stream(0, "x")).double()
    said = torch.zeros(1, 1, 1, 1, dtype=torch.float64, requires_grad=True)
    for _ in range(400):
        loss = hybrid(schedule, t, x_0, torch.zeros_like(x_0), said.expand_as(x_0)).mean()
        (slope,) = torch.autograd.grad(loss, said)
        said = (said - 40 * slope).detach().requires_grad_()
    (a_t, s_t), (a_s, s_s) = schedule.at(0.5), schedule.at(0.45)
    beta = s_t**2 - (a_t / a_s * s_s) ** 2
    wanted = s_s**2 * beta / s_t**2 + (a_s * beta / s_t**2 * off) ** 2
    assert float(step_variance(schedule, t[:1], said.detach())) == pytest.approx(wanted, rel=0.03)


def test_what_is_left_at_the_end_is_counted() -> None:
    """L_T against torch's divergence of two normal laws, where half of the image is still there."""
    schedule: Schedule = build(parse(Schedule, {"kind": "linear", "steps": 100, "rescale": False}))
    x = images(3)
    alpha, sigma = schedule.at(1.0)
    assert alpha > 0.5
    one = torch.distributions.Normal(alpha * x, torch.full_like(x, sigma))
    other = torch.distributions.Normal(torch.zeros_like(x), torch.full_like(x, schedule.spread))
    wanted = torch.distributions.kl_divergence(one, other).flatten(1).sum(1)
    torch.testing.assert_close(bound(exact(schedule), x, stream(0, "b"))["L_T"], wanted)
