"""The progressive and style networks' parts against direct definitions in numpy and scipy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sfumato.errors import ConfigError
from sfumato.networks import progressive, r3gan, stylegan, stylegan2, stylegan3
from sfumato.networks.alias_free import bands, low_pass, round_low_pass
from sfumato.networks.condition import NOTHING, Condition
from sfumato.networks.equalised import Conv, Linear, pixel_norm, with_deviation
from sfumato.networks.filters import SOFT, along, blurred, doubled, halved, matrix
from sfumato.networks.mapping import Mapping, Noise
from sfumato.streams import stream


def normal(*shape: int, key: int = 0) -> Tensor:
    return torch.randn(*shape, generator=stream(key, "x", *shape), dtype=torch.float64)


def direct(x: NDArray[Any], f: NDArray[Any], up: int, down: int, pad: tuple[int, int]) -> NDArray[Any]:
    """Zeros between pixels, pads, a double loop over the filter, every n-th pixel."""
    n, c, rows, columns = x.shape
    wide = np.zeros((n, c, rows * up, columns * up))
    wide[:, :, ::up, ::up] = x
    more = [max(p, 0) for p in pad]
    wide = np.pad(wide, ((0, 0), (0, 0), tuple(more), tuple(more)))
    cut = [slice(max(-pad[0], 0), side - max(-pad[1], 0)) for side in wide.shape[2:]]
    wide, k = wide[:, :, cut[0], cut[1]], len(f)
    made = np.zeros((n, c, wide.shape[2] - k + 1, wide.shape[3] - k + 1))
    for i in range(k):
        for j in range(k):
            weight = f[::-1][i] * f[::-1][j] * up * up
            made += weight * wide[:, :, i : i + made.shape[2], j : j + made.shape[3]]
    return made[:, :, ::down, ::down]


@pytest.mark.parametrize("k", [1, 3, 4, 6])
@pytest.mark.parametrize(
    ("up", "down", "pad"),
    [(1, 1, (1, 1)), (2, 1, (2, 1)), (1, 2, (1, 1)), (4, 2, (5, 3)), (2, 1, (-1, 2)), (3, 1, (2, 2))],
)
def test_resizing_is_its_definition(k: int, up: int, down: int, pad: tuple[int, int]) -> None:
    x, f = normal(2, 3, 7, 9), normal(k, key=1)
    made = along(x, matrix(7, f, up, down, pad), matrix(9, f, up, down, pad))
    np.testing.assert_allclose(made.numpy(), direct(x.numpy(), f.numpy(), up, down, pad), atol=1e-12)


def test_the_soft_filter() -> None:
    x, f = normal(2, 3, 6, 8), np.array(SOFT) / 8
    np.testing.assert_allclose(halved(x).numpy(), direct(x.numpy(), f, 1, 2, (1, 1)), atol=1e-12)
    inner = doubled(x).numpy()[:, :, 1:-1, 1:-1]  # at the border what is outside is repeated, not 0
    np.testing.assert_allclose(inner, direct(x.numpy(), f, 2, 1, (2, 1))[:, :, 1:-1, 1:-1], atol=1e-12)
    np.testing.assert_allclose(blurred(x).numpy(), direct(x.numpy(), np.array([1, 2, 1]) / 4, 1, 1, (1, 1)), atol=1e-12)


@pytest.mark.parametrize(("n", "cutoff", "width", "rate"), [(12, 4, 6, 32), (24, 2.8, 4.3, 64), (6, 8, 3.9, 32)])
def test_the_low_pass_is_scipy_s(n: int, cutoff: float, width: float, rate: float) -> None:
    wanted = scipy.signal.firwin(n, cutoff=cutoff, width=width, fs=rate)
    np.testing.assert_allclose(low_pass(n, cutoff, width, rate).numpy(), wanted, atol=1e-7)


def test_the_round_low_pass_is_the_same_in_every_direction() -> None:
    f = round_low_pass(48, 3, 3, 64).double().numpy()
    assert f.sum() == pytest.approx(1, abs=1e-6)
    frequencies = np.fft.fftfreq(256, 1 / 64)
    response = np.abs(np.fft.fft2(f, (256, 256)))
    radius = np.hypot(frequencies[:, None], frequencies[None])
    along_axes, along_diagonal = response[0], np.diag(response)
    assert np.interp(3, frequencies[:128], along_axes[:128]) == pytest.approx(
        np.interp(3 / math.sqrt(2), frequencies[:128], along_diagonal[:128]), abs=0.02
    )
    assert response[radius > 6].max() < 0.02 and response[radius < 1].min() > 0.95


def test_bands_of_the_paper() -> None:
    """Config T at 1,024 pixels: the sizes that its layers' names say in the published weights."""
    lie = bands((1024, 1024), 14, 2, 10)
    wanted = [36, 36, 52, 52, 84, 148, 148, 276, 276, 532, 1044, 1044, 1044, 1024, 1024]
    assert [band.size for band in lie] == [(side, side) for side in wanted]
    assert lie[0].cutoff == 2 and lie[-1].cutoff == 512
    assert [band.critical for band in lie] == [False] * 12 + [True] * 3
    with pytest.raises(ConfigError, match="at least 4 pixels a side; got 2 x 2"):
        bands((2, 2), 6, 2, 10)


