"""MNIST: 70,000 grey 28 x 28 handwritten digits (LeCun, Cortes and Burges, 1998)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from sfumato.data.base import Dataset, Source, SourceConfig
from sfumato.data.files import Official, idx_dataset

# A mirror: the authors' own page has stopped serving the files.
URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
FILES = tuple(
    Official(name, URL + name, md5, unpacked)
    for name, md5, unpacked in (
        ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873", "6bbc9ace898e44ae57da46a324031adb"),
        ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432", "a25bea736e30d166cdddb491f175f624"),
        ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3", "2646ac647ad5339dbf082846283269ea"),
        ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c", "27ae3e4e09519cfbb04c329615203637"),
    )
)


class Mnist(Source):
    """28 x 28 grey digits in 10 classes: 55,000 to train, 5,000 to validate, 10,000 to test.

    The last 5,000 images of the training file validate.

    Raises: DataError: the four official files are neither there nor to be had, or one of them is broken.
        CapabilityError: they have to be fetched and pooch is not installed.
    """

    class Config(SourceConfig):
        kind: Literal["mnist"] = "mnist"
        root: Path | None = None
        """Folder of the four official idx files, packed or not; by default the user's cache, filled by download."""

    config: Config

    def read(self) -> Dataset:
        return idx_dataset("mnist", FILES, self.config.root)
