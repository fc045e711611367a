"""In-painters: far pixels matter, only known places are copied from, and the local critic looks around the hole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sfumato.data.base import DataSpec, Split
from sfumato.families.regression import Regression
from sfumato.networks.condition import Condition
from sfumato.networks.inpainters import FourierBlock, GlobalAndLocal, InPainter, around_the_unknown, copied
from sfumato.streams import lent, stream
from sfumato.tasks.inpainting import Inpainting
from sfumato.testing import check_family
from sfumato.training.budget import Budget
from sfumato.training.run import make_family
from sfumato.training.trainer import Trainer


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=stream(0, "x", *shape))


def test_each_output_of_a_fourier_block_has_seen_every_pixel() -> None:
    with lent(stream(0, "block")):
        block = FourierBlock(8, 4)
        nn.init.normal_(block.exit.weight)
    x = random(1, 8, 12, 12).requires_grad_()
    out = block(x, random(1, 4), torch.ones(1, 1, 12, 12))
    (slope,) = torch.autograd.grad(out[0, :, 0, 0].sum(), x)
    assert float(slope.abs().amax(1).min()) > 0


def test_copies_are_a_weighted_mean_over_known_places() -> None:
    direction, value = torch.nn.functional.normalize(random(2, 3, 20), dim=1), random(2, 5, 20)
    known = (random(2, 1, 4, 5) > 0).float()
    found = copied(direction, value, known)
    for b in range(2):
        keys = known[b].flatten().numpy() > 0.5
        alike = np.exp(10.0 * direction[b].T.numpy() @ direction[b].numpy()) * keys
        expected = value[b].numpy() @ (alike / alike.sum(1, keepdims=True)).T
        np.testing.assert_allclose(found[b].numpy(), expected, atol=1e-5)
    unknown = (known < 0.5).flatten(1)[:, None].float()
    torch.testing.assert_close(
        copied(direction, value + 100 * unknown, known), found, msg="an unknown place was copied"
    )


def test_the_local_critic_sees_the_hole_and_little_else() -> None:
    told = torch.ones(1, 4, 16, 16)
    told[:, 3, 10:14, 2:6] = 0
    place = torch.arange(256.0).view(1, 1, 16, 16)
    window = around_the_unknown(place, told, (8, 8))
    assert window[0, 0, 0, 0] == 8 * 16 + 0 and window[0, 0, -1, -1] == 15 * 16 + 7
    assert torch.equal(around_the_unknown(place, None, (8, 8)), place[:, :, 4:12, 4:12])
    with lent(stream(0, "critic")):
        critic = GlobalAndLocal(7, (16, 16), 8)
    x = random(1, 3, 16, 16).requires_grad_()
    (slope,) = torch.autograd.grad(critic(x, Condition(told)).sum() - critic.whole(x, Condition(told)).sum(), x)
    assert float(slope[:, :, 8:, :8].abs().sum()) > 0 and float(slope[:, :, :8].abs().max()) < 1e-6


@pytest.mark.parametrize("copying", [False, True])
def test_starts_from_the_preview(copying: bool) -> None:
    config: Any = Regression.Config(width=8, network={"kind": "fourier_unet", "copying": copying, "blocks": 2})
    family: Any = make_family(config, DataSpec(channels=3, size=16, condition=4), 0)
    assert isinstance(family.generator, InPainter)
    image = random(2, 4, 16, 16)
    torch.testing.assert_close(family.generator(random(2, 64), Condition(image)), image[:, :3])


@pytest.mark.parametrize("copying", [False, True])
def test_a_texture_that_repeats_is_learnt(copying: bool) -> None:
    """Stripes of random phase and period: what is hidden is what the rest repeats."""
    phase, period = (
        torch.rand(600, 1, 1, 1, generator=stream(0, "phase")),
        3.0 + torch.arange(600).view(-1, 1, 1, 1) % 3,
    )
    wave = torch.sin(2 * torch.pi * (torch.arange(16.0) / period + phase)).expand(-1, 1, 16, -1)
    data = ((wave + 1) * 127.5).to(torch.uint8)
    network = {"kind": "fourier_unet", "copying": copying, "blocks": 2}
    family = make_family(Regression.Config(width=8, network=network), DataSpec(channels=1, size=16, condition=2), 0)
    task = Inpainting(Inpainting.Config())
    Trainer(family, task, Budget(images=12_000, batch=32), seed=0).run(Split(data))
    x = data[:50].float() / 127.5 - 1
    seen = task.observe(x, stream(0, "mask"))
    error = (family.sample(50, observation=seen, rng=stream(0, "s")) - x).abs() * (1 - seen.known)
    assert float(error.sum() / (1 - seen.known).sum()) < 0.3, "a mean of all phases is off by 0.64"


def test_contextual_attention_keeps_every_promise() -> None:
    network = {"kind": "fourier_unet", "copying": True, "blocks": 1}
    check_family(Regression.Config(width=4, network=network), DataSpec(channels=1, size=8))


def test_a_smooth_start_is_the_answer_before_anything_is_learnt() -> None:
    """Known pixels as they are, unknown ones near what is around them; where nothing is known exactly, what is observed."""
    with lent(stream(0, "smooth")):
        network = InPainter(4, 3, 4, (16, 16), 8, FourierBlock, 1, smooth=True).eval()
    x = 0.5 + 0.01 * random(2, 3, 16, 16)
    known = torch.ones(2, 1, 16, 16)
    known[:, :, 4:12, 4:12] = 0
    with torch.no_grad():
        made = network(torch.zeros(2, 4), Condition(torch.cat([x * known, known], 1)))
        small = network(torch.zeros(2, 4), Condition(torch.cat([x, torch.zeros_like(known)], 1)))
    torch.testing.assert_close(made * known, x * known, atol=1e-6, rtol=0)
    assert float((made - 0.5).abs().max()) < 0.06
    torch.testing.assert_close(small, x, atol=1e-6, rtol=0)
