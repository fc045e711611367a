"""A mixture of Gaussians as a law of images: its denoiser and its draws in closed form, to hold any walk against."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Generator, Tensor

from sfumato.images import Images
from sfumato.samplers.denoiser import Denoised, Denoiser, From, Times
from sfumato.samplers.schedules import Schedule

LEAST = 1e-12  # of a variance


@dataclass(frozen=True)
class Mixture:
    """sum_k w_k N(m_k, C_k) of images as rows of d numbers, each C_k by its axes; one component is a Gaussian."""

    weights: Float64[Tensor, " K"]
    means: Float64[Tensor, "K d"]
    axes: Float64[Tensor, "K d d"]
    """Columns: eigenvectors."""
    variances: Float64[Tensor, "K d"]

    @classmethod
    def of(cls, weights: Tensor, means: Tensor, covariances: Tensor) -> Mixture:
        """From covariances [K, d, d]."""
        values, vectors = torch.linalg.eigh(covariances.double())
        return cls(weights.double(), means.double(), vectors, values.clamp(min=LEAST))

    def covariance(self) -> Float64[Tensor, "d d"]:
        """Of all components together."""
        off = self.means - self.weights @ self.means
        own = (self.axes * self.variances[:, None]) @ self.axes.mT
        total: Tensor = (self.weights[:, None, None] * (own + off[:, :, None] * off[:, None])).sum(0)
        return total

    def draw(self, n: int, rng: Generator) -> Float64[Tensor, "n d"]:
        """n images."""
        label = torch.multinomial(self.weights, n, replacement=True, generator=rng)
        z = torch.randn(n, self.means.shape[1], generator=rng, dtype=torch.float64) * self.variances[label].sqrt()
        made = self.means[label]
        for k in label.unique().tolist():
            made[label == k] += z[label == k] @ self.axes[k].T
        return made

    def denoiser(self, schedule: Schedule) -> Denoiser:
        """E[x_0 | x_t] = sum_k p(k | x_t) (m_k + C_k a (a^2 C_k + s^2)^-1 (x_t - a m_k)), a = alpha(t), s = sigma(t)."""

        def call(x_t: Images, t: Times) -> Denoised:
            a, s = schedule.at(float(t.flatten()[0]))
            rows, noisy = x_t.flatten(1).double(), a**2 * self.variances + s**2
            z = (rows - a * self.means[:, None]) @ self.axes  # [K, n, d]
            within = self.means[:, None] + (a * self.variances / noisy)[:, None] * z @ self.axes.mT
            log = self.weights.log()[:, None] - 0.5 * (z.square() / noisy[:, None] + noisy.log()[:, None]).sum(2)
            mean = (log.softmax(0)[:, :, None] * within).sum(0)
            return Denoised(mean.to(x_t.dtype).view_as(x_t))

        return From(schedule, call)
