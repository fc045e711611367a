"""The three ways to Inception's 299 x 299: bilinear by its definition in NumPy, antialiased bicubic by Pillow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torch import nn

from sfumato.features import inception
from sfumato.features.inception import DIGEST, Inception


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights play no part here."""
    monkeypatch.setattr(inception, "load_network", lambda _path: nn.Identity())


def levels(resize: str, x: torch.Tensor) -> torch.Tensor:
    """What the network sees, as pixels again."""
    seen = Inception(Inception.Config(path="unused", resize=resize)).prepare(x)
    return (seen + 1) * 127.5 if resize == "pytorch" else seen * 128 + 128


@pytest.mark.parametrize(("resize", "offset"), [("pytorch", 0.5), ("tensorflow", 0.0)])
def test_bilinear_resizes_are_numpys(resize: str, offset: float) -> None:
    x = torch.randint(0, 256, (1, 1, 400, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(4))
    y = x[0, 0].numpy().astype(np.float64)
    for axis, n in enumerate(y.shape):
        at = np.clip((np.arange(299) + offset) * n / 299 - offset, 0, n - 1)
        low, part = np.floor(at).astype(int), at - np.floor(at)
        part = part[:, None] if axis == 0 else part
        y = np.take(y, low, axis) * (1 - part) + np.take(y, np.minimum(low + 1, n - 1), axis) * part
    np.testing.assert_allclose(levels(resize, x)[0, 1].numpy(), y, atol=0.025)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (512, 100), (400, 500)])
def test_the_clean_resize_is_pillows(height: int, width: int) -> None:
    photo = data.astronaut()[:height, :width]
    pictures = [Image.fromarray(channel.astype(np.float32), mode="F") for channel in photo.transpose(2, 0, 1)]
    expected = [np.asarray(picture.resize((299, 299), Image.Resampling.BICUBIC)) for picture in pictures]
    made = levels("clean", torch.from_numpy(photo.copy()).permute(2, 0, 1)[None])[0].numpy()
    assert np.stack(expected).min() < 0 or height == 32  # where the cubic overshoots, clean-fid clips
    np.testing.assert_allclose(made, np.stack(expected).clip(0, 255), atol=5e-3)  # torch has float32 weights


@pytest.mark.parametrize(
    ("resize", "end", "add"),
    [("tensorflow", 127 / 128, ""), ("pytorch", 1.0, "-bilinear"), ("clean", 127 / 128, "-clean")],
)
def test_scales_and_labels(resize: str, end: float, add: str) -> None:
    made = Inception(Inception.Config(path="unused", resize=resize))
    ends = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 9, 9)
    torch.testing.assert_close(made.prepare(ends)[:, :, 7, 7], torch.tensor([[-1.0] * 3, [end] * 3]))
    assert (made.label, made.called("KID", "KD"), made.called("IS", "IS")) == (f"FID{add}", f"KID{add}", f"IS{add}")
    assert made.about()["sha256"] == DIGEST and "299" in made.about()["resize"]
