"""The cubic filter as a matrix: rows that sum to 1, and what it keeps."""

import pytest
import torch

from sfumato.maths.resample import cubic_matrix


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