def test_pixel_norm_and_deviation_by_numpy() -> None:
    x = normal(6, 5, 2, 3)
    a = x.numpy()
    wanted = a / np.sqrt((a**2).mean(1, keepdims=True) + 1e-8)
    np.testing.assert_allclose(pixel_norm(x).numpy(), wanted, atol=1e-12)
    made = with_deviation(x.float(), group=3).numpy()
    np.testing.assert_array_equal(made[:, :5], x.float().numpy())
    for i in range(6):  # image i is compared with i % 2, i % 2 + 2, i % 2 + 4
        mine = a[i % 2 :: 2]
        assert made[i, 5] == pytest.approx(np.full((2, 3), mine.std(0).mean()), abs=1e-4)
    five = with_deviation(x.float()[:5])[:, 5]  # neither 4, 3 nor 2 divides it: all five are one group
    assert five.numpy() == pytest.approx(np.full((5, 2, 3), a[:5].std(0).mean()), abs=1e-4)
    assert float(with_deviation(x.float()[:1])[:, 5].abs().max()) < 2e-4


def test_equal_rates() -> None:
    """Whatever the fan-in, a step of Adam moves what a layer computes by the same share of its size."""
    for layer in (Linear(7, 5), Linear(700, 5), Conv(3, 4), Conv(30, 4), Linear(50, 5, rate=0.01)):
        shape = (2, layer.v.shape[1]) if layer.v.ndim == 2 else (2, layer.v.shape[1], 4, 4)
        fan_in, rate = math.prod(layer.v.shape[1:]), layer.rate
        before = layer.weight.detach().clone()
        assert float(before.std() * math.sqrt(fan_in)) == pytest.approx(1, abs=0.35), "unit variance comes out"
        mover = torch.optim.Adam(layer.parameters(), lr=0.001)
        layer(torch.randn(shape, generator=stream(0, "x"))).sum().backward()
        mover.step()
        step = (layer.weight.detach() - before).abs() * math.sqrt(fan_in)
        torch.testing.assert_close(step, torch.full_like(step, 0.001 * rate), rtol=0.02, atol=1e-7)


