"""Moments: whatever the batches, NumPy's mean and covariance; and what they refuse."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sfumato.errors import DivergedError, ShapeError
from sfumato.maths.moments import Moments
from sfumato.streams import stream


def normal(n: int, d: int, *name: str | int) -> Tensor:
    return torch.randn(n, d, generator=stream(0, "moments", *name), dtype=torch.float64)


def gathered(x: Tensor, *sizes: int) -> Moments:
    moments = Moments()
    for batch in x.split(list(sizes)):
        moments.update(batch)
    return moments


def is_numpy_s(moments: Moments, x: Tensor, rtol: float = 1e-9) -> None:
    array = x.double().numpy()
    covariance = np.atleast_2d(np.cov(array, rowvar=False))
    scale = np.sqrt(np.outer(covariance.diagonal(), covariance.diagonal()))
    assert moments.n == len(x) and moments.d == x.shape[1]
    assert np.allclose(moments.mean.numpy(), array.mean(0), rtol=rtol, atol=rtol * np.sqrt(covariance.diagonal().max()))
    assert bool((np.abs(moments.covariance.numpy() - covariance) <= rtol * scale).all())


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.lists(st.integers(0, 12), min_size=2, max_size=8), st.integers(0, 10_000))
def test_any_batches_in_any_order(d: int, sizes: list[int], seed: int) -> None:
    n = sum(sizes)
    if n < 2:
        return
    x = normal(n, d, seed) * torch.logspace(-2, 2, d) + 3
    is_numpy_s(gathered(x, *sizes), x)
    order = torch.randperm(n, generator=stream(seed, "order"))
    is_numpy_s(gathered(x[order], *reversed(sizes)), x)


@pytest.mark.parametrize("sizes", [(1,) * 40, (39, 1), (1, 39), (20, 20), (7, 1, 32)])
def test_batches_of_one(sizes: tuple[int, ...]) -> None:
    x = normal(40, 6, "ones")
    is_numpy_s(gathered(x, *sizes), x)


@pytest.mark.parametrize("sizes", [(200,), (100, 100), (1,) * 200])
def test_a_huge_offset_costs_no_digits(sizes: tuple[int, ...]) -> None:
    near = (normal(200, 3, "offset") * 64).round() / 64  # exact in float64 with the offset too
    moments, plain = gathered(near + 1e6, *sizes), gathered(near, *sizes)
    torch.testing.assert_close(moments.covariance, plain.covariance, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(moments.mean - 1e6, plain.mean, rtol=0, atol=1e-8)


@pytest.mark.parametrize("n", [2, 7, 8, 9, 20])
def test_rows_are_kept_up_to_d_and_sums_beyond(n: int) -> None:
    x = normal(n, 8, "switch")
    for sizes in ((n,), (1,) * n, (1, n - 1)):
        moments = gathered(x, *sizes)
        is_numpy_s(moments, x)
        factor = moments.factor
        assert (factor is not None) == (n <= 8)
        if factor is not None:
            assert factor.shape == (n, 8)
            torch.testing.assert_close(factor.T @ factor, moments.covariance, rtol=1e-12, atol=1e-14)
            torch.testing.assert_close(factor.sum(0), torch.zeros(8).double(), rtol=0, atol=1e-12)


def test_reading_on_the_way_changes_nothing() -> None:
    x, moments = normal(30, 5, "reading"), Moments()
    for end, batch in enumerate(x.split(3), 1):
        moments.update(batch)
        is_numpy_s(moments, x[: 3 * end])


def test_float32_is_summed_in_float64() -> None:
    x = (normal(50, 4, "single") * 0.01 + 1000).float()
    is_numpy_s(gathered(x, 2, 20, 28), x)
    assert gathered(x, 50).mean.dtype == gathered(x, 50).covariance.dtype == torch.float64


def test_an_empty_batch_changes_nothing() -> None:
    x, moments = normal(9, 4, "empty"), Moments()
    for batch in (x[:0], x[:3], x[:0], x[3:], x[:0]):
        moments.update(batch)
    is_numpy_s(moments, x)


def test_a_batch_may_be_overwritten_once_it_was_taken_in() -> None:
    x, buffer, moments = normal(12, 20, "buffer"), torch.empty(4, 20, dtype=torch.float64), Moments()
    for batch in x.split(4):
        moments.update(buffer.copy_(batch))
    is_numpy_s(moments, x)


def test_vectors_are_left_as_they_were() -> None:
    x = normal(12, 3, "kept")
    before = x.clone()
    gathered(x, 12), gathered(x, 5, 7)
    assert torch.equal(x, before)


def test_a_moved_copy_goes_its_own_way() -> None:
    for d in (3, 50):  # as sums and as rows
        x = normal(20, d, "moved")
        first = gathered(x, 20)
        moved = first.to("cpu")
        moved.update(x[:5] + 1)
        is_numpy_s(first, x)
        is_numpy_s(moved, torch.cat([x, x[:5] + 1]))


def test_statistics_of_others_can_be_continued_where_n_is_known() -> None:
    x = normal(60, 4, "given")
    first = gathered(x[:40], 40)
    told = Moments.given(first.mean, first.covariance, 40)
    torch.testing.assert_close(told.covariance, first.covariance, rtol=1e-14, atol=0)
    told.update(x[40:])
    is_numpy_s(told, x)
    assert torch.equal(first.covariance, gathered(x[:40], 40).covariance)


def test_statistics_without_n_cannot_be_continued() -> None:
    told = Moments.given(torch.zeros(3), torch.eye(3))
    with pytest.raises(ShapeError):
        told.update(torch.ones(2, 3))


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite(wrong: float) -> None:
    x = normal(5, 3, "wrong")
    moments = gathered(x, 5)
    bad = x.clone()
    bad[1, 2] = wrong
    with pytest.raises(DivergedError, match="1 of 15"):
        moments.update(bad)
    is_numpy_s(moments, x)  # a refused batch leaves no trace
    with pytest.raises(DivergedError):
        Moments.given(bad[1], torch.eye(3))
    with pytest.raises(DivergedError):
        Moments.given(torch.zeros(3), torch.diag(bad[1]))


def test_widths_that_differ() -> None:
    for kept in (2, 9):  # as rows and as sums
        with pytest.raises(ShapeError, match=r"vectors \[n, 5\]"):
            gathered(normal(kept, 5, "width"), kept).update(torch.zeros(2, 4))
    for shape in ((5,), (2, 3, 4), ()):
        with pytest.raises(ShapeError, match="moments take"):
            Moments().update(torch.zeros(shape))
    with pytest.raises(ShapeError, match="a mean"):
        Moments.given(torch.zeros(3), torch.eye(4))
    with pytest.raises(ShapeError, match="a mean"):
        Moments.given(torch.zeros(3, 1), torch.eye(3))


def test_nothing_and_too_little() -> None:
    with pytest.raises(ShapeError, match="no vectors"):
        _ = Moments().mean
    one = Moments.of(torch.ones(1, 3))
    assert one.mean.tolist() == [1, 1, 1]
    for moments in (one, Moments(), Moments.of(torch.ones(1, 1))):
        with pytest.raises(ShapeError, match="at least 2"):
            _ = moments.covariance
