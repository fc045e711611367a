"""What these tests share: a tiny extractor that no settings file can name, folders of random pictures, and a request."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from sfumato.config import Strict
from sfumato.data.imageset import ImageSet
from sfumato.evaluation.request import Request
from sfumato.features import Features
from sfumato.kinds import kinds_of


class Probe(Features):
    """Twelve numbers: every channel at 2 x 2 places, and how often it was asked."""

    passed: ClassVar[int] = 0
    dim, at_once = 12, 4

    class Config(Strict):
        kind: Literal["probe"] = "probe"
        mode: Literal["area", "nearest"] = "area"
        weights: str = "first"
        broken: bool = False

    def __init__(self, config: Any, device: torch.device | str = "cpu"):
        self.config = config
        self.tag, self.resize = f"probe-{config.mode}", f"{config.mode} to 2"
        self.digest = hashlib.sha256(config.weights.encode()).hexdigest()

    def extract(self, pixels: Tensor) -> Tensor:
        Probe.passed += 1
        small = F.interpolate(pixels.float().expand(-1, 3, -1, -1), (2, 2), mode=self.config.mode)
        return small.flatten(1) / (0.0 if self.config.broken else 1.0)


class Official(Probe):
    """The same, said to be the 2015 graph: figures are called FID, and other tools' statistics fit."""

    graph_2015 = True

    class Config(Strict):
        kind: Literal["official"] = "official"
        mode: Literal["area", "nearest"] = "area"
        weights: str = "first"
        broken: bool = False

    def __init__(self, config: Any, device: torch.device | str = "cpu"):
        super().__init__(config, device)
        self.tag = ""


for _kind in ("probe", "official"):  # tests over all kinds shall not find them
    kinds_of(Features).pop(_kind)


def pixels(n: int, seed: int = 0, size: int = 8, channels: int = 3) -> np.ndarray:
    """Random pictures whose law depends a little on the seed, uint8 [n, size, size, channels]."""
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 200 + 8 * (seed % 5), (n, 2, 2, channels)).repeat(size // 2, 1).repeat(size // 2, 2)
    return (base + rng.integers(0, 20, (n, size, size, channels))).astype(np.uint8)


def folder(path: Path, arrays: np.ndarray, names: list[str] | None = None) -> Path:
    """A folder of PNG files."""
    path.mkdir(parents=True, exist_ok=True)
    for i, array in enumerate(arrays):
        Image.fromarray(array).save(path / (names[i] if names else f"{i:04d}.png"))
    return path


def request(made: object, real: object, metrics: Any = None, features: Any = None, **settings: Any) -> Request:
    """A request on the tiny extractor, with few replicates."""
    chosen = [{"kind": "frechet", "replicates": 8}] if metrics is None else metrics
    return Request(made=str(made), real=str(real), metrics=chosen, features=features or Probe.Config(), **settings)


def counting(images: ImageSet) -> tuple[ImageSet, list[str]]:
    """The same set, and a list that fills with the names of what is decoded."""
    seen: list[str] = []

    def entry(of: Any) -> Any:
        def decode() -> Tensor:
            seen.append(of.name)
            return of.decode()

        return type(of)(of.name, decode, of.digest, of.shape, of.format)

    return replace(images, entries=[entry(of) for of in images.entries]), seen
