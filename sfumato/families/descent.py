"""Descent on pixels: a picture that is moved until a loss of it is small; no weight is."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.families.texture import Watch
from sfumato.images import Images


def descend(x: Images, loss: Callable[[Images], Float[Tensor, ""]], steps: int, rate: float, watch: Watch) -> Images:
    """The picture after so many steps of Adam; `watch` is told the share of the steps that are done.

    Example:
        >>> x = descend(torch.zeros(1, 1, 2, 2), lambda x: (x - 0.5).square().mean(), 200, 0.05, lambda done: None)
        >>> bool((x - 0.5).abs().max() < 0.01)
        True
    """
    with torch.enable_grad():
        moved = x.detach().clone().requires_grad_()
        mover = torch.optim.Adam([moved], lr=rate)
        for step in range(steps):
            (moved.grad,) = torch.autograd.grad(loss(moved), moved)
            mover.step()
            watch((step + 1) / steps)
    return moved.detach()
