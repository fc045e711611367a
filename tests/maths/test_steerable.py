"""The steerable pyramid: it loses nothing, and its bands are those of filters written out in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sfumato.maths.steerable import decomposed, recomposed
from sfumato.streams import stream


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=stream(0, "x", *shape))


@pytest.mark.parametrize("size", [(16, 16), (21, 30), (5, 7), (64, 33), (1, 8), (1, 1)])
@pytest.mark.parametrize("orientations", [1, 4, 5])
def test_nothing_is_lost(size: tuple[int, int], orientations: int) -> None:
    x = noise(3, *size)
    for scales in range(4):
        pyramid = decomposed(x, scales, orientations)
        assert len(pyramid.bands) == scales
        assert float((recomposed(pyramid) - x).abs().max()) < 1e-5


@pytest.mark.parametrize("size", [(32, 32), (21, 30)])
def test_energy_is_kept(size: tuple[int, int]) -> None:
    """The squares of all filters add up to 1, so a band counts by how many pixels one of its own stands for."""
    x = noise(1, *size).double()
    high, bands, low = decomposed(x, 3)
    energy = high.square().sum() + low.square().sum() * (x.numel() / low.numel())
    energy = energy + sum(band.square().sum() * (x.numel() / band[0].numel()) for band in bands)
    assert float(energy) == pytest.approx(float(x.square().sum()), rel=1e-9)


def written_out(x: np.ndarray, scale: int, k: int) -> np.ndarray:
    """A band of 4 orientations, as large as the picture."""
    wy, wx = np.meshgrid(*(2 * np.pi * np.fft.fftfreq(n) for n in x.shape), indexing="ij")
    with np.errstate(divide="ignore"):
        octaves = np.log2(np.sqrt(wy**2 + wx**2) / np.pi)

    def low(s: int) -> np.ndarray:
        return np.cos(np.pi / 2 * np.clip(octaves + s + 1, 0, 1))

    kernel = np.sin(np.pi / 2 * np.clip(octaves + scale + 2, 0, 1))
    for s in range(scale + 1):
        kernel = kernel * low(s)
    angle = np.arctan2(wy, wx)
    return np.fft.ifft2(np.fft.fft2(x) * kernel * 1j * np.sqrt(0.8) * np.cos(angle - k * np.pi / 4) ** 3).real


@pytest.mark.parametrize("scale", [0, 1, 2])
def test_bands_are_those_of_the_filters(scale: int) -> None:
    x = noise(1, 32, 48).double()
    band = decomposed(x, 3).bands[scale][:, 0].numpy()
    for k in range(4):
        whole = written_out(x[0].numpy(), scale, k)
        np.testing.assert_allclose(band[k], whole[:: 2**scale, :: 2**scale], atol=1e-6)


@pytest.mark.parametrize("scale", [0, 1, 2])
def test_bands_of_odd_sides_have_the_energy_of_the_filters(scale: int) -> None:
    x = noise(1, 21, 35).double()
    band = decomposed(x, 3).bands[scale][:, 0]
    for k in range(4):
        whole = written_out(x[0].numpy(), scale, k)
        assert float(band[k].square().mean()) == pytest.approx((whole**2).mean(), rel=1e-6)


def test_a_wave_is_in_the_band_that_looks_its_way() -> None:
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    for k, (down, across) in enumerate([(0, 16), (12, 12), (16, 0), (12, -12)]):
        wave = (2 * torch.pi * (down * y + across * x) / 64).cos()[None]
        energy = decomposed(wave, 1).bands[0].square().sum((1, 2, 3))
        shares = (energy / energy.sum()).tolist()
        expected = [0.8 * np.cos((j - k) * np.pi / 4) ** 6 for j in range(4)]
        assert shares == pytest.approx(expected, abs=1e-5)
