"""The noise schedules. Oracles: diffusers' DDPMScheduler, and a product written out with math.prod."""

import math

import pytest
import torch
from diffusers import DDPMScheduler

from sfumato.samplers.schedules import Cosine, Linear


@pytest.mark.parametrize("steps", [50, 1000])
def test_linear(steps: int) -> None:
    theirs = DDPMScheduler(num_train_timesteps=steps, beta_schedule="linear", beta_start=1e-4, beta_end=0.02)
    ours = Linear(Linear.Config(steps=steps, rescale=False))
    assert ours.alpha_bar.shape == (steps + 1,) and ours.alpha_bar[0] == 1
    torch.testing.assert_close(ours.alpha_bar[1:].float(), theirs.alphas_cumprod, rtol=2e-5, atol=1e-8)
    torch.testing.assert_close(ours.betas().float(), theirs.betas, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("steps", [20, 1000])
def test_cosine(steps: int) -> None:
    theirs = DDPMScheduler(num_train_timesteps=steps, beta_schedule="squaredcos_cap_v2")
    ours = Cosine(Cosine.Config(steps=steps))
    torch.testing.assert_close(ours.betas().float(), theirs.betas, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(ours.alpha_bar[1:].float(), theirs.alphas_cumprod, rtol=2e-4, atol=1e-7)


def test_linear_rescaled() -> None:
    # 1000 / T times the betas of T = 1000, so that 100 steps end in as much noise as 1000.
    betas = [0.001 + k / 99 * (0.2 - 0.001) for k in range(100)]
    ours = Linear(Linear.Config(steps=100))
    assert float(ours.alpha_bar[100]) == pytest.approx(math.prod(1 - beta for beta in betas), rel=1e-10)
    assert float(ours.alpha_bar[37]) == pytest.approx(math.prod(1 - beta for beta in betas[:37]), rel=1e-10)


def test_cosine_is_its_formula_until_the_cap() -> None:
    ours = Cosine(Cosine.Config(steps=1000))
    for t in (1, 250, 500, 900):
        expected = (math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) / math.cos(0.008 / 1.008 * math.pi / 2)) ** 2
        assert float(ours.alpha_bar[t]) == pytest.approx(expected, rel=1e-10)
    assert float(ours.betas()[-1]) == 0.999
