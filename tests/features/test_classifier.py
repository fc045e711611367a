"""Classifier features: what they learn, that they learn it twice alike, and what the cache holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from PIL import Image

from sfumato.config import load
from sfumato.data.digits import Digits
from sfumato.errors import ConfigError, DataError, WeightsError
from sfumato.features import Features
from sfumato.features.cache import cache_folder
from sfumato.features.classifier import Classifier
from sfumato.kinds import parse

SMALL: dict[str, Any] = {"data": {"kind": "digits", "train": 80}, "epochs": 1, "width": 4}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SFUMATO_CACHE", str(folder))
    yield folder / "classifiers"


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SFUMATO_CACHE", str(tmp_path_factory.mktemp("digits")))
        return Classifier(Classifier.Config(data="digits"))


def small(**changes: Any) -> Classifier:
    return Classifier(load(Classifier.Config, {**SMALL, **changes}))


def npz(folder: Path, name: str, labels: bool = True, channels: int = 3, size: int = 8, n: int = 60) -> dict[str, str]:
    """Noise, lighter where the label is 1."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, n)
    shape = (n, size, size, channels) if channels > 1 else (n, size, size)
    images = rng.integers(0, 128, shape) + 100 * truth.reshape(-1, *[1] * (len(shape) - 1))
    arrays = {"images": images.astype(np.uint8)} | ({"labels": truth.astype(np.uint8)} if labels else {})
    np.savez(folder / f"{name}.npz", **arrays)
    return {"kind": "npz", "path": str(folder / f"{name}.npz")}


def test_it_names_digits_it_has_not_seen(digits: Classifier) -> None:
    data = Digits(Digits.Config()).load()
    assert digits.accuracy >= 0.95
    for split in (data.validation, data.test):
        right = (digits.logits(digits(split.images)).argmax(1) == split.labels).double().mean()
        assert right >= 0.95
        if split is data.validation:
            assert float(right) == digits.accuracy


def test_names_and_cards(digits: Classifier) -> None:
    assert parse(Features, {"kind": "classifier", "data": "digits"}) == digits.config
    assert (digits.label, digits.called("IS", "IS"), digits.called("KID", "KD")) == (
        "FD-own-digits",
        "IS-own-digits",
        "KD-own-digits",
    )
    about = digits.about()
    assert about["validation_accuracy"] == digits.accuracy and about["trained_on"] == "digits"
    assert about["sha256"] == digits.digest and about["dimensions"] == 128 and "training size 8" in about["resize"]
    assert json.loads(json.dumps(about)) == about
    for wrong in ({}, {"data": "digits", "epochs": 0}, {"data": "digits", "width": 6}, {"data": "no such"}):
        with pytest.raises(ConfigError):
            load(Classifier.Config, {"kind": "classifier", **wrong})


def test_the_same_settings_give_the_same_weights(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_rng_state()
    first = small()
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):  # a metric may build it anywhere
        again = small()
    assert torch.equal(before, torch.get_rng_state())
    assert first.digest == again.digest and first.accuracy == again.accuracy
    x = Digits(Digits.Config(test=9)).load().test.images
    assert torch.equal(first(x), again(x))
    assert not any(p.requires_grad for p in first.network.parameters()) and not first.network.training


def test_every_setting_and_image_counts(cache: Path, tmp_path: Path) -> None:
    found = [small(), small(epochs=2), small(seed=1), small(width=8), small(data={"kind": "digits", "train": 81})]
    assert len({one.digest for one in found}) == len(list(cache.iterdir())) == 5
    data = npz(tmp_path, "a")
    plain = small(data=data)
    with np.load(data["path"]) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    images[0, 0, 0, 0] ^= 1
    np.savez(data["path"], images=images, labels=labels)
    other = small(data=data)
    np.savez(data["path"], images=images, labels=1 - labels)
    third = small(data=data)
    assert len({plain.digest, other.digest, third.digest}) == 3
    assert len(list(cache.iterdir())) == 8


