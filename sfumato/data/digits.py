"""Digits: the 1,797 grey 8 x 8 handwritten digits that scikit-learn carries (Alpaydin and Kaynak, 1998); no download."""

from __future__ import annotations

from typing import Literal

import torch

from sfumato.data.base import Dataset, Source, SourceConfig, Split, shuffled
from sfumato.errors import CapabilityError


class Digits(Source):
    """8 x 8 grey digits in 10 classes: 1,297 to train, 100 to validate, 400 to test.

    Raises: CapabilityError: scikit-learn is not installed.

    Example:
        >>> Digits(Digits.Config(train=100)).load().spec
        DataSpec(channels=1, size=(8, 8), classes=10, condition=0)
    """

    class Config(SourceConfig):
        kind: Literal["digits"] = "digits"

    def read(self) -> Dataset:
        try:
            from sklearn.datasets import load_digits
        except ImportError:
            raise CapabilityError(
                "the digits come with scikit-learn, which is missing; pip install 'sfumato[data]'"
            ) from None
        bunch = load_digits()
        levels = torch.from_numpy(bunch.images)  # 0 to 16
        order = shuffled(len(levels), "digits")
        images = (levels * (255.0 / 16.0)).round().to(torch.uint8)[order, None]
        labels = torch.from_numpy(bunch.target)[order].long()
        everything = Split(images, labels)
        train, validation, test = (
            everything.pick(torch.arange(low, high)) for low, high in ((0, 1297), (1297, 1397), (1397, 1797))
        )
        return Dataset("digits", train, validation, test, classes=10)