def test_adaptive_norm_by_numpy() -> None:
    x, scale, shift = normal(2, 3, 4, 5), normal(2, 3, key=1), normal(2, 3, key=2)
    a = x.numpy()
    even = (a - a.mean((2, 3), keepdims=True)) / np.sqrt(a.var((2, 3), keepdims=True) + 1e-8)
    wanted = even * scale.numpy()[..., None, None] + shift.numpy()[..., None, None]
    np.testing.assert_allclose(stylegan.adaptive_norm(x, scale, shift).numpy(), wanted, atol=1e-12)


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("even", [False, True])
def test_modulation_is_that_of_each_image_s_weights(up: bool, even: bool) -> None:
    layer = stylegan2.Modulated(4, 3, 6, up=up, even=even).double()
    x, w = normal(2, 4, 5, 6), normal(2, 6)
    made = layer(x, w)
    for i in range(2):
        weights = (layer.conv.v * layer.conv.scale) * layer.style(w)[i][None, :, None, None]
        if even:
            weights = weights / weights.flatten(1).norm(dim=1)[:, None, None, None]
            torch.testing.assert_close(weights.flatten(1).norm(dim=1), torch.ones(3, dtype=torch.float64))
        if up:
            f = np.array(SOFT) / 8
            wide = F.conv_transpose2d(x[i : i + 1], weights.transpose(0, 1), stride=2).detach().numpy()
            alone = torch.from_numpy(direct(wide, f, 1, 1, (1, 1)) * 4)
        else:
            alone = F.conv2d(x[i : i + 1], weights, padding=1)
        torch.testing.assert_close(made[i : i + 1], alone, atol=1e-6, rtol=1e-6)


GROWING: dict[str, Any] = {
    "progressive": lambda: progressive.Generator(8, 3, 4, (16, 24), 8),
    "stylegan": lambda: stylegan.Generator(8, 3, 4, (16, 24), 8, styles=8, depth=2),
}


