"""Gaussian: all images as one normal vector, fitted in one pass, so that every posterior has a closed form.

It is the plainest model that knows which pixels go together: what a network must beat, and a truth to hold samplers against.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Float64, Int
from pydantic import Field
from torch import Tensor

from sfumato.config import Strict
from sfumato.errors import CapabilityError, ConfigError, DataError, ShapeError
from sfumato.families.abilities import Denoises, Density
from sfumato.families.base import Family, Pass, Player, Stage
from sfumato.images import Images, Size
from sfumato.maths.conditioning import completed, corrected, filtered, log_density, spectrum
from sfumato.maths.mixture import Mixture
from sfumato.networks.condition import NOTHING, Condition
from sfumato.samplers.denoiser import Denoised, Denoiser, From, Times
from sfumato.samplers.schedules import Cosine
from sfumato.streams import Rngs, device_of, normals, stream
from sfumato.tasks.base import Observation, Operator

LARGEST = 16_384  # numbers in an image; the covariance of more takes over 1 GiB
MOST = 4 << 30  # bytes that the covariances of all classes, or what is derived from them, may take together
ROUNDING = (
    1e-5  # y is float32: its rounding counts as noise of a thousandth of a level, so that lost frequencies stay lost
)
ALIKE = 1e-5  # operators whose answers to one random image differ by no more are one operator
FEW = 3  # sets of images with an operator of their own, up to which each is solved by itself
LOUD = 1e-3  # noise from which iterating is sure: below it, what a blur loses is hardly damped
NEAR = 1e-4  # what an iteration may be off, of the residual; images that are further off are solved by themselves
SCHEDULE = Cosine(Cosine.Config())  # what its denoiser walks by
AT_ONCE = 512  # basis images that an operator is applied to at once


class Posterior(ABC):
    """A family that knows exactly what its images are, given any linear measurement."""

    @abstractmethod
    def posterior(
        self, observation: Observation, rng: Rngs | None = None, label: Int[Tensor, " B"] | None = None
    ) -> Images:
        """One exact draw of x given y for each image or, without `rng`, the exact mean E[x | y]; not clamped.

        Raises: CapabilityError: no linear operator is known. ShapeError: images of another size.
        """


class Gaussian(Family, Denoises, Density, Posterior):
    """x ~ N(m, C + ridge I), the mean and covariance of the training images; x | y = A x + noise n is then normal too.

    The covariance is kept in float32 and everything is derived from it in float64: rounding moves its eigenvalues by about
    1e-6, far below the ridge. Observations reach it through the restorer `gaussian_posterior`; `sample` draws from the prior.
    Reference: Bishop (2006), Pattern recognition and machine learning, section 2.3.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = Gaussian(Gaussian.Config(), DataSpec(channels=1, size=(8, 12)))
        >>> tuple(model.sample(2, rng=stream(0, "sample")).shape)
        (2, 1, 8, 12)
    """

    class Config(Strict):
        kind: Literal["gaussian"] = "gaussian"
        ridge: float = Field(default=0.01, gt=0.0)
        """Variance added to each pixel on the scale of images (-1 to 1): what lies between the training images."""
        mirror: bool = True
        """Count each training image mirrored left-right as well."""
        labels: bool = False
        """Keep a mean and covariance for each class, and those of all images for when no class is told."""

    exact = True
    random = False
    means: Tensor
    covariances: Tensor

    def build(self) -> None:
        """N(0, I), until it is fitted."""
        count, d = self.spec.classes + 1 if self.labelled else 1, self.spec.dimensions  # the last is of all images
        self.register_buffer("means", torch.zeros(count, d))
        self.register_buffer("covariances", torch.eye(d).repeat(count, 1, 1))
        self._source: tuple[Tensor, int] | None = None
        self._derived: dict[tuple[str, int], Any] = {}

    def check_size(self, size: Size) -> None:
        """The covariance has to fit into memory."""
        d = self.spec.channels * size[0] * size[1]
        if self.labelled and 4 * d**2 * (self.spec.classes + 1) > MOST:
            raise ConfigError(
                f"{self.spec.classes} classes of images of {d:,} numbers need {4 * d**2 * (self.spec.classes + 1) / 2**30:.1f} "
                f"GiB of covariances, over {MOST >> 30}; set labels = false or make the images smaller"
            )
        if d > LARGEST:
            need = f"images of {d:,} numbers need a covariance of {4 * d**2 / 2**30:.1f} GiB"
            raise ConfigError(f"{need}; a gaussian takes {LARGEST:,} (64 x 64 x 3 is 12,288): make the images smaller")

    def players(self, stage: Stage) -> Sequence[Player]:
        """Nobody: it is computed, not trained."""
        return ()

    def fit(self, stage: Stage, images: Pass) -> Iterator[float]:
        """Sums of x and x x^T in float64; a pass does not tell its length, so the share done is 0 until its end."""
        K, d, device = max(len(self.means) - 1, 1), self.spec.dimensions, self.device
        counts, sums = [0] * K, torch.zeros(K, d, dtype=torch.float64, device=device)
        squares = torch.zeros(K, d, d, dtype=torch.float64, device=device)
        for x, label in images.all():
            if self.labelled and label is None:
                raise DataError("labels = true needs labelled images; these have none: set labels = false")
            rows = x.flatten(1).double()
            for k in range(K):
                part = rows[label == k] if self.labelled and label is not None else rows
                counts[k] += len(part)
                sums[k] += part.sum(0)
                squares[k].addmm_(part.T, part)
            yield 0.0
        for k in range(K):
            self._set(k, counts[k], sums[k], squares[k])
        if self.labelled:
            for k in range(1, K):
                squares[0] += squares[k]  # in place, since there may be gigabytes of them
            self._set(K, sum(counts), sums.sum(0), squares[0])
        yield 1.0

    def _set(self, k: int, n: int, total: Float64[Tensor, " d"], square: Float64[Tensor, "d d"]) -> None:
        """Mean and unbiased covariance from sums; those of mirrored images are the same sums at mirrored places."""
        if n == 0:
            raise DataError(f"class {k} has no training image, so no mean; add some or set labels = false")
        flip = torch.arange(len(total), device=total.device)
        if self.config.mirror:
            flip = flip.view(self.spec.channels, *self.spec.size).flip(2).flatten()
        count = 2 * n if self.config.mirror else n
        self.means[k] = mean = (total + total[flip]) / (2 * n)
        for rows in torch.arange(len(total), device=total.device).split(1024):  # a block at a time, to save memory
            both = (square[rows] + square[flip[rows]][:, flip]) / (2 * n) - mean[rows, None] * mean
            both *= count / max(count - 1, 1)
            both[torch.arange(len(rows)), rows] += self.config.ridge
            self.covariances[k, rows] = both.float()

    def untold(self, n: int, rng: Rngs) -> Int[Tensor, " n"]:
        """The Gaussian of all images, after those of the classes."""
        return torch.full((n,), self.spec.classes, dtype=torch.int64, device=device_of(rng))

    def draw(self, n: int, condition: Condition, size: Size, rng: Rngs) -> Images:
        """m + L z, L the Cholesky factor of the covariance."""
        self._check(size)
        z = normals(rng, n, self.spec.dimensions).double()
        x = torch.empty_like(z)
        for k, at in self._by_class(condition.label, n):
            x[at] = self.means[k].double() + z[at] @ self._root(k).T
        return x.float().view(n, self.spec.channels, *size)

    def log_density(self, x: Images, condition: Condition) -> Float[Tensor, " B"]:
        """log N(x; m, C), of the told class where one is told."""
        self._check((x.shape[2], x.shape[3]))
        rows = x.flatten(1).double()
        out = rows.new_zeros(len(rows))
        for k, at in self._by_class(condition.label, len(rows)):
            out = out.index_put((at,), log_density(rows[at], self.means[k].double(), self._root(k)))
        return out

    @torch.no_grad()
    def log_prob(self, x: Images, condition: Condition, rng: Rngs) -> Float[Tensor, " B"]:
        """The same; nothing is drawn."""
        return self.log_density(x, condition)

    @torch.no_grad()
    def posterior(
        self, observation: Observation, rng: Rngs | None = None, label: Int[Tensor, " B"] | None = None
    ) -> Images:
        """Each set of images that share A and class at once: see `maths/conditioning.py` for the three routes."""
        operator, y = observation.operator, observation.y
        if not operator.linear:
            raise CapabilityError(
                f"{type(operator).__name__} has no known linear A, so there is no posterior; a gaussian answers "
                "y = A x + noise n alone: train a family on these pairs"
            )
        self._check(operator.size)
        n, d = len(observation), self.spec.dimensions
        z = None if rng is None else normals(rng, n, d).to(y.device).double()
        rows = y.reshape(n, math.prod(y.shape[1:])).double()
        if rng is not None and observation.noise > 0:
            rows = rows - observation.noise * normals(rng, n, rows.shape[1]).to(y.device)
        x = rows.new_empty(n, d)
        for k, of_class in self._by_class(label, n):
            sets = list(self._sharing(operator, of_class))
            if operator.blurs and observation.noise >= LOUD and len(sets) > FEW:
                x[of_class], good = self._iterated(k, observation, of_class, rows, z)
                sets = [at for at in sets if not bool(good[at].all())]
            for at in sets:
                drawn = None if z is None else z[at]
                x[at] = self._answer(k, observation, int(at[0]), rows[at], drawn)
        return x.float().view(n, self.spec.channels, *self.spec.size)

    def _answer(
        self, k: int, observation: Observation, i: int, y: Float64[Tensor, "m q"], z: Float64[Tensor, "m d"] | None
    ) -> Float64[Tensor, "m d"]:
        """The answers to y measured by the operator of image i; draws if there is z, noise already taken off y."""
        operator, mean, covariance = observation.operator, self.means[k].double(), self.covariances[k]
        known = operator.known[i].expand(self.spec.channels, -1, -1).flatten() > 0.5
        passed = operator.hides or bool(known.all())  # y is a choice of the entries of x
        if passed and observation.noise == 0:
            return completed(y, ~known, mean, self._precision(k), z)
        start = mean.expand(len(y), -1) if z is None else mean + z @ self._root(k).T
        if y.shape[1] == 0:
            return start
        if passed:
            cross = covariance[known].double()
            return corrected(start, (y - start)[:, known], cross, cross[:, known], observation.noise)
        matrix = self._matrix(operator, i)
        cross = matrix @ covariance.double()
        noise = max(observation.noise, ROUNDING)
        return corrected(start, y - start @ matrix.T, cross, cross @ matrix.T, noise)

    def _iterated(
        self, k: int, observation: Observation, at: Int[Tensor, " m"], rows: Tensor, z: Tensor | None
    ) -> tuple[Float64[Tensor, "m d"], Bool[Tensor, " n"]]:
        """The answers of images that are blurred each in its own way, and of which of all images they can be believed."""
        operator, mean, covariance = observation.operator.pick(at), self.means[k].double(), self.covariances[k]
        shape = (len(at), self.spec.channels, *self.spec.size)
        start = mean.expand(len(at), -1) if z is None else mean + z[at] @ self._root(k).T

        def forward(v: Tensor) -> Tensor:
            return operator.forward(v.view(shape).float()).flatten(1).double()

        correction, off = filtered(
            rows[at] - forward(start),
            forward,
            lambda v: operator.adjoint(v.view(shape).float()).flatten(1).double(),
            lambda v: (v.float() @ covariance).double(),
            self._kept("spectrum", k, lambda: spectrum(covariance.double(), self.spec.channels, self.spec.size)),
            observation.noise,
        )
        good = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
        good[at] = off <= NEAR
        return start + correction, good

    def _matrix(self, operator: Operator, i: int) -> Float64[Tensor, "q d"]:
        """A of image i, from what it makes of basis images."""
        columns, d = [], self.spec.dimensions
        for places in torch.arange(d, device=self.device).split(AT_ONCE):
            basis = torch.zeros(len(places), d, device=self.device).scatter_(1, places[:, None], 1.0)
            same = operator.pick(torch.full_like(places, i))
            columns.append(same.forward(basis.view(-1, self.spec.channels, *self.spec.size)).flatten(1))
        return torch.cat(columns).double().T

    def _sharing(self, operator: Operator, places: Int[Tensor, " n"]) -> Iterator[Int[Tensor, " m"]]:
        """Places of the images that share A, told by its answers to one random image."""
        probe = normals(stream(0, "probe"), 1, self.spec.channels, *self.spec.size).to(self.device)
        answers = operator.pick(places).forward(probe.expand(len(places), -1, -1, -1)).flatten(1)
        rest = torch.arange(len(places), device=places.device)
        while len(rest):
            same = ((answers[rest] - answers[rest[0]]).abs() <= ALIKE).all(1)
            yield places[rest[same]]
            rest = rest[~same]

    def _by_class(self, label: Int[Tensor, " B"] | None, n: int) -> Iterator[tuple[int, Int[Tensor, " m"]]]:
        """Each Gaussian that is asked for and the places of its images."""
        told = torch.full((n,), len(self.means) - 1) if label is None else label
        for k in told.unique().tolist():
            yield k, (told == k).nonzero()[:, 0].to(self.device)

    def _check(self, size: Size) -> None:
        if tuple(size) != self.spec.size:
            known = self.spec.size
            raise ShapeError(
                f"images of {tuple(size)} for a gaussian of {known}; it knows one size: fit it at that one"
            )

    def _kept(self, name: str, k: int, make: Callable[[], Any]) -> Any:
        """Something derived from covariance k, made again when the covariances change or memory had to go to others."""
        table, version = self.covariances, self.covariances._version
        if self._source is None or self._source[0] is not table or self._source[1] != version:
            self._source, self._derived = (table, version), {}
        if (name, k) not in self._derived:
            made = make()
            while self._derived and made.nbytes + sum(kept.nbytes for kept in self._derived.values()) > MOST:
                del self._derived[next(iter(self._derived))]
            self._derived[name, k] = made
        return self._derived[name, k]

    def law(self, k: int = -1) -> Mixture:
        """N(m, C) of a class or, with -1, of all images."""
        k %= len(self.means)
        return self._kept(
            "law", k, lambda: Mixture.of(torch.ones(1), self.means[k : k + 1], self.covariances[k : k + 1])
        )

    def denoiser(self, condition: Condition = NOTHING) -> Denoiser:
        """E[x_0 | x_t] by its formula, on the cosine schedule: what restores with a denoiser can be tried on it."""

        def call(x_t: Images, t: Times) -> Denoised:
            self._check((x_t.shape[2], x_t.shape[3]))
            mean, at_t = torch.empty_like(x_t), SCHEDULE.at(float(t.flatten()[0]))
            for k, at in self._by_class(condition.label, len(x_t)):
                mean = mean.index_put(
                    (at,), self.law(k).denoised(x_t[at].flatten(1), *at_t).to(x_t.dtype).view_as(x_t[at])
                )
            return Denoised(mean)

        return From(SCHEDULE, call)

    def _root(self, k: int) -> Float64[Tensor, "d d"]:
        return self._kept("root", k, lambda: torch.linalg.cholesky(self.covariances[k].double()))

    def _precision(self, k: int) -> Float64[Tensor, "d d"]:
        return self._kept("precision", k, lambda: torch.cholesky_inverse(self._root(k)))
