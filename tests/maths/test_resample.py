"""The cubic filter as a matrix: rows that sum to 1, and what it keeps; TensorFlow 1's bilinear rule pixel by pixel."""

import math

import numpy as np
import pytest
import torch

from sfumato.maths.resample import cubic_matrix, tensorflow_bilinear


@pytest.mark.parametrize(("large", "small"), [(8, 8), (8, 4), (32, 8), (9, 3), (10, 7), (5, 1)])
def test_rows_sum_to_one_and_mirror(large: int, small: int) -> None:
    d = cubic_matrix(large, small)
    assert d.shape == (small, large) and d.dtype == torch.float64
    torch.testing.assert_close(d.sum(1), torch.ones(small, dtype=torch.float64))
    torch.testing.assert_close(d, d.flip(0, 1))


def test_the_same_size_is_the_identity() -> None:
    torch.testing.assert_close(cubic_matrix(6, 6), torch.eye(6, dtype=torch.float64))


def test_a_straight_line_stays_one_away_from_the_borders() -> None:
    line = torch.arange(32, dtype=torch.float64)
    small = cubic_matrix(32, 8) @ line
    torch.testing.assert_close(small[2:6], (torch.arange(2, 6, dtype=torch.float64) + 0.5) * 4 - 0.5)


def test_frequencies_that_do_not_fit_are_removed() -> None:
    checks = torch.tensor([1.0, -1.0] * 16, dtype=torch.float64)
    small = cubic_matrix(32, 8) @ checks
    assert float(small.abs().max()) < 0.1 and float(small[2:6].abs().max()) < 1e-12


@pytest.mark.parametrize(
    ("old", "new"),
    [((5, 7), (3, 4)), ((3, 4), (8, 9)), ((9, 2), (4, 7)), ((6, 5), (6, 11)), ((1, 1), (3, 2)), ((4, 4), (4, 4))],
)
def test_tensorflow_bilinear_is_its_definition(old: tuple[int, int], new: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *old, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    given, expected = x.numpy(), np.empty((2, 3, *new))
    for i in range(new[0]):
        for j in range(new[1]):
            row, column = i * old[0] / new[0], j * old[1] / new[1]
            top, left = math.floor(row), math.floor(column)
            bottom, right = min(top + 1, old[0] - 1), min(left + 1, old[1] - 1)
            down, across = row - top, column - left
            above = given[:, :, top, left] * (1 - across) + given[:, :, top, right] * across
            below = given[:, :, bottom, left] * (1 - across) + given[:, :, bottom, right] * across
            expected[:, :, i, j] = above * (1 - down) + below * down
    made = tensorflow_bilinear(x, *new)
    assert made.dtype == x.dtype
    np.testing.assert_allclose(made.numpy(), expected, atol=1e-5)  # places are float32, as TensorFlow's are
    np.testing.assert_allclose(tensorflow_bilinear(x.float(), *new).numpy(), expected, atol=1e-5)


def test_tensorflow_bilinear_by_hand() -> None:
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    expected = [[1.0, 1.5, 2.0, 2.0], [2.0, 2.5, 3.0, 3.0], [3.0, 3.5, 4.0, 4.0], [3.0, 3.5, 4.0, 4.0]]
    assert tensorflow_bilinear(x, 4, 4)[0, 0].tolist() == expected
