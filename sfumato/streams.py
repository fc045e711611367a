"""Randomness: named, separate streams, so that one draw never disturbs another.

`stream(seed, "mask", 17)` gives the same numbers whatever else ran before it. No code in sfumato touches torch's global
generator; a training step is keyed by how many images came before it, so a resumed run draws what it would have drawn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Generator, Tensor

from sfumato.errors import ShapeError

Rngs = Generator | Sequence[Generator]  # one generator for a batch, or one for each image


def stream(seed: int, *names: str | int, device: str | torch.device = "cpu") -> Generator:
    """A generator seeded by SHA-256 of (seed, names): equal names give equal numbers, others are independent.

    Example:
        >>> bool(torch.rand(1, generator=stream(0, "mask", 3)) == torch.rand(1, generator=stream(0, "mask", 3)))
        True
    """
    names = tuple(name if isinstance(name, str) else int(name) for name in names)  # numpy's 3 is 3
    digest = hashlib.sha256(repr((seed, *names)).encode()).digest()
    return Generator(device=device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)


@contextmanager
def lent(rng: Generator) -> Iterator[None]:
    """The one door to torch's global generators, for layers that know no other (initialisers, dropout).

    Inside, they are seeded as `rng` was; afterwards they are as they were before.
    """
    device = rng.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(rng.initial_seed())
        if device.type == "cuda":
            torch.cuda.default_generators[device.index or 0].manual_seed(rng.initial_seed())
        yield


def device_of(rngs: Rngs) -> torch.device:
    """Where these streams draw; the CPU where there are none."""
    if isinstance(rngs, Generator):
        return rngs.device
    return rngs[0].device if rngs else torch.device("cpu")


def uniforms(rngs: Rngs, n: int, *shape: int) -> Tensor:
    """Uniform numbers in [0, 1) for n images, float32 [n, `shape`].

    A sequence of generators gives each image its own numbers whatever the batch size (evaluation); a single one draws
    them in one call (training, where a Python loop over images would cost more than the step).
    """
    if isinstance(rngs, Generator):
        return torch.rand(n, *shape, generator=rngs, device=rngs.device)
    return torch.stack([torch.rand(shape, generator=rng, device=rng.device) for rng in _one_each(rngs, n)])


def normals(rngs: Rngs, n: int, *shape: int) -> Tensor:
    """Standard normal numbers for n images, float32 [n, `shape`]; see `uniforms`."""
    if isinstance(rngs, Generator):
        return torch.randn(n, *shape, generator=rngs, device=rngs.device)
    return torch.stack([torch.randn(shape, generator=rng, device=rng.device) for rng in _one_each(rngs, n)])


def _one_each(rngs: Sequence[Generator], n: int) -> Sequence[Generator]:
    if len(rngs) != n:
        raise ShapeError(f"{len(rngs)} streams for {n} images; give one an image, or a single one for the batch")
    return rngs