def test_the_second_time_it_is_read(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = small()
    monkeypatch.setattr(Classifier, "trained", lambda *_: pytest.fail("trained again"))
    assert small().digest == first.digest
    fewer = small(data={"kind": "digits", "train": 80, "validation": 7})  # the same weights, measured on what is asked
    assert fewer.digest == first.digest and fewer.accuracy * 7 == pytest.approx(round(fewer.accuracy * 7))
    assert [path.suffix for path in cache.iterdir()] == [".safetensors"]  # nothing half-written beside it


@pytest.mark.parametrize("fault", ["truncated", "other", "empty"])
def test_a_broken_cache_is_refused(fault: str, cache: Path) -> None:
    small()
    (path,) = cache.iterdir()
    content = path.read_bytes()
    other = safetensors.torch.save({"head.weight": torch.zeros(10, 16)})
    path.write_bytes({"truncated": content[:-9], "other": other, "empty": b""}[fault])
    with pytest.raises(WeightsError, match=r"not the classifier it should be .*; remove the file") as caught:
        small()
    assert "\n" not in str(caught.value)


def test_the_network_is_its_formula(digits: Classifier) -> None:
    """Once more with nothing but functions, from the tensors of the file."""
    weights = {name: value.double() for name, value in digits.network.state_dict().items()}
    images = Digits(Digits.Config(test=5)).load().test.images
    x, maps = images.double() / 127.5 - 1, digits.layers(images)
    for i in range(3):
        x = F.conv2d(F.max_pool2d(x, 2) if i else x, weights[f"convs.{i}.weight"], padding=1)
        groups = x.unflatten(1, (4, -1))
        mean, var = groups.mean((2, 3, 4), keepdim=True), groups.var((2, 3, 4), correction=0, keepdim=True)
        x = ((groups - mean) / (var + 1e-5).sqrt()).flatten(1, 2)
        scale, shift = (weights[f"norms.{i}.{name}"].view(-1, 1, 1) for name in ("weight", "bias"))
        x = (x * scale + shift).relu()
        torch.testing.assert_close(maps[f"stage{i + 1}"].double(), x, atol=1e-4, rtol=1e-4)
    vectors = x.mean((2, 3))
    torch.testing.assert_close(digits(images).double(), vectors, atol=1e-5, rtol=1e-5)
    scores = vectors @ weights["head.weight"].T + weights["head.bias"]
    torch.testing.assert_close(digits.logits(digits(images)).double(), scores, atol=1e-4, rtol=1e-4)


def test_grey_from_colour_and_any_size(digits: Classifier) -> None:
    grey = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(digits(grey), digits(grey.repeat(1, 3, 1, 1)))
    colours = torch.tensor([30, 90, 240], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    torch.testing.assert_close(digits.prepare(colours), torch.full((1, 1, 8, 8), 120 / 127.5 - 1))
    tall = torch.randint(0, 256, (1, 1, 50, 21), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    picture = Image.fromarray(tall[0, 0].numpy().astype(np.float32), mode="F").resize((8, 8), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(digits.prepare(tall)[0, 0].numpy(), np.asarray(picture) / 127.5 - 1, atol=1e-5)
    assert digits(tall[:0]).shape == (0, 128)


def test_colour_data(tmp_path: Path) -> None:
    features = small(data=npz(tmp_path, "two lights"), epochs=20)
    assert features.accuracy == 1.0 and features.label == "FD-own-two lights"
    grey = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(features(grey), features(grey.expand(-1, 3, -1, -1)))


def test_data_that_cannot_be_learnt(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="bare has no train labels to train a classifier on; choose other features"):
        small(data=npz(tmp_path, "bare", labels=False))
    with pytest.raises(DataError, match=r"tiny has images of shape \(1, 2, 2\); a classifier needs .* 4 or more"):
        small(data=npz(tmp_path, "tiny", channels=1, size=2))


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache_folder() == Path("/a")
    monkeypatch.delenv("SFUMATO_CACHE")
    assert cache_folder() == Path("/b/sfumato")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path("~/.cache/sfumato").expanduser()
