"""The check of sources."""

from __future__ import annotations

import torch

from sfumato.config import Strict
from sfumato.data.base import Source
from sfumato.errors import ConfigError
from sfumato.kinds import build
from sfumato.testing.configs import check_config
from sfumato.testing.parts import (
    configured,
    no_global_random,
    raises,
    require,
)


def check_source(kind: str | Strict) -> None:
    """A source gives square uint8 images in three parts, the same each time, cut to the counts asked for.

    Raises: AssertionError: the first promise that is broken. DataError, CapabilityError: its files are not there.
    """
    config = configured(Source, kind)
    check_config(config)
    with no_global_random(f"{config.kind}.load"):
        data, again = build(config).load(), build(config).load()
    spec = data.spec
    seen: set[bytes] = set()
    for part in ("train", "validation", "test"):
        split, same, name = getattr(data, part), getattr(again, part), f"{config.kind}.{part}"
        shape = (len(split), spec.channels, *spec.size)
        require(tuple(split.images.shape) == shape, f"{name} has shape {tuple(split.images.shape)}, not {shape}")
        require(torch.equal(split.images, same.images), f"{name}: loading twice gave other images or another order")
        low, high = (0, 0) if split.labels is None else (int(split.labels.min()), int(split.labels.max()) + 1)
        require(low >= 0 and high <= spec.classes, f"{name} has labels {low} to {high - 1} for {spec.classes} classes")
        pictures = {image.numpy().tobytes() for image in split.images}
        require(spec.size == (1, 1) or data.shared or not seen & pictures, f"{name} holds images of another part")
        seen |= pictures
    fewer = build(config.model_copy(update={"train": 1})).load().train.images
    require(torch.equal(fewer, data.train.images[:1]), f"{config.kind}: train = 1 is not the first training image")
    many = config.model_copy(update={"test": 10**9})
    raises(ConfigError, lambda: build(many).load(), f"{config.kind}: test = 10^9 must raise ConfigError")
