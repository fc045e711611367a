"""Photos: square crops of colour photographs that come inside scikit-image and scikit-learn; no download."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from sfumato.data.base import Dataset, Source, SourceConfig, Split, shuffled
from sfumato.data.crops import crops
from sfumato.errors import CapabilityError, DataError
from sfumato.images import open_picture
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
            if any(len(own) < share for own in squares):
                raise DataError(f"{part}: photographs gave {[*map(len, squares)]} crops; {share} of each were expected")
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
