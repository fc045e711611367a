"""Photos: square crops of colour photographs that come inside scikit-image and scikit-learn; no download."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float64, Int64, UInt8
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from sfumato.data.base import Dataset, Source, SourceConfig, Split, shuffled
from sfumato.errors import CapabilityError, DataError
from sfumato.images import from_pil, open_picture
from sfumato.streams import stream

FOLDERS = {"scikit-image": ("skimage", "data"), "scikit-learn": ("sklearn", "datasets/images")}
PHOTOGRAPHS = {
    "train": {
        "astronaut.png": "scikit-image",
        "coffee.png": "scikit-image",
        "motorcycle_left.png": "scikit-image",
        "rocket.jpg": "scikit-image",
    },
    "validation": {"flower.jpg": "scikit-learn"},
    "test": {"chelsea.png": "scikit-image", "china.jpg": "scikit-learn"},
}
COUNTS = {"train": 6000, "validation": 200, "test": 400}
ZOOMS = (1.5, 2.25, 3.5, 5.0, 7.0)  # the photograph's shorter side in crops: from two thirds of it to a seventh
LEAST = 11.0  # grey levels; a crop with less `detail` is sky, wall or blur, and every method fills it equally well


class Photos(Source):
    """Crops of seven photographs: 6,000 to train, 200 to validate and 400 to test, from different photographs.

    A crop shows between two thirds and a seventh of a photograph's shorter side; crops of one photograph overlap, which
    is why a photograph lies in one part only. Half of the training crops are mirrored. There are no labels.

    Raises: CapabilityError: scikit-image or scikit-learn is missing, or its photographs are not where they should be.

    Example:
        >>> Photos(Photos.Config(size=16)).load().spec
        DataSpec(channels=3, size=(16, 16), classes=0, condition=0)
    """

    class Config(SourceConfig):
        kind: Literal["photos"] = "photos"
        size: Literal[16, 32, 64] = 32
        """Rows and columns of a crop."""

    config: Config

    def read(self) -> Dataset:
        parts = {}
        for part, photographs in PHOTOGRAPHS.items():
            share = COUNTS[part] // len(photographs)
            squares = [crops(name, open_picture(find(name)), share, self.config.size) for name in photographs]
            images = torch.from_numpy(np.concatenate(squares))
            if part == "train":
                mirrored = torch.rand(len(images), generator=stream(0, "photos", "mirror", self.config.size)) < 0.5
                images[mirrored] = images[mirrored].flip(3)
            # Without this the first n images would all show one photograph.
            parts[part] = Split(images[shuffled(len(images), f"photos {part}")])
        return Dataset("photos", parts["train"], parts["validation"], parts["test"])


def find(name: str) -> Path:
    """The path of a photograph inside the package that carries it.

    scikit-image's own loader would download what it misses; this one only looks.

    Raises: CapabilityError: the package or the file is not there.
    """
    distribution = next(photographs[name] for photographs in PHOTOGRAPHS.values() if name in photographs)
    module, folder = FOLDERS[distribution]
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise CapabilityError(f"{name} comes with {distribution}, which is missing; pip install 'sfumato[data]'")
    path = Path(spec.origin).parent / folder / name
    if not path.is_file():
        raise CapabilityError(f"{distribution} came without {path}; reinstall it with pip install 'sfumato[data]'")
    return path


def crops(name: str, photograph: Image.Image, n: int, size: int) -> UInt8[np.ndarray, "n 3 size size"]:
    """n different crops of one photograph at places that its name fixes, each scale giving an equal share.

    A coarse scale has few places; what it cannot give, the finer ones add.

    Raises: DataError: the photograph has fewer than n crops that show anything.
    """
    found: list[np.ndarray] = []
    missing = n
    for k, zoom in enumerate(ZOOMS):
        factor = min(1.0, size * zoom / min(photograph.size))  # never enlarged: that would add blur alone
        width, height = (round(side * factor) for side in photograph.size)
        level = from_pil(photograph.resize((width, height), Image.Resampling.LANCZOS), 3).numpy()
        places = np.argwhere(detail(level, size) >= LEAST)
        order = torch.randperm(len(places), generator=stream(0, "photos", name, size, k))
        rows, columns = places[order[: missing // (len(ZOOMS) - k)].numpy()].T
        windows = sliding_window_view(level, (size, size), axis=(1, 2))  # 3, places down, places across, size, size
        found.append(windows[:, rows, columns].swapaxes(0, 1))
        missing -= len(rows)
    if missing:
        raise DataError(f"{name} gave {n - missing} of {n} crops with any detail at {size} x {size}; ask for fewer")
    return np.concatenate(found)


def detail(picture: UInt8[np.ndarray, "3 H W"], size: int) -> Float64[np.ndarray, "rows columns"]:
    """How much each crop shows: the standard deviation of grey levels in the second dullest of its four quarters.

    The deviation of the whole crop would let one dark corner excuse an empty sky. Sums over all places come from
    running sums of whole numbers, so they are exact and every machine chooses the same crops.

    Example:
        >>> detail(np.zeros((3, 8, 8), dtype=np.uint8), 8).tolist()
        [[0.0]]
    """
    half = size // 2
    grey = picture.sum(axis=0, dtype=np.int64)  # 3 times the mean of the channels
    total, squares = box_sums(grey, half), box_sums(grey * grey, half)
    area = half * half
    deviation = np.sqrt(squares * area - total * total) / (3 * area)
    quarters = (deviation[:-half, :-half], deviation[:-half, half:], deviation[half:, :-half], deviation[half:, half:])
    second: Float64[np.ndarray, "rows columns"] = np.partition(np.stack(quarters), 1, axis=0)[1]
    return second


def box_sums(values: Int64[np.ndarray, "H W"], side: int) -> Int64[np.ndarray, "rows columns"]:
    """The sum over each square of this side, from a table of running sums.

    Example:
        >>> box_sums(np.ones((2, 3), dtype=np.int64), 2).tolist()
        [[4, 4]]
    """
    table = np.pad(values.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    return table[side:, side:] - table[:-side, side:] - table[side:, :-side] + table[:-side, :-side]
