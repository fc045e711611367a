"""Mixtures of Gaussians: fitted by expectation and maximisation, drawn from, and their density."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64
from torch import Generator, Tensor

from sfumato.errors import ShapeError
from sfumato.maths.clusters import k_means, nearest


class Mixture(NamedTuple):
    """sum_k w_k N(m_k, L_k L_k^T)."""

    weights: Float64[Tensor, " K"]
    means: Float64[Tensor, "K d"]
    factors: Float64[Tensor, "K d d"]
    """Lower Cholesky factors of the covariances."""

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
            >>> one = Mixture(torch.ones(1).double(), torch.zeros(1, 1).double(), torch.eye(1)[None].double())
            >>> round(float(one.log_prob(torch.zeros(1, 1))), 4)
            -0.9189
        """
        return self.log_joint(x).logsumexp(1)

    def at(self, uniform: Float[Tensor, " n"], normal: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Draws, from uniform numbers that choose the component and normal ones that are moved by it."""
        edges = self.weights.cumsum(0).to(uniform)
        k = torch.searchsorted(edges, uniform.contiguous()).clamp(max=len(self.weights) - 1)
        every = torch.einsum("kij,nj->kni", self.factors.to(normal), normal)  # one product for all: faster than by draw
        return self.means.to(normal)[k] + every[k, torch.arange(len(k), device=k.device)]


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
