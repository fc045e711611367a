"""Moments: mean and covariance of vectors that arrive in batches, in float64; whatever the batches, the same result.

Up to d vectors are kept as they are, because fewer vectors than dimensions have a covariance of low rank, which distances
can use; from there on only sums are.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from sfumato.errors import DivergedError, ShapeError


class Moments:
    """n, mean and unbiased covariance (divided by n - 1) of all vectors given to `update`.

    Batches are merged by S = S_a + S_b + n_a n_b / (n_a + n_b) (m_a - m_b)(m_a - m_b)^T, which loses no digits to a
    large mean. Reference: Chan, Golub and LeVeque (1983), Algorithms for computing the sample variance.

    Example:
        >>> moments = Moments()
        >>> moments.update(torch.tensor([[0.0, 1.0], [2.0, 1.0]]))
        >>> moments.update(torch.tensor([[4.0, 1.0]]))
        >>> moments.n, moments.mean.tolist(), moments.covariance.tolist()
        (3, [2.0, 1.0], [[4.0, 0.0], [0.0, 0.0]])
    """

    def __init__(self) -> None:
        self.n = 0
        self._rows: list[Float64[Tensor, "m d"]] = []
        self._mean: Float64[Tensor, " d"] | None = None
        self._scatter: Float64[Tensor, "d d"] | None = None

    @classmethod
    def of(cls, vectors: Float[Tensor, "n d"]) -> Moments:
        """The moments of these vectors."""
        moments = cls()
        for part in vectors.split(4096) if vectors.ndim == 2 else [vectors]:  # float64 of all at once would be large
            moments.update(part)
        return moments

    @classmethod
    def given(cls, mean: Float[Tensor, " d"], covariance: Float[Tensor, "d d"], n: int | None = None) -> Moments:
        """Moments that someone else computed; n is 0 where it is not known.

        Raises: ShapeError: they do not fit each other. DivergedError: a number is not finite.
        """
        d = mean.numel()
        if mean.shape != (d,) or covariance.shape != (d, d):
            shapes = f"{tuple(mean.shape)} and {tuple(covariance.shape)}"
            raise ShapeError(f"a mean [d] and a covariance [d, d] are needed; got {shapes}")
        moments = cls()
        moments.n, moments._mean = n or 0, finite(mean.double())
        moments._scatter = finite(covariance.double()) * max(moments.n - 1, 1)
        return moments

    def update(self, vectors: Float[Tensor, "m d"]) -> None:
        """Take in a batch.

        Raises: ShapeError: not a matrix, of another width, or after statistics of unknown n. DivergedError: a number is not
        finite.
        """
        if vectors.ndim != 2 or (self.n and vectors.shape[1] != self.d):
            wanted = f"vectors [n, {self.d}]" if self.n else "vectors [n, d]"
            raise ShapeError(f"moments take {wanted}; got shape {tuple(vectors.shape)}")
        if len(vectors) == 0:
            return
        if self._scatter is not None and self.n == 0:
            raise ShapeError("statistics of an unknown number of images cannot be continued; say how many there were")
        vectors = finite(vectors.to(torch.float64, copy=True))  # the caller may write over its own
        self.n += len(vectors)
        self._rows.append(vectors)
        if self._scatter is not None or self.n > self.d:
            self._fold()

    def _fold(self) -> None:
        """Turn what is kept as rows into sums."""
        rows = torch.cat(self._rows)
        self._rows = []
        mean = rows.mean(0)
        rows -= mean
        scatter = rows.T @ rows
        if self._mean is None or self._scatter is None:
            self._mean, self._scatter = mean, scatter
            return
        b, a = len(rows), self.n - len(rows)
        step = mean - self._mean
        self._scatter += scatter
        self._scatter.addr_(step, step, alpha=a * b / self.n)
        self._mean = self._mean + step * (b / self.n)

    @property
    def d(self) -> int:
        """The length of a vector."""
        known = self._mean if self._mean is not None else self._rows[0] if self._rows else torch.empty(0)
        return known.shape[-1]

    @property
    def mean(self) -> Float64[Tensor, " d"]:
        """The mean.

        Raises: ShapeError: there are no vectors.
        """
        if self._mean is not None:
            return self._mean
        if not self._rows:
            raise ShapeError("no vectors, so no mean; give at least one image")
        return torch.cat(self._rows).mean(0)

    @property
    def covariance(self) -> Float64[Tensor, "d d"]:
        """The unbiased covariance.

        Raises: ShapeError: fewer than two vectors.
        """
        if self._scatter is not None:
            return self._scatter / max(self.n - 1, 1)
        factor = self.factor
        assert factor is not None
        return factor.T @ factor

    @property
    def factor(self) -> Float64[Tensor, "n d"] | None:
        """F with F^T F = covariance: centred rows over sqrt(n - 1), where n <= d; None beyond, where it would be no smaller.

        Raises: ShapeError: fewer than two vectors.
        """
        if self._scatter is not None:
            return None
        if self.n < 2:
            raise ShapeError(f"{self.n} image has no covariance; at least 2 are needed, 10,000 for a figure to quote")
        rows = torch.cat(self._rows)
        return (rows - rows.mean(0)) / math.sqrt(self.n - 1)

    def to(self, device: str | torch.device) -> Moments:
        """The same on another device."""
        moved = Moments()
        moved.n, moved._rows = self.n, [rows.to(device) for rows in self._rows]
        moved._mean = None if self._mean is None else self._mean.to(device)
        moved._scatter = None if self._scatter is None else self._scatter.to(device, copy=True)
        return moved


def finite(x: Tensor) -> Tensor:
    """x itself.

    Raises: DivergedError: a number in it is not finite.
    """
    if not bool(x.isfinite().all()):
        wrong = int((~x.isfinite()).sum())
        raise DivergedError(
            f"{wrong} of {x.numel()} feature values are not finite; look for NaN in the images or weights"
        )
    return x
