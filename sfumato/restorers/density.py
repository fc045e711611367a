"""Density: of all images that agree with what was observed, the likeliest to an unconditional model."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from sfumato.config import Strict
from sfumato.families.abilities import Decodes, Density
from sfumato.images import Images
from sfumato.restorers.base import Restorer, agree
from sfumato.streams import Rngs
from sfumato.tasks.base import Observation


class DensityAscent(Restorer):
    """argmax log p(x) over A x = y and [-1, 1]: steps of Adam on v, x = v + A+ (y - A v).

    With noise n in y it is argmax log p(x) - |y - A x|^2 / 2 n^2.

    It begins with the image of the latent vector 0, where the model has one. The likeliest image is no typical one: it is as
    smooth as a mean. The trained conditional of the same family draws a typical one.
    Reference: Dinh, Krueger and Bengio (2015), NICE, section 5.2, which adds noise to each step.
    """

    needs: ClassVar[type | None] = Density
    trains_on_tasks: ClassVar[bool] = False
    unconditional: ClassVar[bool] = True

    class Config(Strict):
        kind: Literal["density"] = "density"
        steps: int = Field(default=200, ge=1)
        """Steps of Adam."""
        lr: float = Field(default=0.05, gt=0.0)
        """Its rate at the beginning, on the scale of images; it falls to 0 along half a cosine."""

    def restore(self, observation: Observation, *, rng: Rngs) -> Images:
        """One answer for each image; no class is told."""
        return self.answer(observation, None, rng=rng)

    def answer(self, observation: Observation, label: Tensor | None, *, rng: Rngs) -> Images:
        """One answer for each image, of its class where the family has classes.

        Raises: CapabilityError: the family was trained for a task, or the operator is not known.
        """
        family: Any = self.family
        self.require_known(observation)
        n, told = len(observation), family.labels(label if family.labelled else None, len(observation), rng)
        condition = family.condition(None, told)
        with torch.no_grad():
            x = torch.zeros(n, family.spec.channels, *observation.operator.size, device=observation.y.device)
            if isinstance(family, Decodes):
                x = family.decode(torch.zeros_like(family.latent(n, rng)), condition)
        v = agree(x.clamp(-1.0, 1.0), observation).requires_grad_()
        optimizer = torch.optim.Adam([v], lr=self.config.lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.config.steps)
        for _ in range(self.config.steps):
            with torch.enable_grad():
                x = observation.project(v).clamp(-1.0, 1.0)
                nats = family.log_density(x, condition).sum()
                if not observation.exact:
                    apart = observation.y - observation.operator.forward(x)
                    nats = nats - apart.square().sum() / (2 * observation.noise**2)
                (v.grad,) = torch.autograd.grad(-nats, v)
            optimizer.step()
            schedule.step()
            v.data.clamp_(-1.0, 1.0)  # beyond, the clamp above has no slope, and a pixel would stay there
        return agree(v.detach(), observation)

    def calls(self) -> int:
        """Densities of one image, each with a gradient."""
        return int(self.config.steps)
