"""Autocorrelation. Oracles: double sums over pairs of pixels, SciPy's correlate2d, closed forms of stripes and noise."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d
from torch import Tensor

from sfumato.errors import ShapeError
from sfumato.metrics.autocorrelation import Autocorrelation, autocovariance
from sfumato.metrics.base import Score
from sfumato.tasks.base import Observation
from sfumato.tasks.operators import Nothing


def noise(*shape: int, seed: int = 0, low: int = 0, high: int = 256) -> Tensor:
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def score(made: Tensor, true: Tensor, **settings: Any) -> Score:
    measured = Autocorrelation(Autocorrelation.Config(**settings))
    operator = Nothing(len(true), (true.shape[-2], true.shape[-1]))
    measured.update(made, true, Observation(torch.empty(len(true), 0), operator, operator.known))
    return measured.compute()


def value(made: Tensor, true: Tensor, **settings: Any) -> float:
    return score(made[None], true[None], **settings).value


def by_double_sums(image: np.ndarray, lag: int) -> np.ndarray:
    channels, rows, columns = image.shape
    z = image.astype(float) - image.astype(float).mean((1, 2), keepdims=True)
    found = np.zeros((channels, 2 * lag + 1, 2 * lag + 1))
    for dy in range(-lag, lag + 1):
        for dx in range(-lag, lag + 1):
            total, pairs = np.zeros(channels), 0
            for y in range(rows):
                for x in range(columns):
                    if 0 <= y + dy < rows and 0 <= x + dx < columns:
                        total += z[:, y, x] * z[:, y + dy, x + dx]
                        pairs += 1
            found[:, dy + lag, dx + lag] = total / pairs
    return found


def by_scipy(image: np.ndarray, lag: int) -> np.ndarray:
    rows, columns = image.shape[1:]
    found = []
    for channel in image.astype(float):
        z, ones = channel - channel.mean(), np.ones_like(channel)
        whole = correlate2d(z, z) / correlate2d(ones, ones)
        found.append(whole[rows - 1 - lag : rows + lag, columns - 1 - lag : columns + lag])
    return np.stack(found)


@pytest.mark.parametrize(("shape", "lag"), [((1, 1, 1), 0), ((3, 5, 7), 2), ((1, 6, 4), 3), ((2, 8, 8), 7)])
def test_double_sums(shape: tuple[int, int, int], lag: int) -> None:
    image = noise(*shape)
    assert autocovariance(image, lag).numpy() == pytest.approx(by_double_sums(image.numpy(), lag), rel=1e-9, abs=1e-8)


@pytest.mark.parametrize(("rows", "columns", "lag"), [(16, 16, 4), (31, 20, 5), (40, 64, 39)])
def test_scipy(rows: int, columns: int, lag: int) -> None:
    image = noise(3, rows, columns)
    assert autocovariance(image, lag).numpy() == pytest.approx(by_scipy(image.numpy(), lag), rel=1e-9, abs=1e-8)


def test_the_middle_is_the_variance_and_it_is_even() -> None:
    image = noise(3, 17, 23)
    found = autocovariance(image, 4)
    assert found[:, 4, 4].tolist() == pytest.approx(image.double().var((1, 2), correction=0).tolist(), rel=1e-12)
    assert torch.allclose(found, found.flip(1, 2), rtol=0, atol=1e-9)


def test_stripes_do_not_fade_with_the_lag() -> None:
    # 100 -+ 20 by column: 400 (-1)^dx at every lag, which a sum divided by all pixels would shrink, a circle would not hold.
    stripes = (100 + 20 * (-1) ** torch.arange(12)).expand(1, 10, 12).byte()
    step = torch.arange(-5, 6)
    expected = (400.0 * (-1.0) ** step.abs()).expand(11, 11).double()
    assert torch.allclose(autocovariance(stripes, 5)[0], expected, rtol=1e-12)


def test_the_value_is_the_formula_s() -> None:
    made, true = noise(2, 3, 21, 18), noise(2, 3, 21, 18, seed=1, high=128)
    expected = []
    for m, t in zip(made.numpy(), true.numpy(), strict=True):
        gap = by_scipy(m, 4) - by_scipy(t, 4)
        expected.append(math.sqrt((gap**2).sum() / (by_scipy(t, 4) ** 2).sum()))
    shown = score(made, true)
    assert shown.samples == pytest.approx(expected, rel=1e-5) and shown.card["largest_lag"] == 4


def test_contrast_and_brightness() -> None:
    # a z + b has a^2 times the covariance: |a^2 - 1| whatever b.
    true = noise(3, 16, 16, high=60)
    assert value(2 * true + 17, true) == pytest.approx(3.0, rel=1e-12)
    assert value(true + 17, true) == pytest.approx(0.0, abs=1e-12)
    assert value(torch.full_like(true, 40), true) == pytest.approx(1.0, rel=1e-12)
    assert value(true, true) == 0.0


def test_turned_stripes_are_seen() -> None:
    stripes = (100 + 20 * (-1) ** torch.arange(16)).expand(1, 16, 16).byte()
    # A and A^T agree where dy + dx is even, and are 400 apart twice over elsewhere: 40 of 81 lags for L = 4.
    assert value(stripes.transpose(1, 2), stripes) == pytest.approx(math.sqrt(4 * 40 / 81), rel=1e-12)


@pytest.mark.parametrize("level", [0, 77, 255])
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (16, 16)])
def test_a_constant_exemplar_is_undefined_and_counted(level: int, size: tuple[int, int]) -> None:
    flat = torch.full((1, 3, *size), level).byte()
    with pytest.raises(ShapeError, match="no image to look at"):
        score(noise(1, 3, *size), flat)
    both = score(noise(2, 3, 16, 16), torch.cat([torch.full((1, 3, 16, 16), level).byte(), noise(1, 3, 16, 16)]))
    assert both.n == 1 and both.card["undefined_images"] == 1


def test_one_flat_channel_is_no_harm() -> None:
    true = noise(3, 12, 12)
    true[1] = 5
    assert value(true, true) == 0.0 and value(noise(3, 12, 12, seed=1), true) > 0


def test_sizes_may_differ() -> None:
    stripes = (100 + 20 * (-1) ** torch.arange(40)).expand(3, 40, 40).byte()
    large, small = stripes, stripes[:, :16, :12]
    assert value(large, small) == pytest.approx(0.0, abs=1e-12)
    assert score(large[None], small[None]).card["largest_lag"] == 3
    assert score(small[None], large[None]).card["largest_lag"] == 3


def test_white_noise_has_a_floor_that_a_short_lag_lowers() -> None:
    made, true = noise(1, 64, 64), noise(1, 64, 64, seed=1)
    assert 0.6 < value(made, true) < 0.9
    assert value(made, true, lag=1) < 0.1


def test_small_grey_and_wrong_pictures() -> None:
    assert value(noise(1, 3, 3), noise(1, 3, 3, seed=1)) >= 0  # below 4 pixels only the variance is compared
    assert score(noise(1, 1, 3, 3), noise(1, 1, 3, 3, seed=1)).card["largest_lag"] == 0
    with pytest.raises(ShapeError, match="two uint8 batches"):
        value(noise(1, 9, 9), noise(3, 9, 9))
    with pytest.raises(ShapeError, match=r"3 x 5 x 9 .*no lag 5"):
        value(noise(3, 5, 9), noise(3, 5, 9), lag=5)
    with pytest.raises(ShapeError, match="no lag -1"):
        autocovariance(noise(1, 4, 4), -1)
    with pytest.raises(ShapeError, match="no lag 0"):
        autocovariance(noise(4, 4), 0)


def test_the_card() -> None:
    shown = score(noise(2, 3, 16, 16), noise(2, 3, 16, 16, seed=1), lag=2)
    assert shown.label == "Autocorrelation" and shown.card["largest_lag"] == 2 and shown.card["region"] == "all"
    assert "channel means" in shown.card["centred"]
