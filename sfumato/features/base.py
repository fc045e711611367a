"""Features: images to vectors, with the hash of the weights that made them.

A distance between features is only as comparable as the features, so every extractor says its name, its dimension, how it
resizes and the SHA-256 of its weights, and they travel with each figure.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.config import Strict
from sfumato.features.memory import Memory
from sfumato.images import Images, Pixels
from sfumato.kinds import Kind, build


class Features(Kind, ABC, root=True):
    """A fixed network that turns uint8 images of any size and 1 or 3 channels into vectors."""

    dim: int
    """The length of a vector."""
    tag: str
    """What labels say of these features; empty for the 2015 Inception graph behind its own resize, which needs no word."""
    graph_2015: ClassVar[bool] = False
    """True for the 2015 Inception graph alone, on which the field's names hold: FID, KID, IS."""
    resize: str
    """How images become the network's input, in words."""
    digest: str
    """SHA-256 of the weights, in hexadecimal."""
    at_once: int = 32
    """Images in one pass. Every pass has this many, the last one filled up: so the batch size cannot change a bit."""

    @abstractmethod
    def extract(self, pixels: Pixels) -> Float[Tensor, "B D"]:
        """Vectors of one batch, float32, on the device of the pixels."""

    @property
    def label(self) -> str:
        """How a Frechet distance on these features is called: FID, or FD-<features>."""
        return self.called("FID", "FD")

    def called(self, official: str, other: str) -> str:
        """The name of a figure: the field's own on the 2015 Inception graph, else another with the features' name.

        Example:
            >>> from sfumato.features.lite0 import Lite0
            >>> Lite0(Lite0.Config()).called("KID", "KD")
            'KD-lite0'
        """
        name = official if self.graph_2015 else other
        return f"{name}-{self.tag}" if self.tag else name

    def about(self) -> dict[str, Any]:
        """What a card says of the features; two figures are comparable only where this is equal."""
        return {"name": self.label, "dimensions": self.dim, "sha256": self.digest, "resize": self.resize}

    @final
    @torch.inference_mode()
    def __call__(self, pixels: Pixels, batch: int | None = None) -> Float[Tensor, "B D"]:
        """Vectors of any number of images.

        They depend on each image alone: not on `batch`, nor on what else is in it.
        """
        parts = pixels.split(batch or max(len(pixels), 1))
        return torch.cat([self._remembered(part) for part in parts])

    def _remembered(self, pixels: Pixels) -> Float[Tensor, "B D"]:
        memory: Memory = self.__dict__.setdefault("_memory", Memory())
        found = memory.find(pixels)
        if found is None:
            found = self.passes(pixels)
            memory.keep(pixels, found)
        return found

    @torch.inference_mode()
    def passes(self, pixels: Pixels) -> Float[Tensor, "B D"]:
        """Vectors of images that nobody will ask for again."""
        if len(pixels) == 0:
            return self.extract(pixels)
        parts = []
        for part in pixels.split(self.at_once):
            missing = self.at_once - len(part)
            full = torch.cat([part, part[-1:].expand(missing, -1, -1, -1)]) if missing and part.ndim == 4 else part
            parts.append(self.extract(full)[: len(part)])
        return torch.cat(parts)


class Layered(ABC):
    """Features that can show maps on their way: for perceptual distances and for statistics of a single image."""

    @abstractmethod
    def layers(self, pixels: Pixels) -> Mapping[str, Float[Tensor, "B C h w"]]:
        """Maps by name, from early to late, float32, on the device of the pixels; gradients are not kept."""


class Perceives(ABC):
    """Features whose maps a loss can follow: gradients reach the images."""

    @abstractmethod
    def maps(self, x: Images) -> Iterator[tuple[str, Float[Tensor, "B C h w"]]]:
        """Maps of images in [-1, 1], at the size they have, by name, early ones first; none is made before it is asked for."""


class Classifies(ABC):
    """Features that end in a classifier, whose opinion the Inception Score asks."""

    @abstractmethod
    def logits(self, vectors: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """Scores of K classes from the vectors, before the softmax."""


_extractors: dict[str, Features] = {}


def extractor(config: Strict, device: torch.device | str = "cpu") -> Features:
    """The feature network of these settings, loaded once a process."""
    device = torch.empty(0, device=device).device  # "cuda" is "cuda:0" here
    key = f"{config.to_json()} {device}"
    if key not in _extractors:
        _extractors[key] = build(config, device=device)
    return _extractors[key]
