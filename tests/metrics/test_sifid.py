"""SiFID. Oracles: eigenvalues of C1 C2 with NumPy's covariance of all places, closed forms; maps are plain pixels or small."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sfumato.errors import CapabilityError, ConfigError, ShapeError
from sfumato.features import inception
from sfumato.features.base import Layered, extractor
from sfumato.features.graph_2015 import InceptionV3
from sfumato.features.inception import Inception
from sfumato.features.lite0 import Lite0
from sfumato.metrics import sifid as module
from sfumato.metrics.base import Score
from sfumato.metrics.sifid import SiFID
from sfumato.tasks.base import Observation
from sfumato.tasks.operators import Nothing


class PixelMaps(Layered):
    """Maps to see the metric without a network: the pixels themselves, 2 x 2 means, and a single place."""

    tag = "pixels"

    def layers(self, pixels: Tensor) -> Mapping[str, Tensor]:
        x = pixels.float()
        return {
            "pixels": x,
            "means": nn.functional.avg_pool2d(x, 2, ceil_mode=True),
            "one": x.mean((2, 3), keepdim=True),
        }

    def called(self, official: str, other: str) -> str:
        return f"{other}-{self.tag}"

    def about(self) -> dict[str, Any]:
        return {"name": "FD-pixels"}


@pytest.fixture
def _pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "extractor", lambda config, device: PixelMaps())


pixels = pytest.mark.usefixtures("_pixels")


def noise(*shape: int, seed: int = 0, low: int = 0, high: int = 256) -> Tensor:
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def score(made: Tensor, true: Tensor, **settings: Any) -> Score:
    measured = SiFID(SiFID.Config(**settings))
    operator = Nothing(len(true), (true.shape[-2], true.shape[-1]))
    measured.update(made, true, Observation(torch.empty(len(true), 0), operator, operator.known))
    return measured.compute()


def by_numpy(one: np.ndarray, other: np.ndarray) -> float:
    """The distance of two maps [d, h, w], with NumPy's covariance, which divides by n - 1."""
    x, y = (part.reshape(part.shape[0], -1).astype(float) for part in (one, other))
    c_1, c_2 = np.atleast_2d(np.cov(x)), np.atleast_2d(np.cov(y))
    gap = x.mean(1) - y.mean(1)
    roots = np.sqrt(np.linalg.eigvals(c_1 @ c_2).astype(complex)).real
    return float(gap @ gap + np.trace(c_1 + c_2) - 2 * roots.sum())


@pixels
@pytest.mark.parametrize("channels", [1, 3])
def test_numpy(channels: int) -> None:
    made, true = noise(3, channels, 9, 12), noise(3, channels, 9, 12, seed=1, high=128)
    expected = [by_numpy(m, t) for m, t in zip(made.numpy(), true.numpy(), strict=True)]
    assert score(made, true).samples == pytest.approx(expected, rel=1e-5)
    assert score(true, true).value == pytest.approx(0.0, abs=1e-9)


@pixels
def test_the_layer_is_chosen_by_name() -> None:
    made, true = noise(1, 3, 8, 8), noise(1, 3, 8, 8, seed=1, high=128)
    small = [nn.functional.avg_pool2d(x.float(), 2)[0].numpy() for x in (made, true)]
    named = score(made, true, layer="means")
    assert named.value == pytest.approx(by_numpy(*small), rel=1e-6) and named.card["layer"] == "means"
    assert named.label == "SiFD-pixels (means)" and named.card["places"] == 16
    first = score(made, true)
    assert first.label == "SiFD-pixels" and first.card["layer"] == "pixels" and first.card["places"] == 64
    assert score(made, true, layer="pixels") == first


@pixels
def test_places_are_vectors_and_have_no_order() -> None:
    # Shuffled pixels are the same law; a constant added to a channel moves the mean alone.
    true = noise(1, 3, 8, 8, high=200)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(2))
    mixed = true.flatten(2)[:, :, order].view_as(true)
    assert score(mixed, true).value == pytest.approx(0.0, abs=1e-9)
    moved = true.clone()
    moved[:, 1] += 7
    assert score(moved, true).value == pytest.approx(49.0, rel=1e-9)


@pixels
def test_fewer_places_than_channels_are_warned_of() -> None:
    made, true = noise(1, 3, 1, 3), noise(1, 3, 1, 3, seed=1)
    shown = score(made, true)
    x, y = (part[0].flatten(1).double().T for part in (made, true))
    z, w = ((part - part.mean(0)) / 2**0.5 for part in (x, y))
    nuclear = torch.linalg.svdvals(z @ w.T).sum()
    expected = (x.mean(0) - y.mean(0)).square().sum() + z.square().sum() + w.square().sum() - 2 * nuclear
    assert shown.value == pytest.approx(float(expected), rel=1e-6)
    assert shown.card["warning"].startswith("3 places for 3 channels")
    assert "warning" not in score(noise(1, 3, 2, 2), noise(1, 3, 2, 2, seed=1)).card


