"""Likelihoods of laws known by hand, and a law of black and white has no bits of grey values."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sfumato.data.base import DataSpec, Split
from sfumato.errors import CapabilityError
from sfumato.images import LEVEL, Images, to_float
from sfumato.metrics.bits_per_dimension import BitsPerDimension
from sfumato.metrics.nats import Nats
from sfumato.networks.condition import Condition
from sfumato.streams import stream

PIXELS = torch.randint(0, 256, (40, 1, 4, 4), generator=stream(0, "pixels"), dtype=torch.uint8)
D = 16


def family(density: bool, seen: list[Images]) -> Any:
    """One that gives the even law over the bins of 256 levels, or two even values of a pixel."""

    def log_prob(x: Images, condition: Condition, rng: torch.Generator) -> torch.Tensor:
        seen.append(x)
        return torch.full((len(x),), -D * math.log(256 * LEVEL if density else 2))

    return SimpleNamespace(
        density=density,
        exact=True,
        labelled=False,
        device=torch.device("cpu"),
        spec=DataSpec(channels=1, size=4),
        log_prob=log_prob,
        condition=lambda observation, label: Condition(),
    )


def test_an_even_density_scores_eight_bits_on_spread_levels() -> None:
    seen: list[Images] = []
    (bits,) = BitsPerDimension(BitsPerDimension.Config()).measure_model(
        family(True, seen), Split(PIXELS), seed=0, batch=16
    )
    (nats,) = Nats(Nats.Config()).measure_model(family(True, seen), Split(PIXELS), seed=0, batch=16)
    assert bits.value == pytest.approx(8.0, abs=1e-6)
    assert nats.value == pytest.approx(D * math.log(256 * LEVEL), abs=1e-4)
    apart = torch.cat(seen[:3]) - to_float(PIXELS)
    assert apart.abs().max() <= LEVEL / 2 + 1e-6 and apart.std() == pytest.approx(LEVEL / math.sqrt(12), rel=0.1)


def test_pictures_of_two_values_are_counted_in_nats_and_not_spread() -> None:
    seen: list[Images] = []
    (nats,) = Nats(Nats.Config()).measure_model(family(False, seen), Split(PIXELS), seed=0, batch=16)
    assert nats.value == pytest.approx(D * math.log(2), abs=1e-5) and "probability" in nats.card["what"]
    assert torch.equal(torch.cat(seen), to_float(PIXELS))
    with pytest.raises(CapabilityError, match="nats"):
        BitsPerDimension(BitsPerDimension.Config()).measure_model(family(False, seen), Split(PIXELS), seed=0, batch=16)
