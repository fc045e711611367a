"""Games, penalties and changes: hand-computed values, a toy whose law is known, and the faults that a sign makes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sfumato.data.base import DataSpec
from sfumato.families.augment import DiffAugment
from sfumato.families.games import BEGAN, Game
from sfumato.families.gan import GAN
from sfumato.families.penalties import LeCam, ZeroCentred
from sfumato.kinds import build, parse
from sfumato.networks.condition import Condition
from sfumato.streams import stream
from sfumato.training.run import make_family

from .test_meaning import batch

REAL, MADE = np.array([2.0, -1.0, 0.3]), np.array([-0.5, 1.5, 0.0])


def sigmoid(v: Any) -> Any:
    return 1 / (1 + np.exp(-v))


D, G = sigmoid(REAL), sigmoid(MADE)
LOSSES = {  # game: critic's, generator's, by NumPy and the papers' formulas
    "minimax": (-np.log(D).mean() - np.log(1 - G).mean(), np.log(1 - G).mean()),
    "non_saturating": (-np.log(D).mean() - np.log(1 - G).mean(), -np.log(G).mean()),
    "hinge": (np.maximum(0, 1 - REAL).mean() + np.maximum(0, 1 + MADE).mean(), -MADE.mean()),
    "least_squares": (((REAL - 1) ** 2).mean() + (MADE**2).mean(), ((MADE - 1) ** 2).mean()),
    "relativistic": (-np.log(sigmoid(REAL - MADE)).mean(), -np.log(sigmoid(MADE - REAL)).mean()),
    "wasserstein": (MADE.mean() - REAL.mean(), -MADE.mean()),
    "total_variation": (-(0.5 * np.tanh(REAL)).mean() + (0.5 * np.tanh(MADE)).mean(), -(0.5 * np.tanh(MADE)).mean()),
    "kl": (-REAL.mean() + np.exp(MADE - 1).mean(), -MADE.mean()),
    "jensen_shannon": (
        -(math.log(2) + np.log(D)).mean() - np.log(2 - 2 * G).mean(),
        -(math.log(2) + np.log(G)).mean(),
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_game_is_its_formula(name: str) -> None:
    known = name in ("total_variation", "kl", "jensen_shannon")
    game: Game = build(parse(Game, {"kind": "f_divergence", "divergence": name} if known else name))
    real, made = torch.tensor(REAL), torch.tensor(MADE)
    critic = sum(float(term) for term in game.critic(real, made).values())
    assert critic == pytest.approx(LOSSES[name][0], abs=1e-9)
    assert float(game.generator(real, made)) == pytest.approx(LOSSES[name][1], abs=1e-9)


@pytest.mark.parametrize("name", [*sorted(LOSSES), "began"])
def test_every_game_pulls_the_right_way(name: str) -> None:
    """Going down, the critic lifts real and lowers made scores, the generator lifts made ones."""
    known = name in ("total_variation", "kl", "jensen_shannon")
    game: Game = build(parse(Game, {"kind": "f_divergence", "divergence": name} if known else name))
    if isinstance(game, BEGAN):
        game.k.fill_(0.5)
    real, made = torch.tensor([0.3], requires_grad=True), torch.tensor([0.6], requires_grad=True)
    torch.stack(list(game.critic(real, made).values())).sum().backward()
    assert float(real.grad) < 0 < float(made.grad)
    made.grad = None
    game.generator(real.detach(), made).backward()
    assert float(made.grad) < 0


def test_began_holds_the_ratio_of_its_errors() -> None:
    game = BEGAN(BEGAN.Config(gamma=0.5, rate=0.1))
    game.critic(torch.tensor([-1.0]), torch.tensor([-0.2]))  # gamma L(x) - L(G) = 0.5 - 0.2
    assert float(game.k) == pytest.approx(0.03)
    assert float(game.critic(torch.tensor([-1.0]), torch.tensor([-0.9]))["made"]) == pytest.approx(-0.03 * 0.9)
    assert float(game.k) == 0.0, "k stays in [0, 1]"


def test_both_sides_of_the_zero_centred_penalty_against_a_hand_computed_slope() -> None:
    """C(x) = a |x|^2 has slope 2 a x: gamma / 2 mean over images of 4 a^2 |x|^2."""
    real, made = torch.full((3, 1, 2, 2), 0.5), torch.full((3, 1, 2, 2), -1.0)

    def critic(x: Tensor) -> Tensor:
        return 3.0 * x.square().sum((1, 2, 3))

    for progress, gamma in ((0.0, 0.2), (1.0, 0.05), (0.5, 0.125)):
        penalty = ZeroCentred(ZeroCentred.Config(gamma=0.2, gamma_end=0.05))
        terms = penalty.penalty(critic, real, made, stream(0, "p"), progress)
        terms = {name: term.detach() for name, term in terms.items()}
        assert float(terms["r1"]) == pytest.approx(gamma / 2 * 36 * 1.0)
        assert float(terms["r2"]) == pytest.approx(gamma / 2 * 36 * 4.0)
    assert set(ZeroCentred(ZeroCentred.Config(on="real")).penalty(critic, real, made, stream(0, "p"))) == {"r1"}


def test_lecam_against_hand_computed_values() -> None:
    penalty = LeCam(LeCam.Config(weight=2.0, decay=0.5, begin=0.1))
    real, made = torch.full((2, 1, 1, 1), 3.0), torch.full((2, 1, 1, 1), -1.0)
    critic = lambda x: x.flatten()  # noqa: E731
    assert float(penalty.penalty(critic, real, made, stream(0, "p"), 0.0)["lecam"]) == 0.0
    assert (float(penalty.real), float(penalty.made)) == (1.5, -0.5)
    found = penalty.penalty(critic, real, made, stream(0, "p"), 0.5)["lecam"]
    assert (float(penalty.real), float(penalty.made)) == (2.25, -0.75)
    assert float(found) == pytest.approx(2.0 * ((3 + 0.75) ** 2 + (2.25 + 1) ** 2))


def test_changes_are_the_same_for_twins_and_leave_other_channels_their_colour() -> None:
    changes = DiffAugment(DiffAugment.Config(changes=("colour", "translation", "cutout")))
    x = torch.rand(6, 3, 16, 16, generator=stream(0, "x")) * 2 - 1
    told = torch.cat([x, torch.ones(6, 1, 16, 16)], 1)
    one, two, image = changes([x, x.clone(), told], 3, stream(1, "c"))
    assert torch.equal(one, two) and not torch.equal(one, x)
    assert set(image[:, 3].unique().tolist()) == {0.0, 1.0}, "a mask is moved and cut, never coloured"
    torch.testing.assert_close(image[:, :3], one)
    apart = changes([x[:1].expand(6, -1, -1, -1)], 3, stream(1, "c"))[0]
    assert not torch.equal(apart[0], apart[1]), "each image has its own"


def test_gradients_pass_the_changes() -> None:
    x = torch.rand(4, 3, 8, 8, generator=stream(0, "x")).requires_grad_(True)
    DiffAugment(DiffAugment.Config(changes=("colour", "translation", "cutout")))([x], 3, stream(1, "c"))[
        0
    ].sum().backward()
    assert x.grad is not None and bool(x.grad.abs().sum() > 0)


def test_no_change_at_share_0_and_half_of_the_images_at_a_half() -> None:
    x = torch.rand(400, 1, 8, 8, generator=stream(0, "x"))
    for share, low, high in ((0.0, 0, 0), (0.5, 0.42, 0.58)):
        made = DiffAugment(DiffAugment.Config(changes=("colour",), share=share))([x], 1, stream(1, "c"))[0]
        assert low <= float((made != x).flatten(1).any(1).float().mean()) <= high


class Shift(nn.Module):
    """A generator of one number, z + shift."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(-0.5))

    def forward(self, z: Tensor, condition: Condition) -> Tensor:
        return (0.1 * z[:, :1] + self.shift)[:, :, None, None]