@pixels
def test_sizes_may_differ() -> None:
    # The larger image is cut into tiles of the smaller one's sides: 2 x 3 of them, and a rest.
    large, true = noise(1, 3, 9, 13), noise(1, 3, 4, 4, seed=1)
    cut = large[0, :, :8, :12]
    assert score(large, true).value == pytest.approx(by_numpy(cut.numpy(), true[0].numpy()), rel=1e-6)
    assert score(true, large).value == pytest.approx(score(large, true).value, rel=1e-9)
    wide, tall = noise(1, 3, 4, 9), noise(1, 3, 10, 4, seed=1)
    expected = by_numpy(wide[0, :, :, :8].numpy(), tall[0, :, :8].numpy())
    assert score(wide, tall).value == pytest.approx(expected, rel=1e-6)


def test_a_larger_texture_is_not_shrunk() -> None:
    # lite0 resizes to 64: a texture of 128 resized whole would show its grain at half the size.
    large, true = noise(1, 3, 128, 128), noise(1, 3, 64, 64, seed=1)
    same, shrunk = score(noise(1, 3, 64, 64, seed=2), true).value, score(large[..., ::2, ::2], true).value
    halved = nn.functional.avg_pool2d(large.float(), 2).round().byte()
    assert score(large, true).value < 2 * max(same, shrunk) < 0.2 * score(halved, true).value


@pixels
def test_errors() -> None:
    with pytest.raises(ShapeError, match="the map one has one place"):
        score(noise(1, 3, 8, 8), noise(1, 3, 8, 8), layer="one")
    with pytest.raises(ShapeError, match="one place"):
        score(noise(1, 3, 1, 1), noise(1, 3, 1, 1))
    with pytest.raises(ConfigError, match="no map 'b99' in lite0; known: pixels, means, one"):
        SiFID(SiFID.Config(layer="b99")).prepare(torch.device("cpu"))
    with pytest.raises(ShapeError, match="two uint8 batches"):
        score(noise(1, 1, 8, 8), noise(1, 3, 8, 8))


def test_features_without_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "extractor", lambda config, device: object())
    with pytest.raises(CapabilityError, match="lite0 shows no maps"):
        SiFID(SiFID.Config()).prepare(torch.device("cpu"))


def test_lite0() -> None:
    made, true = noise(2, 3, 48, 48), noise(2, 3, 48, 48, seed=1, high=128)
    maps = extractor(Lite0.Config()).layers
    expected = [
        by_numpy(maps(m[None])["stem"][0].numpy(), maps(t[None])["stem"][0].numpy())
        for m, t in zip(made, true, strict=True)
    ]
    shown = score(made, true)
    assert shown.samples == pytest.approx(expected, rel=1e-4)  # some channels are 0 everywhere: roots of rounded zeros
    assert shown.label == "SiFD-lite0" and shown.card["layer"] == "stem" and shown.card["places"] == 32 * 32
    assert "64" in shown.card["features"]["resize"] and len(shown.card["features"]["sha256"]) == 64
    assert score(made, true, layer="b4").label == "SiFD-lite0 (b4)"


@pytest.mark.parametrize("level", [0, 255])
def test_lite0_of_one_pixel_and_of_one_colour(level: int) -> None:
    flat, dot = torch.full((1, 1, 20, 20), level).byte(), torch.full((1, 1, 1, 1), level).byte()
    assert score(flat, flat).value == pytest.approx(0.0, abs=1e-6)
    assert score(dot, dot).value == pytest.approx(0.0, abs=1e-6)
    assert score(flat, 255 - flat).value > 0.1


def test_only_inception_is_called_sifid(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.device("meta"):
        network = InceptionV3()
    network.to_empty(device="cpu")
    draw = torch.Generator().manual_seed(0)
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, generator=draw)
        elif isinstance(part, nn.BatchNorm2d):
            part.reset_parameters()
            part.reset_running_stats()
    monkeypatch.setattr(inception, "load_network", lambda _path: network.eval().requires_grad_(False))
    features = Inception(Inception.Config(path="unused"))
    monkeypatch.setattr(module, "extractor", lambda config, device: features)
    made, true = noise(1, 3, 16, 16), noise(1, 3, 16, 16, seed=1, high=128)
    first, second = score(made, true), score(made, true, layer="192")
    assert first.label == "SiFID" and first.card["channels"] == 64 and first.card["places"] == 147**2
    assert second.label == "SiFID (192)" and second.card["channels"] == 192 and second.card["places"] == 71**2
    assert "TensorFlow" in first.card["features"]["resize"] and "299" in first.card["features"]["resize"]
    shown = [features.layers(x)["192"][0].numpy() for x in (made, true)]
    assert second.value == pytest.approx(by_numpy(*shown), rel=1e-3)


def test_before_any_image_the_label_says_what_is_to_come() -> None:
    measured = SiFID(SiFID.Config())
    assert measured.label == "Single-image Frechet distance on lite0" and measured.about() == {}
    measured.prepare(torch.device("cpu"))
    assert measured.label == "SiFD-lite0"
