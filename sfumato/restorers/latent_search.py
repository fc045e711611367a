"""Latent search: of all images that an unconditional model decodes, the one that agrees with what was observed."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from sfumato.config import Strict
from sfumato.families.abilities import Decodes
from sfumato.images import Images
from sfumato.networks.condition import Condition
from sfumato.restorers.base import Restorer, agree
from sfumato.streams import Rngs
from sfumato.tasks.base import Observation


class LatentSearch(Restorer):
    """argmin_z |y - A G(z)|^2 / m + prior |z|^2 / k by Adam, from the best of some draws; then x + A+ (y - A x).

    m numbers were measured, z has k. Every image has its own search, which no other one of the batch disturbs.
    Reference: Bora, Jalal, Price and Dimakis (2017), Compressed sensing using generative models; Schlegl et al. (2017), AnoGAN.
    """

    needs: ClassVar[type | None] = Decodes
    trains_on_tasks: ClassVar[bool] = False
    unconditional: ClassVar[bool] = True

    class Config(Strict):
        kind: Literal["latent_search"] = "latent_search"
        steps: int = Field(default=150, ge=1)
        """Steps of Adam."""
        lr: float = Field(default=0.1, gt=0.0)
        """Its rate at the beginning; it falls to 0 along half a cosine."""
        starts: int = Field(default=8, ge=1)
        """Draws of z from the prior; the search begins at the one that agrees best."""
        prior: float = Field(default=0.01, ge=0.0)
        """Weight of the length of z, which keeps the search where the model was trained."""

    def restore(self, observation: Observation, *, rng: Rngs) -> Images:
        """One answer for each image; no class is told."""
        return self.answer(observation, None, rng=rng)

    def answer(self, observation: Observation, label: Tensor | None, *, rng: Rngs) -> Images:
        """One answer for each image, of its class where the family has classes.

        Raises: CapabilityError: the family was trained for a task.
        """
        family: Any = self.family
        self.require_known(observation)
        n, told = len(observation), family.labels(label if family.labelled else None, len(observation), rng)
        condition = family.condition(None, told)
        with torch.no_grad():
            z = family.latent(n, rng)
            best = self.distance(z, observation, condition)
            for _ in range(self.config.starts - 1):
                other = family.latent(n, rng)
                error = self.distance(other, observation, condition)
                z[error < best], best = other[error < best], torch.minimum(error, best)
        z = self.search(z.detach(), observation, condition)
        with torch.no_grad():
            return agree(family.picture(z, condition), observation)

    def search(self, z: Tensor, observation: Observation, condition: Condition) -> Tensor:
        """z moved to where distance and prior are small together."""
        z = z.clone().requires_grad_(True)
        optimizer = torch.optim.Adam([z], lr=self.config.lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.config.steps)
        with torch.enable_grad():
            for _ in range(self.config.steps):
                short = self.config.prior * z.flatten(1).square().mean(1)
                (z.grad,) = torch.autograd.grad((self.distance(z, observation, condition) + short).sum(), z)
                optimizer.step()
                schedule.step()
        return z.detach()

    def distance(self, z: Tensor, observation: Observation, condition: Condition) -> Float[Tensor, " B"]:
        """|y - A G(z)|^2 / m of each image, over what was measured."""
        family: Any = self.family
        apart = (observation.operator.forward(family.decode(z, condition)) - observation.y).flatten(1).square()
        return apart.sum(1) / self.measured(observation)

    def measured(self, observation: Observation) -> Float[Tensor, " B"]:
        """m: how many numbers of y say anything of the image."""
        family: Any = self.family
        operator, channels = observation.operator, family.spec.channels
        ones = torch.ones(operator.n, channels, *operator.size, device=observation.y.device)
        return (operator.forward(ones) != 0).flatten(1).sum(1).clamp(min=1)

    def calls(self) -> int:
        """Decodings of one image, those with a gradient counted once."""
        return int(self.config.starts + self.config.steps + 1)
