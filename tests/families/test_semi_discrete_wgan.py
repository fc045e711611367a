"""The semi-discrete WGAN: its potentials against POT, and a generator that goes where the points are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import ot
import pytest
import torch
from torch import Tensor, nn

from sfumato.data.base import DataSpec
from sfumato.families.semi_discrete_wgan import SemiDiscreteWGAN
from sfumato.networks.condition import Condition
from sfumato.streams import stream
from sfumato.training.run import make_family

from .test_meaning import batch

SPEC = DataSpec(channels=1, size=(1, 2), classes=2)


class Shift(nn.Module):
    """A generator of points around one that is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor([-0.5, -0.5]))

    def forward(self, z: Tensor, condition: Condition) -> Tensor:
        return (0.2 * z[:, :2] + self.shift).view(-1, 1, 1, 2)


def family(points: Tensor, **settings: object) -> SemiDiscreteWGAN:
    made = make_family(SemiDiscreteWGAN.Config(width=4, latent=2, points=len(points), **settings), SPEC, 0)
    assert isinstance(made, SemiDiscreteWGAN)
    made.generator = Shift()
    made.points.copy_(points)
    made.classes.zero_()
    return made


def test_the_dual_that_the_potentials_reach_is_the_transport_cost() -> None:
    points = 0.5 * torch.randn(40, 2, generator=stream(0, "points")) + 0.3
    made, rng = family(points), stream(0, "z")
    x = torch.zeros(256, 1, 1, 2)
    optimizer = torch.optim.SGD([made.potentials], 0.02)
    for step in range(1500):
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - step / 1500)
        optimizer.zero_grad()
        made.potential_loss(replace(batch(made, x), rng=rng))["dual"].backward()
        optimizer.step()
        made.remember(batch(made, x))
    drawn = made.decode(made.latent(3000, rng), Condition()).flatten(1).detach()
    exact = ot.emd2(
        np.full(3000, 1 / 3000),
        np.full(40, 1 / 40),
        ot.dist(drawn.double().numpy(), points.double().numpy(), "euclidean"),
    )
    _, value = made.costs(drawn.view(-1, 1, 1, 2), made.averaged, Condition())
    assert float(value.mean() + made.averaged.mean()) == pytest.approx(exact, rel=0.02)


def test_the_generator_goes_to_the_points() -> None:
    made, rng = family(torch.full((4, 2), 0.5)), stream(0, "z")
    optimizer = torch.optim.Adam(made.generator.parameters(), 0.02)
    for _ in range(150):
        optimizer.zero_grad()
        made.generator_loss(replace(batch(made, torch.zeros(64, 1, 1, 2)), rng=rng))["transport"].backward()
        optimizer.step()
    np.testing.assert_allclose(made.generator.shift.detach().numpy(), 0.5, atol=0.05)


def test_an_image_is_moved_to_a_point_of_its_class_and_to_none_that_is_missing() -> None:
    made = family(torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.1, 0.1]]), labels=True)
    made.classes.copy_(torch.tensor([0, 1, -1]))
    x = torch.full((2, 1, 1, 2), 0.1)
    place, _ = made.costs(x, made.averaged, Condition(label=torch.tensor([0, 1])))
    assert place.tolist() == [0, 1]
