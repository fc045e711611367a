"""The Frechet distance. Oracles: SciPy's matrix root, POT's Bures-Wasserstein distance, singular values, closed forms."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from sfumato.maths.gaussians import frechet_distance
from sfumato.maths.moments import Moments


def moments(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    found = Moments.of(x)
    return found.mean, found.covariance


Gaussian = tuple[np.ndarray, np.ndarray]


def gaussian(d: int, seed: int, scale: float = 1.0) -> Gaussian:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(d, 2 * d)) * scale
    return rng.normal(size=d), root @ root.T / (2 * d)


def ours(first: Gaussian, second: Gaussian) -> float:
    return frechet_distance(*(torch.from_numpy(np.array(part)) for part in (*first, *second)))


def by_scipy(first: Gaussian, second: Gaussian) -> float:
    (m_1, c_1), (m_2, c_2) = first, second
    return float(((m_1 - m_2) ** 2).sum() + np.trace(c_1) + np.trace(c_2) - 2 * np.trace(sqrtm(c_1 @ c_2).real))


@pytest.mark.parametrize("d", [1, 16, 33, 64])
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_scipy(d: int, scale: float) -> None:
    first, second = gaussian(d, 1), gaussian(d, 2, scale)
    assert ours(first, second) == pytest.approx(by_scipy(first, second), rel=1e-6)


@pytest.mark.parametrize("d", [2, 16, 64])
def test_pot(d: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # POT looks for the backends it could use
        import ot
    first, second = gaussian(d, 3), gaussian(d, 4, 2.0)
    root = float(ot.gaussian.bures_wasserstein_distance(first[0], second[0], first[1], second[1]))
    assert ours(first, second) == pytest.approx(root**2, rel=1e-6)  # POT gives the distance, we its square


def test_diagonal() -> None:
    # Independent coordinates: the sum of (m1 - m2)^2 + (s1 - s2)^2, each a distance on a line.
    rng = np.random.default_rng(5)
    m_1, m_2, s_1, s_2 = rng.normal(size=(2, 20)).tolist() + np.abs(rng.normal(size=(2, 20))).tolist()
    expected = sum((a - b) ** 2 + (s - t) ** 2 for a, b, s, t in zip(m_1, m_2, s_1, s_2, strict=True))
    first, second = (np.array(m_1), np.diag(np.square(s_1))), (np.array(m_2), np.diag(np.square(s_2)))
    assert ours(first, second) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("zeros", [1, 5, 10])
def test_singular_and_commuting(zeros: int) -> None:
    # C1 = Q diag(a) Q^T and C2 = Q diag(b) Q^T with zeros in both: tr = sum (sqrt a - sqrt b)^2.
    rng = np.random.default_rng(zeros)
    q, _ = np.linalg.qr(rng.normal(size=(10, 10)))
    a, b = rng.uniform(0.1, 2.0, size=(2, 10))
    a[:zeros], b[10 - zeros :] = 0.0, 0.0
    zero = np.zeros(10)
    value = ours((zero, q @ np.diag(a) @ q.T), (zero, q @ np.diag(b) @ q.T))
    # The root of a rounded zero is 1e-8, not 1e-16: no method that sees only C1 and C2 does better.
    assert value == pytest.approx(float(((np.sqrt(a) - np.sqrt(b)) ** 2).sum()), abs=2e-6)


@pytest.mark.parametrize("n", [2, 8, 30])
def test_fewer_images_than_features(n: int) -> None:
    # With centred features X / sqrt(n-1) as factors of C, tr (C1 C2)^(1/2) is the nuclear norm of X1 X2^T / (n-1).
    d, rng = 64, np.random.default_rng(n)
    x_1, x_2 = rng.normal(size=(2, n, d)) + rng.normal(size=(2, 1, d))
    m_1, m_2 = x_1.mean(0), x_2.mean(0)
    z_1, z_2 = (x_1 - m_1) / np.sqrt(n - 1), (x_2 - m_2) / np.sqrt(n - 1)
    nuclear = np.linalg.svd(z_1 @ z_2.T, compute_uv=False).sum()
    expected = ((m_1 - m_2) ** 2).sum() + (z_1**2).sum() + (z_2**2).sum() - 2 * nuclear
    value = frechet_distance(*moments(torch.from_numpy(x_1)), *moments(torch.from_numpy(x_2)))
    assert value == pytest.approx(expected, rel=1e-6)


def test_moments_are_numpy_s() -> None:
    x = np.random.default_rng(0).normal(size=(50, 7)) * 3 + 1
    mean, cov = moments(torch.from_numpy(x))
    assert np.allclose(mean.numpy(), x.mean(0), rtol=1e-12) and np.allclose(cov.numpy(), np.cov(x.T), rtol=1e-12)


def test_float32_features_are_summed_in_float64() -> None:
    # A mean of 1000 and a spread of 0.01: single precision would leave two digits of the covariance.
    x = (1000 + 0.01 * np.random.default_rng(0).normal(size=(200, 3))).astype(np.float32)
    _, cov = moments(torch.from_numpy(x))
    assert np.allclose(cov.numpy(), np.cov(x.astype(np.float64).T), rtol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(0, 10_000), st.integers(0, 10_000), st.floats(1e-3, 1e3))
def test_a_squared_distance(d: int, seed_1: int, seed_2: int, scale: float) -> None:
    first, second = gaussian(d, seed_1), gaussian(d, seed_2, scale)
    forth, back = ours(first, second), ours(second, first)
    size = float(np.trace(first[1]) + np.trace(second[1]))
    assert forth >= 0.0
    assert forth == pytest.approx(back, rel=1e-9, abs=1e-9 * size)
    assert ours(first, first) == pytest.approx(0.0, abs=1e-9 * size)
    if seed_1 != seed_2:
        assert forth > 0.0
