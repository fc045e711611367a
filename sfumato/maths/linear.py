"""Linear systems of symmetric positive definite operators that are functions, not matrices."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def conjugate_gradients(
    apply: Callable[[Tensor], Tensor],
    b: Tensor,
    steps: int = 50,
    tolerance: float = 1e-5,
    precondition: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """x with apply(x) = b, each item of the batch a system of its own.

    It ends when every residual is below `tolerance` times its right-hand side. `precondition` is a symmetric positive
    definite guess of the inverse of `apply`: the better it is, the fewer steps are needed.
    Reference: Hestenes and Stiefel (1952), Methods of conjugate gradients for solving linear systems.

    Example:
        >>> d = torch.tensor([[1.0, 2.0, 4.0]])
        >>> [round(x, 3) for x in conjugate_gradients(lambda x: d * x, torch.ones(1, 3))[0].tolist()]
        [1.0, 0.5, 0.25]
    """

    def dot(u: Tensor, v: Tensor) -> Tensor:
        return (u * v).flatten(1).sum(1).view(-1, *[1] * (b.ndim - 1))

    x = torch.zeros_like(b)
    residual, first = b, dot(b, b)
    direction = guess = b if precondition is None else precondition(b)
    square = dot(residual, guess)
    for _ in range(steps):
        if bool((dot(residual, residual) <= tolerance**2 * first).all()):
            break
        image = apply(direction)
        step = square / dot(direction, image).clamp(min=1e-30)
        x = x + step * direction
        residual = residual - step * image
        guess = residual if precondition is None else precondition(residual)
        before, square = square, dot(residual, guess)
        direction = guess + square / before.clamp(min=1e-30) * direction
    return x