@pytest.mark.parametrize("kind", GROWING)
@torch.no_grad()
def test_a_generator_fades_from_the_smaller_to_the_larger_one(kind: str) -> None:
    network, z, seen = GROWING[kind]().eval(), normal(2, 8).float(), normal(2, 4, 16, 24).float()
    for level in (1, 2):
        at = F.avg_pool2d(seen, 4 // 2**level) if level < 2 else seen
        network.stand(level - 1, 1.0)
        before = F.interpolate(network(z, Condition(F.avg_pool2d(at, 2))), scale_factor=2.0)
        network.stand(level, 0.0)
        torch.testing.assert_close(network(z, Condition(at)), before, atol=1e-5, rtol=1e-5)
        network.stand(level, 0.5)
        half = network(z, Condition(at))
        network.stand(level, 1.0)
        whole = network(z, Condition(at))
        assert whole.shape[2:] == at.shape[2:]
        assert not torch.allclose(half, before, atol=1e-3) and not torch.allclose(half, whole, atol=1e-3)


@pytest.mark.parametrize("soft", [False, True])
@torch.no_grad()
def test_a_critic_fades_from_the_smaller_to_the_larger_one(soft: bool) -> None:
    critic = progressive.Critic(3, (16, 24), 8, soft=soft).eval()
    x = normal(4, 3, 16, 24).float()
    critic.stand(1, 1.0)
    before = critic(F.avg_pool2d(x, 2), NOTHING)
    critic.stand(2, 0.0)
    torch.testing.assert_close(critic(x, NOTHING), before)
    critic.stand(2, 1.0)
    assert not torch.allclose(critic(x, NOTHING), before, atol=1e-4)


@torch.no_grad()
def test_the_critic_sees_that_images_are_alike() -> None:
    critic = progressive.Critic(3, (8, 8), 8)
    one = normal(1, 3, 8, 8).float().expand(4, -1, -1, -1)
    maps = critic.trunk(one)[0].detach()
    assert float(with_deviation(maps)[:, -1].abs().max()) < 2e-4
    assert float(with_deviation(critic.trunk(normal(4, 3, 8, 8).float())[0].detach())[:, -1].min()) > 0.01


@torch.no_grad()
def test_truncation_and_the_mean_style() -> None:
    mapping = Mapping(8, 6, 2)
    z = normal(4000, 8).float()
    with torch.no_grad():
        w = mapping(z, None)
        for _ in range(4000):
            mapping.follow(w)
    torch.testing.assert_close(mapping.mean, w.mean(0), atol=1e-3, rtol=0)
    assert torch.equal(mapping.truncated(w, 1.0), w)
    torch.testing.assert_close(mapping.truncated(w, 0.0), mapping.mean.expand_as(w))
    half = mapping.truncated(w, 0.5)
    torch.testing.assert_close(half - mapping.mean, 0.5 * (w - mapping.mean))
    scaled = mapping(3 * z, None)
    torch.testing.assert_close(scaled, w, atol=1e-5, rtol=1e-4, msg="only z's direction counts")


@torch.no_grad()
def test_noise_begins_silent_and_is_fresh_where_a_stream_is_given() -> None:
    noise = Noise(2, (3, 4))
    x = torch.zeros(5, 2, 3, 4)
    assert torch.equal(noise(x, stream(0, "a")), x)
    with torch.no_grad():
        noise.strength[1] = 2.0
    fixed, fresh = noise(x, None).detach(), noise(x, stream(0, "a")).detach()
    assert torch.equal(fixed[:, 0], x[:, 0]) and torch.equal(fixed[0], fixed[4])
    assert float(fresh[:, 1].std()) == pytest.approx(2.0, abs=0.6) and not torch.equal(fresh[0], fresh[1])


@pytest.mark.parametrize("rotates", [False, True])
@pytest.mark.parametrize("size", [(16, 16), (16, 24), (28, 28)])
@torch.no_grad()
def test_an_alias_free_generator_moves_with_its_waves(size: tuple[int, int], rotates: bool) -> None:
    torch.manual_seed(0)
    network = stylegan3.Generator(8, 3, 0, size, 8, styles=8, rotates=rotates).eval()
    z = normal(4, 8).float()
    rest = network(z, NOTHING)
    network.enter.transform[0, 2] = -2 / max(size)  # two columns to the right
    network.enter.transform[1, 2] = 1 / max(size)  # a row up
    moved = network(z, NOTHING)
    error = (moved - rest.roll((-1, 2), (2, 3)))[:, :, :-1, 2:]
    against = (moved - rest)[:, :, :-1, 2:]
    assert float(error.square().mean()) < 1e-3 * float(against.square().mean())


@torch.no_grad()
def test_a_quarter_turn_of_the_round_one() -> None:
    torch.manual_seed(0)
    for rotates, most in ((True, 1e-4), (False, None)):
        network = stylegan3.Generator(8, 3, 0, (16, 16), 8, styles=8, rotates=rotates).eval()
        z = normal(4, 8).float()
        rest = network(z, NOTHING)
        network.enter.transform[:2, :2] = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
        turned = network(z, NOTHING)
        errors = [float((turned - rest.rot90(k, (2, 3))).square().mean() / rest.var()) for k in (1, 3)]
        assert (min(errors) < most) if most else (min(errors) > 1e-2), (rotates, errors)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_r3gan_begins_as_its_filters(levels: int) -> None:
    """Every residual begins with 0, so that at first the critic weighs a blurred, smaller image."""
    size = (4 * 2 ** (levels - 1),) * 2
    critic = r3gan.Critic(3, size, 16)
    x = normal(2, 3, *size).float()
    maps = critic.trunk(x)
    h = critic.trunk.enter(x).detach().double().numpy()
    for _ in range(levels - 1):
        h = direct(h, np.array([1, 2, 1]) / 4, 1, 2, (1, 0))
    np.testing.assert_allclose(maps[0].detach().numpy(), h, atol=1e-5)
    score = (torch.from_numpy(h).float() * critic.basis).sum((2, 3)) @ critic.exit.weight.T
    torch.testing.assert_close(critic(x, NOTHING), score[:, 0], atol=1e-4, rtol=1e-4)
