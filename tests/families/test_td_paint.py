"""TD-Paint: known pixels are clean and at time 0; and what it learns of a law that is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import sfumato
from sfumato.data.base import Dataset, DataSpec, Split
from sfumato.errors import ConfigError
from sfumato.families.td_paint import TDPaint
from sfumato.images import to_float, to_uint8
from sfumato.maths.mixture import Mixture
from sfumato.networks.condition import Condition
from sfumato.networks.layers import Mixed, ResidualBlock
from sfumato.restorers.exact import matrix_of, posterior
from sfumato.streams import stream
from sfumato.tasks.base import Observation
from sfumato.tasks.operators import Masking
from sfumato.training.run import make_family

KNOWN = torch.ones(1, 1, 4, 4)
KNOWN[:, :, 1:3, 1:4] = 0


def awake(family: Any) -> Any:
    """The network with a last convolution that says something."""
    nn.init.normal_(family.network.unet.exit[-1].weight, generator=stream(0, "w"))
    for part in family.network.modules():
        if isinstance(part, ResidualBlock):
            nn.init.normal_(part.conv_2.weight, 0, 0.1, generator=stream(0, "c"))
    return family.eval()


@torch.no_grad()
def test_known_pixels_are_clean_and_at_time_nothing() -> None:
    network = awake(make_family(TDPaint.Config(width=8), DataSpec(channels=1, size=4, condition=2), 0)).network
    assert network.unet.enter.in_channels == 1, "nothing is told beside"
    x, other = (torch.randn(1, 1, 4, 4, generator=stream(0, name)) for name in ("x", "other"))
    told = Condition(torch.cat([0.3 * KNOWN, KNOWN], 1))
    t, s = torch.tensor([0.7]), torch.tensor([0.2])
    same = torch.where(KNOWN == 1, other, x)
    assert torch.equal(network(x, t, told), network(same, t, told)), "noise at known pixels is never seen"
    assert not torch.equal(network(x, t, told), network(other, t, told))
    whole = Condition(torch.cat([torch.full((1, 1, 4, 4), 0.3), torch.ones(1, 1, 4, 4)], 1))
    torch.testing.assert_close(network(x, t, whole), network(x, s, whole), msg="all is known, so all is at time 0")
    clean, zero = torch.full((1, 1, 4, 4), 0.3), torch.zeros(1)
    torch.testing.assert_close(network(x, t, whole), network(clean, zero, Condition()))
    nothing = Condition(torch.zeros(1, 2, 4, 4))
    torch.testing.assert_close(network(x, t, nothing), network(x, t, Condition()))


def test_two_vectors_count_where_they_should() -> None:
    block = ResidualBlock(4, 4, 6)
    nn.init.normal_(block.conv_2.weight)
    x, here, there = torch.randn(1, 4, 2, 4), torch.randn(1, 6), torch.randn(1, 6)
    share = torch.zeros(1, 1, 4, 8)
    torch.testing.assert_close(block(x, Mixed(here, there, share)), block(x, here))
    torch.testing.assert_close(block(x, Mixed(here, there, share + 1)), block(x, there))
    share[..., 4:] = 1
    half = block._modulated(Mixed(here, there, share), x)
    assert torch.equal(half[..., :2], block._modulated(here, x).expand(1, 8, 2, 2)) and half.shape == (1, 8, 2, 4)
    torch.testing.assert_close(half[..., 2:], block._modulated(there, x).expand(1, 8, 2, 2))


def test_what_is_no_mask_is_refused() -> None:
    settings = {"family.width": 4}
    with pytest.raises(ConfigError, match="cannot be trained on super_resolution-x4: it is shown"):
        sfumato.train("td_paint", "digits", task="super_resolution", images=32, settings=settings, progress=False)


def test_it_learns_what_a_known_law_says_of_the_hole() -> None:
    """4 x 4 pixels of a normal law: the answers' mean given what is known, against the posterior's; and draws of the prior."""
    places = torch.stack([torch.arange(16) // 4, torch.arange(16) % 4], 1).double()
    law = Mixture.of(torch.ones(1), torch.full((1, 16), 0.1), 0.1 * (-torch.cdist(places, places) / 3).exp()[None])
    pixels = to_uint8(law.draw(6000, stream(0, "train")).float().view(-1, 1, 4, 4).clamp(-1, 1))
    part = Split(pixels)
    data = Dataset("normal", part, part.first(8), part.first(8))
    task = [{"kind": "inpainting", "mask": "box"}, "generation"]
    settings = {"family.width": 16, "budget.batch": 64, "family.network.multipliers": [1]}
    run = sfumato.train("td_paint", data, task=task, images=60_000, settings=settings, progress=False)
    x = to_float(pixels[:1])
    n, known = 400, KNOWN.expand(400, -1, -1, -1)
    observation = Observation(x * known, Masking(known), 1 - known)
    made = run.family.sample(n, observation=observation, rng=stream(0, "s")).flatten(1).double()
    true = posterior(law, matrix_of(Masking(KNOWN.double()), (1, 4, 4)), (x * KNOWN).flatten(1).double(), 0.0)
    hole = KNOWN.flatten() == 0
    sd = true.covariance.diagonal()[hole].mean().sqrt()
    off = (made.mean(0) - true.means[0])[hole].square().mean().sqrt()
    prior = (law.means[0] - true.means[0])[hole].square().mean().sqrt()
    assert off < 0.35 * sd < prior, (off, sd, prior)
    assert float(made.std(0)[hole].mean() / sd) == pytest.approx(1, abs=0.25)
