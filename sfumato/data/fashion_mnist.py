"""Fashion-MNIST: 70,000 grey 28 x 28 pictures of clothes (Xiao, Rasul and Vollgraf, 2017)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from sfumato.data.base import Dataset, Source, SourceConfig
from sfumato.data.files import Official, idx_dataset

URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"  # serves no https; the sums guard the content
FILES = tuple(
    Official(name, URL + name, md5, unpacked)
    for name, md5, unpacked in (
        ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d", "f4a8712d7a061bf5bd6d2ca38dc4d50a"),
        ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe", "9018921c3c673c538a1fc5bad174d6f9"),
        ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79", "8181f5470baa50b63fa0f6fddb340f0a"),
        ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310", "15d484375f8d13e6eb1aabb0c3f46965"),
    )
)


class FashionMnist(Source):
    """28 x 28 grey clothes in 10 classes: 55,000 to train, 5,000 to validate, 10,000 to test.

    The last 5,000 images of the training file validate.

    Raises: DataError: the four official files are neither there nor to be had, or one of them is broken.
        CapabilityError: they have to be fetched and pooch is not installed.
    """

    class Config(SourceConfig):
        kind: Literal["fashion_mnist"] = "fashion_mnist"
        root: Path | None = None
        """Folder of the four official idx files, packed or not; by default the user's cache, filled by download."""

    config: Config

    def read(self) -> Dataset:
        return idx_dataset("fashion_mnist", FILES, self.config.root)