@pytest.mark.parametrize(
    "game", ["non_saturating", "hinge", "least_squares", "relativistic", "f_divergence", "minimax"]
)
def test_a_game_brings_the_mean_to_where_the_data_are(game: str) -> None:
    """Data N(0.4, 0.1^2) of one pixel, a generator that can only shift: a few hundred turns suffice."""
    spec = DataSpec(channels=1, size=(1, 1))
    family = make_family(GAN.Config(width=16, latent=2, network="mlp", game=game), spec, 0)
    assert isinstance(family, GAN)
    family.generator = Shift()
    rng = stream(0, "toy")
    critic = torch.optim.Adam(family.critic.parameters(), 0.02, betas=(0.0, 0.9))
    generator = torch.optim.Adam(family.generator.parameters(), 0.01, betas=(0.0, 0.9))
    for _ in range(400):
        x = 0.4 + 0.1 * torch.randn(64, 1, 1, 1, generator=rng)
        for optimizer, loss in ((critic, family.critic_loss), (generator, family.generator_loss)):
            family.zero_grad()
            given = batch(family, x)
            torch.stack(list(loss(replace(given, rng=rng)).values())).sum().backward()
            optimizer.step()
    assert abs(float(family.generator.shift.detach()) - 0.4) < 0.1


def test_a_collapse_is_named() -> None:
    family = make_family(GAN.Config(width=8), DataSpec(channels=1, size=8), 0)
    assert isinstance(family, GAN)
    family.variety.fill_(5.0)
    assert "mode collapse" in family.alarm({})
    family.variety.fill_(1e-3)
    assert family.alarm({}) == ""
