"""ADA: how often it changes images, what the changes are, and slopes through them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sfumato.families.ada import ADA, Draw, colour, geometry
from sfumato.families.gan import GAN
from sfumato.networks.condition import NOTHING
from sfumato.streams import stream

from .test_meaning import batch, numbers
from .test_style import made


def test_ada_rises_with_overfitting_and_falls_without() -> None:
    ada = ADA(ADA.Config(target=0.6, rise=0.1, most=0.8))
    sure = torch.ones(8)
    for i in range(1, 11):
        ada.look(sure, i / 100)
    early = float(ada.p)  # the mean sign needs four looks to pass the target
    assert 0.4 < early < 1.0 and float(ada.sign) > 0.9
    for i in range(11, 31):
        ada.look(sure, i / 100)
    assert float(ada.p) == pytest.approx(0.8)
    for i in range(31, 41):
        ada.look(torch.tensor([1.0, -1.0]), i / 100)
    assert float(ada.p) < 0.2
    assert set(ada.gauges()) == {"ada_p", "ada_sign"}


def test_ada_at_0_changes_nothing_and_else_as_often_as_p_says() -> None:
    x = numbers(0, 400, 3, 8, 8).clamp(-1, 1)
    ada = ADA(ADA.Config())
    torch.testing.assert_close(ada([x], 3, stream(0, "a"))[0], x, atol=1e-5, rtol=1e-5)
    ada.p.fill_(0.02)
    same = (ada([x], 3, stream(0, "a"))[0] - x).abs().flatten(1).amax(1) < 1e-4
    # flips and turns change nothing half and a quarter of the times: of the 14 changes about 13 count
    assert float(same.float().mean()) == pytest.approx((1 - 0.02) ** 13, abs=0.06)


def test_ada_s_geometry_and_colours_are_what_they_are_called() -> None:
    draw = Draw(4000, torch.tensor(1.0), stream(0, "draw"), torch.device("cpu"))
    ways = geometry(draw, (8, 12)).numpy()
    # in pixels the turns are turns: after the stretch and the scales are taken out what is left is orthogonal
    scale = np.diag([12.0, 8.0])
    inner = scale @ ways[:, :2, :2] @ np.linalg.inv(scale)
    size = np.sqrt(np.abs(np.linalg.det(inner)))
    assert np.log2(size).std() == pytest.approx(0.2, abs=0.02), "scales are log-normal"
    stretch = np.linalg.svd(inner / size[:, None, None])[1]
    assert np.abs(np.log2(stretch[:, 0])).mean() == pytest.approx(0.2 * math.sqrt(2 / math.pi), abs=0.02)
    tint = colour(draw, 3).numpy()
    grey = np.ones(3) / math.sqrt(3)
    linear = tint[:, :3, :3]
    turned = linear @ grey
    off = turned - (turned @ grey)[:, None] * grey
    assert np.abs(off).max() < 1e-4, "grey stays grey"
    assert (turned @ grey < 0).mean() == pytest.approx(0.5, abs=0.05), "luma is inverted half of the times"


def test_ada_turns_all_members_alike_and_gradients_pass() -> None:
    x = numbers(0, 6, 4, 8, 8).requires_grad_()
    ada = ADA(ADA.Config(start=0.8))
    one, other = ada([x, 2 * x], 0, stream(0, "a"))
    torch.testing.assert_close(2 * one, other)
    one.sum().backward()
    assert x.grad is not None and float(x.grad.abs().sum()) > 0


@pytest.mark.parametrize("p", [0.2, 0.8])
def test_each_change_of_ada_is_as_frequent_as_p(p: float) -> None:
    """Moves by whole pixels and moves between them: each of both axes at once."""
    draw = Draw(4000, torch.tensor(p), stream(0, "draw"), torch.device("cpu"))
    still = geometry(draw, (8, 8))[:, :2, 2].abs().amax(1) < 1e-6
    # of 3 x 3 moves of up to a pixel a quarter of a half either way stay: one of four
    assert float(still.float().mean()) == pytest.approx((1 - p) * (1 - 0.75 * p), abs=0.04)


def test_a_slope_goes_through_the_changes() -> None:
    """R1 is that of the image before it is changed."""
    family = made(GAN, game="non_saturating", penalties=[], augment={"kind": "ada", "start": 0.8})
    x = numbers(0, 6, 1, 8, 8)
    seen = batch(family, x)
    rate = family.rater(seen)
    (shown,), _ = family.seen([x], seen)
    torch.testing.assert_close(rate(x), family.score(shown, NOTHING))  # the same changes as those that are drawn next
    raw, through = x.clone().requires_grad_(), shown.detach().requires_grad_()
    (slope,) = torch.autograd.grad(rate(raw).sum(), raw, create_graph=True)
    (inner,) = torch.autograd.grad(family.score(through, NOTHING).sum(), through)
    assert not torch.allclose(slope, inner, atol=1e-5)
    slope.square().sum().backward()
    assert any(w.grad is not None and float(w.grad.abs().sum()) > 0 for w in family.critic.parameters())
