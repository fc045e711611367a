"""Optimisers: how weights move; a slot of the families. It owns its rates and their schedules; the trainer takes the steps."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any, Literal, final

import torch
from pydantic import Field

from sfumato.config import Strict
from sfumato.kinds import Kind

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Groups = Sequence[dict[str, Any]]


class Rate(Strict):
    """What every optimiser has."""

    lr: float = Field(default=1e-3, gt=0.0)
    """Learning rate after the warm-up."""
    weight_decay: float = Field(default=0.0, ge=0.0)
    """Shrinkage of the weights."""
    warmup: float = Field(default=0.02, ge=0.0, lt=1.0)
    """Share of the budget over which the rate rises from 0."""
    decay: Literal["constant", "linear", "cosine"] = "cosine"
    """What the rate does afterwards: stay, or fall to 0 evenly or along a cosine."""
    clip: float | None = Field(default=None, gt=0.0)
    """Largest norm of the gradient; null for no limit."""


class Betas(Rate):
    """What the relatives of Adam have."""

    betas: tuple[Share, Share] = (0.9, 0.99)
    """Decay of the running mean and of the running square."""
    betas_end: tuple[Share, Share] | None = None
    """Where the decays move to, along half a cosine over the budget; null to stay."""


class Optimizer(Kind, ABC, root=True):
    """Makes torch's optimiser for a player's groups and steers it by the share of the budget that is spent."""

    def __init__(self, config: Rate):
        self.config: Any = config

    @abstractmethod
    def make(self, groups: Groups) -> torch.optim.Optimizer:
        """torch's optimiser; each group has `params` and a factor `rate` of the learning rate."""

    @final
    def rate(self, progress: float) -> float:
        """lr min(1, progress / warmup), then constant, 1 - progress or (1 + cos(pi progress)) / 2 of it.

        Example:
            >>> AdamW(AdamW.Config(lr=1.0, warmup=0.0, decay="cosine")).rate(0.5)
            0.5
        """
        settings, at = self.config, min(progress, 1.0)
        rise = min(1.0, progress / settings.warmup + 1e-3) if settings.warmup > 0 else 1.0
        falls = {"constant": 1.0, "linear": 1.0 - at, "cosine": 0.5 * (1 + math.cos(math.pi * at))}
        return float(settings.lr * rise * falls[settings.decay])

    @final
    def steer(self, optimizer: torch.optim.Optimizer, progress: float) -> None:
        """Set rates and decays for the next step."""
        start, end = getattr(self.config, "betas", None), getattr(self.config, "betas_end", None)
        for group in optimizer.param_groups:
            group["lr"] = self.rate(progress) * group["rate"]
            if start is not None and end is not None:
                way = 0.5 * (1 - math.cos(math.pi * min(progress, 1.0)))
                group["betas"] = tuple(a + way * (b - a) for a, b in zip(start, end, strict=True))


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    class Config(Betas):
        kind: Literal["adamw"] = "adamw"

    def make(self, groups: Groups) -> torch.optim.Optimizer:
        c = self.config
        return torch.optim.AdamW(list(groups), lr=c.lr, betas=c.betas, weight_decay=c.weight_decay, fused=True)


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015), its weight decay a part of the gradient."""

    class Config(Betas):
        kind: Literal["adam"] = "adam"

    def make(self, groups: Groups) -> torch.optim.Optimizer:
        c = self.config
        return torch.optim.Adam(list(groups), lr=c.lr, betas=c.betas, weight_decay=c.weight_decay, fused=True)


class Adamax(Optimizer):
    """Adam with the largest gradient in place of the running square (Kingma and Ba, 2015)."""

    class Config(Betas):
        kind: Literal["adamax"] = "adamax"

    def make(self, groups: Groups) -> torch.optim.Optimizer:
        c = self.config
        return torch.optim.Adamax(list(groups), lr=c.lr, betas=c.betas, weight_decay=c.weight_decay)


class RMSProp(Optimizer):
    """Gradients over the root of their running square (Tieleman and Hinton, 2012)."""

    class Config(Rate):
        kind: Literal["rmsprop"] = "rmsprop"
        alpha: Share = 0.99
        """Decay of the running square."""

    def make(self, groups: Groups) -> torch.optim.Optimizer:
        c = self.config
        return torch.optim.RMSprop(list(groups), lr=c.lr, alpha=c.alpha, weight_decay=c.weight_decay)


class SGD(Optimizer):
    """Plain gradient descent, with momentum if wanted."""

    class Config(Rate):
        kind: Literal["sgd"] = "sgd"
        lr: float = Field(default=0.1, gt=0.0)
        """Learning rate after the warm-up; larger than Adam's, whose steps do not grow with the gradient."""
        clip: float | None = Field(default=1.0, gt=0.0)
        """Largest norm of the gradient, without which a steep loss throws plain descent far away; null for no limit."""
        momentum: Share = 0.0
        """Share of the last step that is kept."""

    def make(self, groups: Groups) -> torch.optim.Optimizer:
        c = self.config
        return torch.optim.SGD(list(groups), lr=c.lr, momentum=c.momentum, weight_decay=c.weight_decay)


class ASGD(Optimizer):
    """Averaged stochastic gradient descent (Polyak and Juditsky, 1992)."""

    class Config(Rate):
        kind: Literal["asgd"] = "asgd"
        lambd: float = Field(default=1e-4, ge=0.0)
        """Decay of the steps."""

    def make(self, groups: Groups) -> torch.optim.Optimizer:
        c = self.config
        return torch.optim.ASGD(list(groups), lr=c.lr, lambd=c.lambd, weight_decay=c.weight_decay)
