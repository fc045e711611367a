"""What a diffusion predicts, when it is taught and how much that counts: against their definitions, at many levels of noise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from sfumato.families.predictions import Prediction
from sfumato.families.time_laws import TimeLaw
from sfumato.families.weightings import Weighting
from sfumato.kinds import build, discover, parse
from sfumato.samplers.schedules import Schedule
from sfumato.streams import stream

AT = [(0.999, 0.0447), (0.7071, 0.7071), (0.1, 0.995), (1.0, 0.02), (1.0, 30.0), (0.7, 0.3), (0.01, 0.99)]


def drawn(name: str) -> Tensor:
    return torch.randn(3, 1, 4, 4, generator=stream(0, name)).double()


def numbers(at: tuple[float, float]) -> list[Tensor]:
    return [torch.full((3, 1, 1, 1), value).double() for value in at]


@pytest.mark.parametrize("at", AT, ids=str)
@pytest.mark.parametrize("name", sorted(discover(Prediction)))
def test_there_and_back_and_how_errors_grow(name: str, at: tuple[float, float]) -> None:
    prediction: Any = build(parse(Prediction, name))
    x, eps, off, (alpha, sigma) = drawn("x") / 2, drawn("eps"), drawn("off"), numbers(at)
    x_t = alpha * x + sigma * eps
    target = prediction.target(x, eps, alpha, sigma)
    torch.testing.assert_close(prediction.x_0(target, x_t, alpha, sigma), x)
    moved = prediction.x_0(target + off, x_t, alpha, sigma) - x
    torch.testing.assert_close(off.square(), prediction.gain(alpha, sigma) * moved.square())


def test_what_is_left_for_a_preconditioned_network_has_variance_one() -> None:
    prediction: Any = build(parse(Prediction, {"kind": "preconditioned", "data": 0.5}))
    x = 0.5 * torch.randn(200_000, 1, 1, 1, generator=stream(0, "x")).double()
    eps = torch.randn(200_000, 1, 1, 1, generator=stream(0, "eps")).double()
    for alpha, sigma in AT:
        target = prediction.target(x, eps, torch.tensor(alpha).double(), torch.tensor(sigma).double())
        assert float(target.std()) == pytest.approx(1.0, rel=0.01)
        assert float((target * (alpha * x + sigma * eps)).mean()) == pytest.approx(
            0, abs=0.02 * math.hypot(alpha, sigma)
        )


# min-SNR's own list, and P2's weight of eps
SHOULD = {
    ("eps", "min_snr"): lambda snr: np.minimum(snr, 5) / snr,
    ("v", "min_snr"): lambda snr: np.minimum(snr, 5) / (snr + 1),
    ("x0", "min_snr"): lambda snr: np.minimum(snr, 5),
    ("eps", "simple"): lambda snr: np.ones_like(snr),
    ("x0", "simple"): lambda snr: snr,
    ("eps", "p2"): lambda snr: 1 / (1 + snr),
    ("eps", "even"): lambda snr: np.ones_like(snr),
    ("x0", "even"): lambda snr: np.ones_like(snr),
}


@pytest.mark.parametrize(("prediction", "weighting"), SHOULD)
def test_weights_are_those_of_their_papers(prediction: str, weighting: str) -> None:
    snr = torch.tensor([1e-3, 0.2, 1.0, 4.0, 7.0, 300.0]).double()
    alpha, sigma = (snr / (1 + snr)).sqrt(), (1 / (1 + snr)).sqrt()
    told: Any = build(parse(Prediction, prediction))
    counts: Any = build(parse(Weighting, weighting))
    error = torch.ones(6, 1, 2, 2).double()
    made = counts.weighted(error, snr, told.gain(alpha, sigma))
    np.testing.assert_allclose(made[:, 0, 1, 0].numpy(), SHOULD[prediction, weighting](snr.numpy()), rtol=1e-9)


def test_a_learnt_weight_is_the_reciprocal_of_the_error() -> None:
    """The least of error / e^u + u is where e^u is the error."""
    torch.manual_seed(0)
    counts: Any = build(parse(Weighting, {"kind": "learned", "numbers": 32}))
    optimizer = torch.optim.Adam(counts.parameters(), 0.02)
    snr = torch.tensor([0.01, 1.0, 100.0]).double()
    error = torch.tensor([4.0, 1.0, 0.1]).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    for _ in range(600):
        optimizer.zero_grad()
        counts.weighted(error, snr, snr).mean().backward()
        optimizer.step()
    made = counts.weighted(error, snr, snr)[:, 0, 0, 0].detach()
    np.testing.assert_allclose(made.numpy(), [1 + math.log(4), 1.0, 1 + math.log(0.1)], atol=0.05)


def test_times_have_the_law_that_they_are_called_by() -> None:
    edm: Schedule = build(parse(Schedule, "edm"))
    law: TimeLaw = build(parse(TimeLaw, "log_normal"))
    t = law.draw(edm, 5000, stream(0, "t"))
    log = (edm.sigma(t) / edm.alpha(t)).log()
    assert stats.kstest(log.numpy(), stats.norm(-1.2, 1.2).cdf).pvalue > 0.01
    straight: Schedule = build(parse(Schedule, "rectified"))
    t = build(parse(TimeLaw, "logit_normal")).draw(straight, 5000, stream(0, "t"))
    assert stats.kstest(torch.logit(t).numpy(), stats.norm(0, 1).cdf).pvalue > 0.01
    grid: Schedule = build(parse(Schedule, {"kind": "cosine", "steps": 10}))
    for name in discover(TimeLaw):
        t = build(parse(TimeLaw, name)).draw(grid, 500, stream(0, "t"))
        torch.testing.assert_close(t * 10, (t * 10).round(), rtol=0, atol=1e-12)
        assert float(t.min()) >= 0.1 and float(t.max()) <= 1.0
