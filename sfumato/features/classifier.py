"""Classifier features: a small classifier trained on the data itself, for images that no published network knows.

Scores on such features are the custom of papers on MNIST and other small sets, where ImageNet's features say little. They
compare methods on one data set with one classifier and nothing else, so their labels say `own-<data>` and their cards the
weights' SHA-256 and the classifier's accuracy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import safetensors.torch
import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from safetensors import SafetensorError
from torch import Tensor, nn

from sfumato.config import Strict
from sfumato.data.base import Dataset, Source
from sfumato.errors import DataError, DivergedError, WeightsError
from sfumato.features.base import Classifies, Features, Layered
from sfumato.features.cache import cache_folder
from sfumato.features.identity import digest_of
from sfumato.features.weights import rgb
from sfumato.files import write_atomic
from sfumato.images import PEAK, Pixels
from sfumato.kinds import build, choice
from sfumato.maths.precision import full_precision
from sfumato.streams import lent, stream

RECIPE = 1  # part of the cache's key: another number where the network or its training changes
BATCH, RATE = 64, 4e-3
SMALLEST = 4  # rows and columns of an image that can be halved twice


class Network(nn.Module):
    """Three stages relu(norm(conv3x3)), halved by a maximum between them, their mean over all places, and a linear layer.

    Example:
        >>> with torch.device("meta"):
        ...     network = Network(channels=1, classes=10, width=32)
        >>> network(torch.zeros(5, 1, 8, 8, device="meta")).shape
        torch.Size([5, 128])
    """

    def __init__(self, channels: int, classes: int, width: int) -> None:
        super().__init__()
        widths = (channels, width, 2 * width, 4 * width)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.GroupNorm(4, b) for b in widths[1:])
        self.head = nn.Linear(widths[-1], classes)

    def stages(self, x: Float[Tensor, "B C H W"]) -> Iterator[tuple[str, Float[Tensor, "B d h w"]]]:
        """Maps by the name of their stage."""
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = F.relu(norm(conv(x if i == 0 else F.max_pool2d(x, 2))))
            yield f"stage{i + 1}", x

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D"]:
        *_, (_, last) = self.stages(x)
        return last.mean((2, 3))


class Classifier(Features, Layered, Classifies):
    """A small classifier trained on the data itself, named so: uint8 [B, 1 or 3, H, W] to float32 [B, 4 width], >= 0.

    The first time it is trained on the source's training images (digits: seconds; 55,000 MNIST digits: minutes) and its
    weights are kept under the digest of images, labels and settings; afterwards they are read. The same settings give the
    same weights, whatever ran before. `accuracy` is the share of validation images named rightly. Images of another size
    are resized to the training size, grey is repeated, and colour is averaged to grey where the training images are grey.

    Raises: DataError: images without labels, of fewer than 4 pixels a side, or not of 1 or 3 channels; the cache cannot be
    written. WeightsError: a broken file in the cache. DivergedError: the training failed. ShapeError: see `weights.rgb`.
    """

    class Config(Strict):
        """Which data, and how the classifier is trained on it."""

        kind: Literal["classifier"] = "classifier"
        data: Annotated[Any, choice(Source)]
        """The source whose training images and labels it learns, and on whose validation images it is measured."""
        epochs: int = Field(default=5, ge=1)
        """How many times it sees each training image."""
        width: int = Field(default=32, ge=4, multiple_of=4)
        """Channels of the first stage; a vector has four times as many numbers."""
        seed: int = 0
        """Names the initial weights and the order of the images."""

    def __init__(self, config: Classifier.Config, device: torch.device | str = "cpu") -> None:
        self.config, self.device = config, torch.device(device)
        self.at_once = 128
        self.layout = torch.channels_last if self.device.type == "cpu" else torch.contiguous_format
        with exact(self.device):
            data: Dataset = build(config.data).load()
            check(data)
            self.spec = data.spec
            path = cache_folder() / "classifiers" / f"{key_of(config, data)}.safetensors"
            if not path.exists():
                write_atomic(path, safetensors.torch.save(self.trained(data)))
            self.network, self.digest = self.read(path)
            self.accuracy = self.measured(data)
        self.dim = 4 * config.width
        self.tag = f"own-{data.name}"
        self.resize = (
            f"antialiased bilinear to its training size {self.spec.size[0]} x {self.spec.size[1]}, then 2 x / 255 - 1"
        )

    def about(self) -> dict[str, Any]:
        return super().about() | {"trained_on": self.tag.removeprefix("own-"), "validation_accuracy": self.accuracy}

    def extract(self, pixels: Pixels) -> Float[Tensor, "B D"]:
        with full_precision(self.device):
            return self.network(self.prepare(pixels)).to(pixels.device)

    @torch.inference_mode()
    def layers(self, pixels: Pixels) -> Mapping[str, Float[Tensor, "B C h w"]]:
        """Maps called "stage1", "stage2" and "stage3"."""
        with full_precision(self.device):
            return {name: x.to(pixels.device) for name, x in self.network.stages(self.prepare(pixels))}

    @torch.inference_mode()
    def logits(self, vectors: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """Scores of the data's own classes."""
        with full_precision(self.device):
            return self.network.head(vectors.to(self.device))

    def prepare(self, pixels: Pixels) -> Float[Tensor, "B C S S"]:
        """What the network sees, -1 to 1."""
        x, size = rgb(pixels.to(self.device)), self.spec.size
        if self.spec.channels == 1:
            x = x.mean(1, keepdim=True)
        if x.shape[2:] != size:
            x = F.interpolate(x, size, mode="bilinear", antialias=True)
        return (2 * x / PEAK - 1).contiguous(memory_format=self.layout)

    # Features lie below `training/` in the order of imports, so its loop cannot be called from here. This one is no model
    # of a study: it has no budget to be compared, no average and nothing to resume, and twenty lines do.
    def trained(self, data: Dataset) -> dict[str, Tensor]:
        """Weights after `epochs` passes: cross entropy, AdamW, a rate that rises and falls once (Smith and Topin, 2019)."""
        assert data.train.labels is not None
        seed, images, labels = self.config.seed, data.train.images, data.train.labels.to(self.device)
        with lent(stream(seed, "classifier", "weights")):
            network = Network(self.spec.channels, self.spec.classes, self.config.width)
        network.to(self.device).to(memory_format=self.layout)  # type: ignore[call-overload]  # left out of torch's stubs
        optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
        steps = self.config.epochs * -(-len(images) // BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
        for epoch in range(self.config.epochs):
            order = torch.randperm(len(images), generator=stream(seed, "classifier", "order", epoch))
            for part in order.split(BATCH):
                scores = network.head(network(self.prepare(images[part])))
                loss = F.cross_entropy(scores, labels[part.to(self.device)])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
            if not bool(loss.isfinite()):
                raise DivergedError(f"the classifier of {data.name} diverged in epoch {epoch + 1}; try another seed")
        return {name: value.cpu().contiguous() for name, value in network.state_dict().items()}

    def read(self, path: Path) -> tuple[Network, str]:
        """The network of a file in the cache, fixed, and the SHA-256 of its bytes.

        Raises: WeightsError: it is broken, or not of this network.
        """
        with torch.device("meta"):
            network = Network(self.spec.channels, self.spec.classes, self.config.width)
        try:
            content = path.read_bytes()
            network.load_state_dict(safetensors.torch.load(content), assign=True)
        except (OSError, SafetensorError, RuntimeError) as error:
            what = f"{path} is not the classifier it should be ({type(error).__name__})"
            raise WeightsError(f"{what}; remove the file, and it is trained again") from None
        network.eval().requires_grad_(False).to(self.device)
        network.to(memory_format=self.layout)  # type: ignore[call-overload]
        return network, hashlib.sha256(content).hexdigest()

    def measured(self, data: Dataset) -> float:
        """The share of validation images whose highest score is their label's."""
        assert data.validation.labels is not None
        named = self.logits(self.passes(data.validation.images)).argmax(1).cpu()
        return float((named == data.validation.labels).double().mean())


def check(data: Dataset) -> None:
    """Raises: DataError: images that no such classifier can be trained on."""
    unlabelled = [name for name in ("train", "validation") if getattr(data, name).labels is None]
    if unlabelled:
        raise DataError(f"{data.name} has no {unlabelled[0]} labels to train a classifier on; choose other features")
    if data.spec.channels not in (1, 3) or min(data.spec.size) < SMALLEST:
        shape, wanted = tuple(data.train.images.shape[1:]), f"1 or 3 channels and {SMALLEST} or more pixels a side"
        raise DataError(f"{data.name} has images of shape {shape}; a classifier needs {wanted}")


def key_of(config: Classifier.Config, data: Dataset) -> str:
    """SHA-256 of all that the weights depend on."""
    assert data.train.labels is not None
    parts: list[Any] = [RECIPE, BATCH, RATE, config.epochs, config.width, config.seed, data.classes]
    parts += [digest_of(data.train.images), digest_of(data.train.labels)]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


@contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """Gradients on, float32 and the same kernels each time, whatever the caller's own settings."""
    cudnn = torch.backends.cudnn
    same = cudnn.flags(enabled=cudnn.enabled, deterministic=True, allow_tf32=False)
    with full_precision(device), same, torch.inference_mode(False), torch.enable_grad():
        yield
