"""Mixtures of Gaussians: fitted by expectation and maximisation, drawn from, their density, and their denoiser at any noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64
from torch import Generator, Tensor

from sfumato.errors import ShapeError
from sfumato.maths.clusters import k_means, nearest

LEAST = 1e-12  # of a variance, where rounding would leave less than nothing


@dataclass(frozen=True)
class Mixture:
    """sum_k w_k N(m_k, L_k L_k^T)."""

    weights: Float64[Tensor, " K"]
    means: Float64[Tensor, "K d"]
    factors: Float64[Tensor, "K d d"]
    """Lower Cholesky factors of the covariances."""

    @classmethod
    def of(
        cls, weights: Float[Tensor, " K"], means: Float[Tensor, "K d"], covariances: Float[Tensor, "K d d"]
    ) -> Mixture:
        """From covariances."""
        return cls(weights.double(), means.double(), torch.linalg.cholesky(covariances.double()))

    @classmethod
    def round(cls, weights: Float[Tensor, " K"], means: Float[Tensor, "K d"], sigma: float) -> Mixture:
        """Of round Gaussians N(m_k, sigma^2 I)."""
        return cls(
            weights.double(), means.double(), sigma * torch.eye(means.shape[1]).double().expand(len(means), -1, -1)
        )

    @cached_property
    def axes(self) -> tuple[Float64[Tensor, "K d d"], Float64[Tensor, "K d"]]:
        """Unit axes of each component, in columns, and the variance along each."""
        variances, axes = torch.linalg.eigh(self.factors @ self.factors.mT)
        return axes, variances.clamp(min=LEAST)

    @property
    def nbytes(self) -> int:
        """What it and its axes take."""
        return 2 * self.factors.nbytes

    @property
    def covariance(self) -> Float64[Tensor, "d d"]:
        """Of all components together."""
        off = self.means - self.weights @ self.means
        total: Tensor = (
            self.weights[:, None, None] * (self.factors @ self.factors.mT + off[:, :, None] * off[:, None])
        ).sum(0)
        return total

    def log_joint(self, x: Float[Tensor, "n d"]) -> Float64[Tensor, "n K"]:
        """log w_k + log N(x; m_k, C_k)."""
        d = x.shape[1]
        apart = x.double()[None] - self.means[:, None]  # K n d
        white = torch.linalg.solve_triangular(self.factors, apart.transpose(1, 2), upper=False)
        size = self.factors.diagonal(dim1=1, dim2=2).log().sum(1)
        density = -0.5 * (white.square().sum(1) + d * math.log(2 * math.pi)) - size[:, None]
        return (self.weights.log()[:, None] + density).T

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float64[Tensor, " n"]:
        """The log density.

        Example:
            >>> one = Mixture.round(torch.ones(1), torch.zeros(1, 1), 1.0)
            >>> round(float(one.log_prob(torch.zeros(1, 1))), 4)
            -0.9189
        """
        return self.log_joint(x).logsumexp(1)

    def at(self, uniform: Float[Tensor, " n"], normal: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Draws, from uniform numbers that choose the component and normal ones that are moved by it."""
        edges = self.weights.cumsum(0).to(uniform)
        label = torch.searchsorted(edges, uniform.contiguous()).clamp(max=len(self.weights) - 1)
        made = self.means.to(normal)[label]
        for k in label.unique().tolist():
            made[label == k] += normal[label == k] @ self.factors[k].T.to(normal)
        return made

    def draw(self, n: int, rng: Generator) -> Float64[Tensor, "n d"]:
        """n draws."""
        uniform = torch.rand(n, generator=rng, dtype=torch.float64)
        return self.at(uniform, torch.randn(n, self.means.shape[1], generator=rng, dtype=torch.float64))

    def denoised(self, x_t: Float[Tensor, "n d"], alpha: float, sigma: float) -> Float64[Tensor, "n d"]:
        """E[x_0 | x_t] of x_t = alpha x_0 + sigma eps.

        It is sum_k p(k | x_t) (m_k + alpha C_k (alpha^2 C_k + sigma^2)^-1 (x_t - alpha m_k)).

        Example:
            >>> Mixture.round(torch.ones(1), torch.zeros(1, 1), 1.0).denoised(torch.ones(1, 1), 0.6, 0.8)
            tensor([[0.6000]], dtype=torch.float64)
        """
        axes, variances = self.axes
        noisy = alpha**2 * variances + sigma**2
        z = (x_t.double() - alpha * self.means[:, None]) @ axes  # K n d
        within = self.means[:, None] + (alpha * variances / noisy)[:, None] * z @ axes.mT
        log = self.weights.log()[:, None] - 0.5 * (z.square() / noisy[:, None] + noisy.log()[:, None]).sum(2)
        mean: Tensor = (log.softmax(0)[:, :, None] * within).sum(0)
        return mean

    def score(self, x_t: Float[Tensor, "n d"], alpha: float, sigma: float) -> Float64[Tensor, "n d"]:
        """grad log q(x_t) = (alpha E[x_0 | x_t] - x_t) / sigma^2 (Tweedie's formula), for sigma above 0."""
        return (alpha * self.denoised(x_t, alpha, sigma) - x_t) / sigma**2


def fit_mixture(
    x: Float[Tensor, "n d"],
    components: int,
    rng: Generator,
    *,
    rounds: int = 100,
    ridge: float = 1e-6,
    stop: float = 1e-4,
) -> Mixture:
    """The likeliest mixture that is found from a k-means start; each covariance gets `ridge` times the mean variance.

    Raises: ShapeError: fewer vectors than components.
    Reference: Dempster, Laird and Rubin (1977), Maximum likelihood from incomplete data via the EM algorithm.
    """
    if len(x) < components:
        raise ShapeError(f"{len(x)} vectors are too few for {components} components; give more, or ask for fewer")
    x = x.double()
    floor = ridge * float(x.var(0, unbiased=False).mean()) + 1e-12
    share = F.one_hot(nearest(x, k_means(x, components, rng)), components).double()
    before = -math.inf
    mixture = _maximised(x, share, floor)
    for _ in range(rounds):
        joint = mixture.log_joint(x)
        total = joint.logsumexp(1)
        now = float(total.mean())
        if now - before < stop:
            break
        before = now
        mixture = _maximised(x, (joint - total[:, None]).exp(), floor)
    return mixture


def _maximised(x: Float64[Tensor, "n d"], share: Float64[Tensor, "n K"], floor: float) -> Mixture:
    counts = share.sum(0).clamp(min=1e-9)
    means = share.T @ x / counts[:, None]
    eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    factors = []
    for k, mean in enumerate(means):
        apart = x - mean
        factors.append(torch.linalg.cholesky((share[:, k, None] * apart).T @ apart / counts[k] + floor * eye))
    return Mixture(counts / counts.sum(), means, torch.stack(factors))
