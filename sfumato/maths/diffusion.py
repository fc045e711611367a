"""Gaussian diffusion in closed form (Ho, Jain and Abbeel, 2020): x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps.

`alpha_bar` is a tensor that broadcasts against the images; time t rises with noise.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

X = Float[Tensor, "*shape"]
Coefficient = Float[Tensor, "*#shape"]


def diffuse(x_0: X, eps: X, alpha_bar: Coefficient) -> X:
    """x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps, a draw of q(x_t | x_0)."""
    return alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * eps


def x_0_from_eps(x_t: X, eps: X, alpha_bar: Coefficient) -> X:
    """x_0 = (x_t - sqrt(1 - alpha_bar) eps) / sqrt(alpha_bar)."""
    return (x_t - (1 - alpha_bar).sqrt() * eps) / alpha_bar.sqrt()


def eps_from_x_0(x_t: X, x_0: X, alpha_bar: Coefficient) -> X:
    """eps = (x_t - sqrt(alpha_bar) x_0) / sqrt(1 - alpha_bar)."""
    return (x_t - alpha_bar.sqrt() * x_0) / (1 - alpha_bar).sqrt()


def velocity(x_0: X, eps: X, alpha_bar: Coefficient) -> X:
    """v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0 (Salimans and Ho, 2022)."""
    return alpha_bar.sqrt() * eps - (1 - alpha_bar).sqrt() * x_0


def x_0_from_velocity(x_t: X, v: X, alpha_bar: Coefficient) -> X:
    """x_0 = sqrt(alpha_bar) x_t - sqrt(1 - alpha_bar) v."""
    return alpha_bar.sqrt() * x_t - (1 - alpha_bar).sqrt() * v


def posterior(x_0: X, x_t: X, alpha_bar_t: Coefficient, alpha_bar_s: Coefficient) -> tuple[X, Coefficient]:
    """Mean and variance (beta-tilde) of q(x_s | x_t, x_0) for s < t, steps left out or not.

    With alpha = alpha_bar_t / alpha_bar_s and beta = 1 - alpha:
    mean = sqrt(alpha_bar_s) beta / (1 - alpha_bar_t) x_0 + sqrt(alpha) (1 - alpha_bar_s) / (1 - alpha_bar_t) x_t,
    variance = (1 - alpha_bar_s) / (1 - alpha_bar_t) beta. At s = t - 1 these are equations 6 and 7 of Ho et al. (2020).
    """
    alpha = alpha_bar_t / alpha_bar_s
    beta = 1 - alpha
    mean = (alpha_bar_s.sqrt() * beta * x_0 + alpha.sqrt() * (1 - alpha_bar_s) * x_t) / (1 - alpha_bar_t)
    return mean, (1 - alpha_bar_s) / (1 - alpha_bar_t) * beta


def score_from_eps(eps: X, alpha_bar: Coefficient) -> X:
    """grad log q(x_t) = -eps / sqrt(1 - alpha_bar), where eps is the expected noise."""
    return -eps / (1 - alpha_bar).sqrt()
