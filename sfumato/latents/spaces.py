"""Spaces: where the codes of a model are mixed, added and searched: its latent vectors, or the styles of its layers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from sfumato.errors import CapabilityError, ConfigError
from sfumato.families.abilities import Decodes, Styles
from sfumato.families.base import Family
from sfumato.images import Images, Pixels, to_uint8
from sfumato.networks.condition import Condition
from sfumato.streams import normals, stream

Part = Literal["coarse", "middle", "fine"]
PARTS: tuple[Part, ...] = ("coarse", "middle", "fine")


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """From a to b along the arc between them, lengths changing evenly: what lies between normal vectors is as long as they are.

    Example:
        >>> [round(float(v), 4) for v in slerp(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), 0.5)[0]]
        [0.7071, 0.7071]
    """
    flat = a.flatten(1), b.flatten(1)
    lengths = [part.norm(dim=1, keepdim=True).clamp(min=1e-12) for part in flat]
    one, two = (part / length for part, length in zip(flat, lengths, strict=True))
    angle = (one * two).sum(1, keepdim=True).clamp(-1 + 1e-6, 1 - 1e-6).arccos()
    way = (torch.sin((1 - t) * angle) * one + torch.sin(t * angle) * two) / torch.sin(angle)
    return (way * torch.lerp(lengths[0], lengths[1], t)).view_as(a)


class Space(ABC):
    """Codes of a model that was trained on generation."""

    def __init__(self, family: Any, label: int | None = None):
        self.family, self.label = family, label

    def draws(self, numbers: Sequence[int], seed: int) -> tuple[Tensor, Condition]:
        """The codes of the draws that `sfumato sample` gives these numbers, the first 0, and their classes."""
        rngs = [stream(seed, "sample", i, device=self.family.device) for i in numbers]
        told = Condition(label=self.family.labels(self.label, len(rngs), rngs))
        return self.of(self.family.latent(len(rngs), rngs), told), told

    def condition(self, n: int, seed: int = 0) -> Condition:
        """The class of n images: the one that was chosen, or one drawn for all of them."""
        told = self.family.labels(self.label, 1, stream(seed, "label", device=self.family.device))
        return Condition(label=None if told is None else told.expand(n))

    def one_class(self) -> None:
        """Raises: ConfigError: codes say nothing of the class, and none was chosen."""
        if self.family.labelled and self.label is None:
            raise ConfigError(
                f"draws of this {self.family.config.kind} have classes that their codes do not say; choose one: --class 3"
            )

    @abstractmethod
    def of(self, z: Tensor, condition: Condition) -> Tensor:
        """The codes of latent vectors."""

    @abstractmethod
    def image(self, code: Tensor, condition: Condition) -> Images:
        """Their images; differentiable."""

    @abstractmethod
    def between(self, a: Tensor, b: Tensor, t: float) -> Tensor:
        """From a to b."""

    @abstractmethod
    def parted(self, own: Tensor, other: Tensor, part: Part) -> Tensor:
        """`own` with a third of it taken from `other`."""

    @abstractmethod
    def start(self, n: int, each: bool) -> Tensor:
        """n codes to begin a search from; one style for all layers, or one for `each`."""

    def picture(self, code: Tensor, condition: Condition) -> Images:
        """Their images as they are shown."""
        return self.image(code, condition)

    @torch.no_grad()
    def pixels(self, code: Tensor, condition: Condition) -> Pixels:
        """Their images to look at."""
        return to_uint8(self.picture(code, condition)).cpu()

    @torch.no_grad()
    def spread(self) -> float:
        """The deviation of codes from their mean, over a thousand draws."""
        z = self.family.latent(1000, stream(0, "spread", device=self.family.device))
        codes = self.of(z, self.condition(1000))
        return float((codes - codes.mean(0)).square().mean().sqrt())

    def beside(self, code: Tensor, share: float, n: int, seed: int) -> Tensor:
        """n codes about one, moved by a share of the deviation of all."""
        noise = normals(stream(seed, "beside", device=code.device), n, *code.shape[1:])
        return code + share * self.spread() * noise


class Vectors(Space):
    """Latent vectors as they are: between two of them along the arc."""

    def of(self, z: Tensor, condition: Condition) -> Tensor:
        return z

    def image(self, code: Tensor, condition: Condition) -> Images:
        made: Images = self.family.decode(code, condition)
        return made

    def picture(self, code: Tensor, condition: Condition) -> Images:
        made: Images = self.family.picture(code, condition)
        return made

    def between(self, a: Tensor, b: Tensor, t: float) -> Tensor:
        return slerp(a, b, t)

    def parted(self, own: Tensor, other: Tensor, part: Part) -> Tensor:
        """The first, second or last third of the numbers."""
        flat = own.flatten(1).clone()
        here = third(flat.shape[1], part)
        flat[:, here] = other.flatten(1)[:, here]
        return flat.view_as(own)

    def start(self, n: int, each: bool) -> Tensor:
        z: Tensor = self.family.latent(n, stream(0, "start", device=self.family.device))
        return z


class LayerStyles(Space):
    """A style for every layer: straight lines, and layers taken from another. Noise is the network's own."""

    def one_class(self) -> None:
        """The class is in the styles."""

    def of(self, z: Tensor, condition: Condition) -> Tensor:
        w: Tensor = self.family.styles(z, condition)
        return w

    def image(self, code: Tensor, condition: Condition) -> Images:
        """One style is heard by all layers."""
        made: Images = self.family.paint(code.expand(-1, len(self.family.mean_style()), -1), condition)
        return made

    def between(self, a: Tensor, b: Tensor, t: float) -> Tensor:
        return torch.lerp(a, b, t)

    def parted(self, own: Tensor, other: Tensor, part: Part) -> Tensor:
        """The coarse, middle or fine third of the layers."""
        mixed, here = own.clone(), third(own.shape[1], part)
        mixed[:, here] = other[:, here]
        return mixed

    def start(self, n: int, each: bool) -> Tensor:
        """The mean style."""
        mean: Tensor = self.family.mean_style()
        return (mean if each else mean[:1]).expand(n, -1, -1).clone()


def third(n: int, part: Part) -> slice:
    """Where a third of n lies.

    Example:
        >>> third(8, "middle")
        slice(3, 5, None)
    """
    ends = [round(i * n / 3) for i in range(4)]
    place = PARTS.index(part)
    return slice(ends[place], ends[place + 1])


def space_of(family: Family, label: int | None = None) -> Space:
    """Where the codes of a family are mixed.

    Raises: CapabilityError: it decodes no latent vectors, or was trained to restore. ConfigError: no such class.
    """
    if family.spec.condition:
        raise CapabilityError(
            f"this {family.config.kind} was trained to restore, so its latent vectors say nothing alone; train it on generation"
        )
    if not isinstance(family, Decodes):
        raise CapabilityError(f"a {family.config.kind} decodes no latent vectors; a gan, vae, flow or stylegan2 does")
    if label is not None and not family.labelled:
        raise ConfigError(f"this {family.config.kind} was trained without labels; leave the class out")
    return (LayerStyles if isinstance(family, Styles) else Vectors)(family, label)
