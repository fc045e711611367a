"""SSIM, PSNR, L1, MSE. Oracles: scikit-image, scipy.ndimage for images below the window, NumPy in signed integers."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from sfumato.metrics.l1 import l1
from sfumato.metrics.mse import mse
from sfumato.metrics.psnr import psnr
from sfumato.metrics.ssim import ssim_map


def pair(size: int, channels: int = 3, seed: int = 0, noise: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true = gaussian_filter(rng.uniform(0, 255, (2, channels, size, size)), (0, 0, 1, 1)).astype(np.uint8)
    made = np.clip(true.astype(int) + rng.integers(-noise, noise + 1, true.shape), 0, 255).astype(np.uint8)
    return made, true


def tensors(*arrays: np.ndarray) -> list[Tensor]:
    return [torch.from_numpy(array) for array in arrays]


def by_scipy(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    def blur(image: np.ndarray) -> np.ndarray:
        return gaussian_filter(image, 1.5, truncate=3.5, mode="reflect")

    x, y = x.astype(float), y.astype(float)
    m_x, m_y, c_1, c_2 = blur(x), blur(y), (0.01 * 255) ** 2, (0.03 * 255) ** 2
    v_x, v_y, v_xy = blur(x * x) - m_x**2, blur(y * y) - m_y**2, blur(x * y) - m_x * m_y
    return (2 * m_x * m_y + c_1) * (2 * v_xy + c_2) / ((m_x**2 + m_y**2 + c_1) * (v_x + v_y + c_2))


@pytest.mark.parametrize("size", [11, 16, 32])
@pytest.mark.parametrize("noise", [3, 120])
def test_ssim_map_everywhere(size: int, noise: int) -> None:
    made, true = pair(size, noise=noise)
    ours = ssim_map(*tensors(made, true)).numpy()
    for i in range(2):
        for c in range(3):
            _, theirs = structural_similarity(
                made[i, c],
                true[i, c],
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
                data_range=255,
                full=True,
            )
            np.testing.assert_allclose(ours[i, c], theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 10])
def test_ssim_map_below_the_window(size: int) -> None:
    made, true = pair(size)
    ours = ssim_map(*tensors(made, true)).numpy()
    for i in range(2):
        for c in range(3):
            np.testing.assert_allclose(ours[i, c], by_scipy(made[i, c], true[i, c]), rtol=1e-8, atol=1e-8)


def test_ssim_of_equal_images_is_one() -> None:
    made, _ = pair(16)
    np.testing.assert_allclose(ssim_map(*tensors(made, made)).numpy(), 1.0, atol=1e-12)


def test_psnr_and_mse() -> None:
    made, true = pair(16)
    weight = torch.ones(2, 1, 16, 16, dtype=torch.float64)
    ours, error = psnr(*tensors(made, true), weight), mse(*tensors(made, true), weight)
    for i in range(2):
        assert float(ours[i]) == pytest.approx(peak_signal_noise_ratio(true[i], made[i], data_range=255), rel=1e-12)
        assert float(error[i]) == pytest.approx(mean_squared_error(true[i], made[i]), rel=1e-12)


def test_a_region_is_a_boolean_index() -> None:
    made, true = pair(16)
    hole = np.random.default_rng(1).uniform(size=(2, 16, 16)) < 0.3
    weight = torch.from_numpy(hole[:, None].astype(float))
    gap = made.astype(int) - true.astype(int)  # uint8 minus uint8 would wrap, as paper 000's code does
    for i in range(2):
        inside = gap[i][:, hole[i]]
        assert float(l1(*tensors(made, true), weight)[i]) == pytest.approx(np.abs(inside).mean(), rel=1e-12)
        assert float(mse(*tensors(made, true), weight)[i]) == pytest.approx((inside**2).mean(), rel=1e-12)
        expected = peak_signal_noise_ratio(true[i][:, hole[i]], made[i][:, hole[i]], data_range=255)
        assert float(psnr(*tensors(made, true), weight)[i]) == pytest.approx(expected, rel=1e-12)


def test_psnr_of_equal_images_is_capped() -> None:
    made, _ = pair(8)
    assert psnr(*tensors(made, made), torch.ones(2, 1, 8, 8).double()).tolist() == [100.0, 100.0]
