"""Memory: vectors of the batches that were looked at last, for metrics that share an extractor and ask for the same ones.

A batch is known by all its pixels, which are kept and compared: a tensor that is filled again is another batch, and comparing
is an order of magnitude cheaper than a hash, on a GPU above all.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sfumato.images import Pixels

BATCHES = 64
BYTES = 1 << 28  # of pixels and vectors together: 256 MiB
PROBES = 8  # pixels that are looked at before all are compared


class Memory:
    """The latest batches with their vectors, the one that was asked for last at the end."""

    def __init__(self) -> None:
        self._held: list[tuple[tuple[object, ...], Pixels, Tensor]] = []

    def __len__(self) -> int:
        return len(self._held)

    def find(self, pixels: Pixels) -> Tensor | None:
        """The vectors of these pixels, if they were looked at lately."""
        key = self._key(pixels)
        for place, (other, kept, vectors) in enumerate(self._held):
            if other == key and torch.equal(kept, pixels):
                self._held.append(self._held.pop(place))
                return vectors
        return None

    def keep(self, pixels: Pixels, vectors: Tensor) -> None:
        """Remember vectors, and forget the oldest where there are too many."""
        self._held.append((self._key(pixels), pixels.clone(), vectors))
        while len(self._held) > 1 and (len(self._held) > BATCHES or self._bytes() > BYTES):
            self._held.pop(0)

    def _key(self, pixels: Pixels) -> tuple[object, ...]:
        flat = pixels.flatten()
        places = torch.linspace(0, max(flat.numel() - 1, 0), PROBES, dtype=torch.float64).long().to(flat.device)
        return tuple(pixels.shape), pixels.dtype, pixels.device, *(flat[places].tolist() if flat.numel() else ())

    def _bytes(self) -> int:
        return sum(kept.numel() * kept.element_size() + vectors.numel() * 4 for _, kept, vectors in self._held)
