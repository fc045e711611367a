"""Gaussian diffusion in closed form (Ho, Jain and Abbeel, 2020): x_t = alpha x_0 + sigma eps.

`alpha` and `sigma` broadcast against the images. For the usual schedules alpha = sqrt(alpha_bar) and alpha^2 + sigma^2 = 1, but
no formula here needs that. Time rises with noise.
"""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

from jaxtyping import Float
from torch import Tensor

X = Float[Tensor, " *shape"]
Coefficient = Float[Tensor, " *#shape"]
Scalar = Coefficient | float
S = TypeVar("S", float, Tensor)


def diffuse(x_0: X, eps: X, alpha: Scalar, sigma: Scalar) -> X:
    """x_t = alpha x_0 + sigma eps, a draw of q(x_t | x_0)."""
    return alpha * x_0 + sigma * eps


def x_0_from_eps(x_t: X, eps: X, alpha: Scalar, sigma: Scalar) -> X:
    """x_0 = (x_t - sigma eps) / alpha."""
    return (x_t - sigma * eps) / alpha


def eps_from_x_0(x_t: X, x_0: X, alpha: Scalar, sigma: Scalar) -> X:
    """eps = (x_t - alpha x_0) / sigma."""
    return (x_t - alpha * x_0) / sigma


def velocity(x_0: X, eps: X, alpha: Scalar, sigma: Scalar) -> X:
    """v = alpha eps - sigma x_0 (Salimans and Ho, 2022)."""
    return alpha * eps - sigma * x_0


def x_0_from_velocity(x_t: X, v: X, alpha: Scalar, sigma: Scalar) -> X:
    """x_0 = (alpha x_t - sigma v) / (alpha^2 + sigma^2)."""
    return (alpha * x_t - sigma * v) / (alpha**2 + sigma**2)


class Posterior(NamedTuple, Generic[S]):
    """Of q(x_s | x_t, x_0) for s < t, steps left out or not."""

    beta: S
    """The variance of the step s -> t: sigma_t^2 - (alpha_t / alpha_s)^2 sigma_s^2."""
    beta_tilde: S
    """Its own variance: sigma_s^2 beta / sigma_t^2."""
    factor: S
    """Of x_0 in its mean: alpha_s beta / sigma_t^2."""


def posterior(at_t: tuple[S, S], at_s: tuple[S, S]) -> Posterior[S]:
    """From (alpha, sigma) at both times."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = at_t, at_s
    beta = sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2
    return Posterior(beta, sigma_s**2 * beta / sigma_t**2, alpha_s * beta / sigma_t**2)


def posterior_mean(x_0: X, x_t: X, at_t: tuple[float, float], at_s: tuple[float, float]) -> X:
    """The mean of q(x_s | x_t, x_0): (alpha_s beta x_0 + r sigma_s^2 x_t) / sigma_t^2 with r = alpha_t / alpha_s.

    One step apart this is equation 7 of Ho et al. (2020).
    """
    (alpha_t, sigma_t), (alpha_s, sigma_s) = at_t, at_s
    return posterior(at_t, at_s).factor * x_0 + (alpha_t / alpha_s * sigma_s**2 / sigma_t**2) * x_t


def ddim(x_t: X, x_0: X, at_t: tuple[float, float], at_s: tuple[float, float]) -> X:
    """x_s = alpha_s x_0 + sigma_s eps, with the eps that x_t and x_0 mean, from (alpha, sigma) at both times."""
    return at_s[0] * x_0 + at_s[1] * eps_from_x_0(x_t, x_0, *at_t)


def score_from_x_0(x_t: X, x_0: X, alpha: Scalar, sigma: Scalar) -> X:
    """grad log q(x_t) = (alpha E[x_0 | x_t] - x_t) / sigma^2 (Tweedie)."""
    return (alpha * x_0 - x_t) / sigma**2
