"""Features: images to vectors, with the hash of the weights that made them.

A Frechet distance is only as comparable as its features, so every extractor says its name, its dimension and the SHA-256
of its weights, and they travel with each figure.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.images import Pixels
from sfumato.kinds import Kind


class Features(Kind, ABC, root=True):
    """A fixed network that turns uint8 images of any size and 1 or 3 channels into vectors."""

    dim: int
    """The length of a vector."""
    label: str
    """How a Frechet distance on these features is called: `FID` for the 2015 Inception graph only, else `FD-<name>`."""
    digest: str
    """SHA-256 of the weight file, in hexadecimal."""

    @abstractmethod
    def extract(self, pixels: Pixels) -> Float[Tensor, "B D"]:
        """Vectors of one batch, float32, on the device of the pixels."""

    @torch.inference_mode()
    def __call__(self, pixels: Pixels, batch: int = 256) -> Float[Tensor, "B D"]:
        """Vectors of any number of images, extracted in batches; the batch size does not change the result."""
        return torch.cat([self.extract(part) for part in pixels.split(batch)])
