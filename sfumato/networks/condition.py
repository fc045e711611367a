"""Condition: everything that a network may be told beside noise and time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sfumato.networks.layers import Maps


@dataclass(frozen=True)
class Condition:
    """An image and a label, each where there is one.

    Example:
        >>> Condition(label=torch.tensor([1, 2])).pick(slice(0, 1)).label
        tensor([1])
    """

    image: Maps | None = None
    """cat(preview of what was observed, known pixels), or another picture to start from. A pixel is known (1), not known (0),
    given with noise (1 - its deviation), or noised on purpose (minus the share of noise: cascades)."""
    label: Int[Tensor, " B"] | None = None
    """A class; the number of classes itself stands for "not told"."""

    def pick(self, places: slice | Int[Tensor, " M"]) -> Condition:
        """The condition of some of the images."""
        image, label = (None if part is None else part[places] for part in (self.image, self.label))
        return Condition(image, label)

    def imposed(self, x: Maps) -> Maps:
        """x with the pixels put back that are known exactly; those seen through noise are not."""
        if self.image is None:
            return x
        known = (self.image[:, -1:] == 1).to(x.dtype)
        return known * self.image[:, :-1] + (1.0 - known) * x

    def beside(self, x: Maps) -> Maps:
        """cat(x, image): what a network sees first."""
        return x if self.image is None else torch.cat([x, self.image], dim=1)


class FromLatent(nn.Module):
    """What generators share: z, mapped to `embedding` numbers where that is given, plus a vector of the label."""

    def __init__(self, latent: int, classes: int, embedding: int | None):
        super().__init__()
        self.map = nn.Linear(latent, embedding) if embedding else None
        self.label = nn.Embedding(classes, embedding or latent) if classes else None

    def told(self, z: Float[Tensor, "B k"], condition: Condition) -> Float[Tensor, "B d"]:
        """The vector that every block is told."""
        z = z if self.map is None else self.map(z)
        return z if self.label is None else z + self.label(condition.label)


NOTHING = Condition()
"""Nothing is told."""
