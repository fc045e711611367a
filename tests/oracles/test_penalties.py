"""The Lipschitz slots. Oracles: critics whose slope is known (linear, and |x|^2 / 2), NumPy's singular values."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sfumato.families.penalties import Clip, GradientPenalty, SpectralNorm
from sfumato.streams import stream


def images(seed: int, n: int = 5) -> Tensor:
    return torch.randn(n, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


def linear(slope: float) -> nn.Module:
    """C(x) = w . x with |w| = slope, the same at every point."""
    critic = nn.Sequential(nn.Flatten(), nn.Linear(48, 1), nn.Flatten(0))
    with torch.no_grad():
        critic[1].weight.mul_(slope / critic[1].weight.norm())
    return critic


@pytest.mark.parametrize("slope", [0.25, 1.0, 3.0])
@pytest.mark.parametrize("weight", [1.0, 10.0])
def test_penalty_of_a_linear_critic(slope: float, weight: float) -> None:
    penalty = GradientPenalty(GradientPenalty.Config(weight=weight))
    terms = penalty.penalty(linear(slope), images(0), images(1), stream(0, "loss"))
    assert list(terms) == ["penalty"]
    assert float(terms["penalty"].detach()) == pytest.approx(weight * (slope - 1) ** 2, rel=1e-5, abs=1e-9)


def test_penalty_looks_at_random_points_between_real_and_made() -> None:
    # C(x) = |x|^2 / 2 has slope |x|: with real = r e and made = 0 the penalty is E (u r - 1)^2 = r^2/3 - r + 1, u uniform.
    n, r = 20_000, 2.0
    real = torch.zeros(n, 1, 1, 1) + r
    terms = GradientPenalty(GradientPenalty.Config(weight=2.0)).penalty(
        lambda x: x.square().flatten(1).sum(1) / 2, real, torch.zeros_like(real), stream(0, "loss")
    )
    assert float(terms["penalty"].detach()) == pytest.approx(2 * (r**2 / 3 - r + 1), rel=0.03)


def test_penalty_pushes_the_slope_towards_one() -> None:
    # d/dw weight (|w| - 1)^2 = 2 weight (|w| - 1) w / |w|: the gradient reaches the critic's own weights.
    critic = linear(3.0)
    GradientPenalty(GradientPenalty.Config()).penalty(critic, images(0), images(1), stream(0, "loss"))[
        "penalty"
    ].backward()
    w = critic[1].weight
    torch.testing.assert_close(w.grad, 2 * 10.0 * (3.0 - 1) * w.detach() / 3.0, rtol=1e-4, atol=1e-5)


def test_penalty_of_a_constant_critic_has_a_finite_gradient() -> None:
    critic = linear(1.0)
    with torch.no_grad():
        critic[1].weight.zero_()
    term = GradientPenalty(GradientPenalty.Config()).penalty(critic, images(0), images(1), stream(0, "loss"))["penalty"]
    term.backward()
    assert float(term.detach()) == pytest.approx(10.0, rel=1e-4) and bool(critic[1].weight.grad.isfinite().all())


def test_spectral_norm_after_several_passes() -> None:
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Conv2d(3, 8, 3), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(32, 4))
    matrices = [critic[0].weight.detach().flatten(1).numpy().copy(), critic[3].weight.detach().numpy().copy()]
    wrapped = SpectralNorm(SpectralNorm.Config()).wrap(critic).train()
    for _ in range(60):
        wrapped(images(2))
    wrapped.eval()
    for layer, before in zip((critic[0], critic[3]), matrices, strict=True):
        now = layer.weight.detach().flatten(1).numpy()
        np.testing.assert_allclose(now, before / np.linalg.svd(before, compute_uv=False)[0], rtol=2e-3, atol=1e-5)
        assert np.linalg.svd(now, compute_uv=False)[0] == pytest.approx(1.0, rel=2e-3)


def test_clip_bounds_every_weight_and_moves_no_small_one() -> None:
    critic = linear(5.0)
    before = critic[1].weight.detach().clone()
    Clip(Clip.Config(limit=0.02)).after(critic)
    np.testing.assert_array_equal(critic[1].weight.detach().numpy(), np.clip(before.numpy(), -0.02, 0.02).astype("f4"))
    assert float(before.abs().max()) > 0.02 and math.isclose(
        float(critic[1].weight.detach().abs().max()), 0.02, rel_tol=1e-6
    )
