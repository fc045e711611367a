"""DifferNet: the entropy of a law that is known, turns, and what is far away."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sfumato.data.base import DataSpec, Split
from sfumato.errors import CapabilityError, ConfigError
from sfumato.families.differnet import DifferNet
from sfumato.families.optimizers import Adam
from sfumato.features.lite0 import Lite0
from sfumato.images import to_float
from sfumato.kinds import parse
from sfumato.restorers.base import Restorer
from sfumato.restorers.conditional import Conditional
from sfumato.streams import stream
from sfumato.tasks.generation import Generation
from sfumato.training.budget import Budget
from sfumato.training.run import make_family
from sfumato.training.trainer import Trainer

SPEC = DataSpec(channels=1, size=(5, 8))  # as many pixels as lite0's block 4 has numbers


class Pixels(DifferNet, abstract=True):
    """Sees pixels as they are, so that the law of what it sees is known."""

    def look(self, x: Tensor) -> Tensor:
        return 5 * x.flatten(1)[:, :, None, None]


def test_it_reaches_the_entropy_of_a_normal_law_and_rates_by_distance() -> None:
    free = torch.randn(2048, 40, generator=stream(0, "draws"))
    draws = torch.cat([free[:, :20], 0.6 * free[:, :20] + 0.4 * free[:, 20:]], 1)
    images = ((draws / 5 + 1) * 127.5).round().byte().view(-1, 1, 5, 8)
    config = DifferNet.Config(
        features=(Lite0.Config(layer="b4"),), width=32, couplings=2, optimizer=Adam.Config(lr=5e-3)
    )
    family = Pixels(config, SPEC)
    Trainer(family, Generation(Generation.Config()), Budget(images=60_000, batch=128), seed=0).run(Split(images))
    entropy = 0.5 * (1 + math.log(2 * math.pi)) + 0.5 * math.log(0.4)
    nats = family.loss(_batch(to_float(images)))["nats"].item()
    assert nats == pytest.approx(entropy, abs=0.08), "a wrong sign of the volume does not come near"
    x = to_float(images[:200])
    near, far = (family.rate(s * x, stream(0, "rate")).mean() for s in (1.0, 1.2))
    assert near == pytest.approx(20 * (1 + math.log(2 * math.pi)), rel=0.05), "-log N(z; 0, I) of what is usual"
    assert far - near == pytest.approx(20 * (1.2**2 - 1), rel=0.25)


def _batch(x: Tensor) -> object:
    from types import SimpleNamespace

    return SimpleNamespace(x=x, rng=stream(0, "turn"))


def test_a_turn_is_one_of_the_picture() -> None:
    family = make_family(DifferNet.Config(width=4, angle=90), DataSpec(channels=1, size=(9, 9)), 0)
    x = torch.zeros(1, 1, 9, 9)
    x[0, 0, 4, 7] = 1.0
    turned = family.turned(x, stream(0, "turn"))
    assert float(turned.sum()) == pytest.approx(1.0, abs=0.35)
    rows, columns = (turned[0, 0].abs() > 0.1).nonzero().float().mean(0)
    assert math.hypot(rows - 4, columns - 4) == pytest.approx(3.0, abs=0.5), "as far from the middle as before"
    wide = make_family(DifferNet.Config(width=4, angle=180), DataSpec(channels=1, size=(8, 16)), 0)
    assert bool(wide.turned(torch.full((3, 1, 8, 16), 0.5), stream(0, "turn")).isclose(torch.tensor(0.5)).all())
    plain = make_family(DifferNet.Config(width=4), DataSpec(channels=1, size=(9, 9)), 0)
    assert plain.turned(x, stream(0, "turn")) is x


def test_it_says_what_it_cannot() -> None:
    family = make_family(DifferNet.Config(width=4), DataSpec(channels=1, size=(8, 8)), 0)
    with pytest.raises(CapabilityError, match="makes no images"):
        family.sample(1, rng=stream(0, "sample"))
    with pytest.raises(CapabilityError, match="only rates them"):
        Conditional(Conditional.Config(), family)
    assert "none was given" in parse(Restorer, "conditional").owner.lacks(None)
    with pytest.raises(ConfigError, match="2 channels"):
        make_family(DifferNet.Config(width=4), DataSpec(channels=2, size=(8, 8)), 0)
