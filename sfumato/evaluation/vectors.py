"""Vectors: the features of an image set, extracted once and kept by the content of the images and of the weights.

Every thousand images are written when they are done, so that a stopped evaluation goes on where it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import safetensors.torch
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor

from sfumato.data.imageset import Entry, ImageSet, Picture
from sfumato.errors import DataError
from sfumato.features import Features
from sfumato.features.cache import cache_folder, prune
from sfumato.features.identity import digest_of
from sfumato.files import write_atomic

CHUNK = 1024  # images whose vectors lie in one file of the cache; a multiple of every extractor's pass
FORMAT = 1  # to be raised when decoding or preparation change
MOST = 8 << 30  # bytes that the cache may take; what was used longest ago goes first

Watch = Callable[[str, int, int], None]


def nobody(name: str, done: int, total: int) -> None:
    """Watch nothing."""


def vectors(
    images: ImageSet,
    features: Features,
    device: torch.device | str = "cpu",
    cache: bool = True,
    watch: Watch = nobody,
) -> Float[Tensor, "n d"]:
    """The vector of every image, in their order, on the CPU.

    Chunks that the cache holds are not decoded again. A cache that cannot be written is left alone: the figure matters.
    """
    chunks = [images.entries[first : first + CHUNK] for first in range(0, len(images), CHUNK)]
    paths = [place(chunk, images.preparation, features) for chunk in chunks]
    found = [
        recall(path, len(chunk), features.dim) if cache else None for path, chunk in zip(paths, chunks, strict=True)
    ]
    done = sum(len(part) for part in found if part is not None)
    watch(images.name, done, len(images))
    for i, chunk in enumerate(chunks):
        if found[i] is not None:
            continue
        parts = []
        for group, pictures in replace(images, entries=chunk).parts(features.at_once):
            parts.append(extracted(pictures, features, device))
            done += len(group)
            watch(images.name, done, len(images))
        made = torch.cat(parts)
        found[i] = made
        if cache:
            remember(paths[i], made)
    return torch.cat([part for part in found if part is not None])


def extracted(pictures: Sequence[Picture], features: Features, device: torch.device | str) -> Float[Tensor, "n d"]:
    """Vectors of decoded pictures; those of one shape go through the network together."""
    made = torch.empty(len(pictures), features.dim)
    shapes: dict[tuple[int, ...], list[int]] = {}
    for i, picture in enumerate(pictures):
        shapes.setdefault(tuple(picture.shape), []).append(i)
    for places in shapes.values():
        pixels = torch.stack([pictures[i] for i in places]).to(device)
        made[places] = features.passes(pixels).cpu()
    return made


def place(chunk: Sequence[Entry], preparation: str, features: Features) -> Path:
    """Where the vectors of these images lie: a name that changes with any byte of the images, weights or settings."""
    mark = hashlib.sha256(json.dumps([features.about(), preparation, FORMAT], sort_keys=True).encode())
    for entry in chunk:
        mark.update(entry.digest.encode())
    name = mark.hexdigest()
    return cache_folder() / "features" / name[:2] / f"{name}.safetensors"


def recall(path: Path, n: int, d: int) -> Float[Tensor, "n d"] | None:
    """Vectors from the cache; None where there are none or the file is damaged."""
    try:
        content = path.read_bytes()
        found = safetensors.torch.load(content)["vectors"]
        size = int.from_bytes(content[:8], "little")
        told = json.loads(content[8 : 8 + size]).get("__metadata__", {})
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    with contextlib.suppress(OSError):  # a cache that may only be read serves too
        path.touch()
    right = found.shape == (n, d) and found.dtype == torch.float32 and told.get("sha256") == digest_of(found)
    return found if right else None


def remember(path: Path, made: Float[Tensor, "n d"]) -> None:
    """Write vectors with their SHA-256 into the cache, if it can be written and they are finite."""
    if not bool(made.isfinite().all()):
        return
    try:
        metadata = {"sha256": digest_of(made)}
        write_atomic(path, safetensors.torch.save({"vectors": made.contiguous()}, metadata=metadata))
        prune(cache_folder() / "features", MOST)
    except DataError:
        return
