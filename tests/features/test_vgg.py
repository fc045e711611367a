"""VGG and AlexNet features: keys and shapes against the papers, maps against NumPy, and the way to the weights.

The real weights cannot be had here; LPIPS's own slices of both trunks gave equal distances, see metrics/test_perceptual.py.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.lib.stride_tricks import sliding_window_view

from sfumato.config import load
from sfumato.errors import ConfigError, ShapeError, WeightsError
from sfumato.features import Features, Layered, vgg
from sfumato.features import alexnet as alexnet_module
from sfumato.features.alexnet import Alexnet
from sfumato.features.vgg import VGG
from sfumato.kinds import build, find, parse

# "key outputs inputs kernel" as in torchvision's files; VGG's kernels are all 3.
ALEXNET = "0 64 3 11|3 192 64 5|6 384 192 3|8 256 384 3|10 256 256 3"
VGG16 = "0 64 3|2 64 64|5 128 64|7 128 128|10 256 128|12 256 256|14 256 256|17 512 256|19 512 512|21 512 512|24 512 512"
VGG16 += "|26 512 512|28 512 512"
VGG19 = "0 64 3|2 64 64|5 128 64|7 128 128|10 256 128|12 256 256|14 256 256|16 256 256|19 512 256|21 512 512|23 512 512"
VGG19 += "|25 512 512|28 512 512|30 512 512|32 512 512|34 512 512"
TABLES = {"alexnet": ALEXNET, "vgg16": VGG16, "vgg19": VGG19}
# (layer, convolutions so far, channels, size for 64 x 64 pixels)
LAYERS = {
    "alexnet": [("relu1", 1, 64, 15), ("relu2", 2, 192, 7)]
    + [(f"relu{i}", i, c, 3) for i, c in ((3, 384), (4, 256), (5, 256))],
    "vgg16": [("relu1_2", 2, 64, 64), ("relu2_2", 4, 128, 32), ("relu3_3", 7, 256, 16), ("relu4_3", 10, 512, 8)],
    "vgg19": [("relu1_2", 2, 64, 64), ("relu2_2", 4, 128, 32), ("relu3_4", 8, 256, 16), ("relu4_4", 12, 512, 8)],
}
LAYERS["vgg16"].append(("relu5_3", 13, 512, 4))
LAYERS["vgg19"].append(("relu5_4", 16, 512, 4))
LEAST = {"alexnet": 31, "vgg16": 32, "vgg19": 32}
networks = pytest.mark.parametrize("name", list(TABLES))


def drawn(name: str) -> dict[str, torch.Tensor]:
    """Random weights of the size that keeps the maps alive, and two tensors of a classifier, which must do no harm."""
    rng, state = np.random.Generator(np.random.PCG64(0)), {}
    for row in TABLES[name].split("|"):
        i, outputs, inputs, kernel = (int(number) for number in (row + " 3").split()[:4])
        bound = (6 / (inputs * kernel**2)) ** 0.5
        weight = rng.uniform(-bound, bound, (outputs, inputs, kernel, kernel))
        state[f"features.{i}.weight"] = torch.from_numpy(weight.astype(np.float32))
        state[f"features.{i}.bias"] = torch.from_numpy(rng.uniform(-0.1, 0.1, outputs).astype(np.float32))
    classifier = ("classifier.6", "head.fc")  # torchvision's name, timm's name
    return state | {f"{key}.weight": torch.zeros(4, 3) for key in classifier}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    folder, made = tmp_path_factory.mktemp("weights"), {}
    for name in TABLES:
        path = folder / f"{name}.pth"
        torch.save(drawn(name), path)
        made[name] = path, hashlib.sha256(path.read_bytes()).hexdigest()
    return made


@pytest.fixture
def features(name: str, files: dict[str, tuple[Path, str]], monkeypatch: pytest.MonkeyPatch) -> Any:
    path, digest = files[name]
    monkeypatch.setattr(alexnet_module, "DIGEST", digest)
    monkeypatch.setattr(vgg, "DIGESTS", {16: digest, 19: digest})
    return build(config(name, path))


def config(name: str, path: Path | None = None) -> Any:
    depth = {} if name == "alexnet" else {"depth": int(name[3:])}
    return parse(Features, {"kind": "vgg" if depth else name, "path": path, **depth})


def pixels(n: int, channels: int = 3, height: int = 33, width: int = 40) -> torch.Tensor:
    coarse = torch.rand((n, channels, 5, 5), generator=torch.Generator().manual_seed(1)) * 255
    return F.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 255).to(torch.uint8)


def by_numpy(x: torch.Tensor, name: str, layer: str) -> np.ndarray:
    """One image's map in float64, from pixels on: strides, paddings and poolings by the papers."""
    state, alex = drawn(name), name == "alexnet"
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    y = (x.numpy().astype(float) / 255 - mean[:, None, None]) / deviation[:, None, None]
    reached = {last: label for label, last, _, _ in LAYERS[name]}
    for count, row in enumerate(TABLES[name].split("|"), start=1):
        key = f"features.{row.split()[0]}"
        weight, bias = state[f"{key}.weight"].double().numpy(), state[f"{key}.bias"].double().numpy()
        kernel, first = weight.shape[2], alex and count == 1
        pad, stride = (2, 4) if first else (kernel // 2, 1)
        windows = sliding_window_view(np.pad(y, [(0, 0), (pad, pad), (pad, pad)]), (kernel, kernel), axis=(1, 2))
        y = np.einsum("ihwab,oiab->ohw", windows[:, ::stride, ::stride], weight, optimize=True) + bias[:, None, None]
        y = np.maximum(y, 0)
        if reached.get(count) == layer:
            return y
        if (count in (1, 2)) if alex else (count in reached):
            size = 3 if alex else 2
            y = sliding_window_view(y, (size, size), axis=(1, 2))[:, ::2, ::2].max((3, 4))
    raise AssertionError(layer)


@networks
def test_layers_are_numpys(name: str, features: Any) -> None:
    x = pixels(2)
    maps = features.layers(x)
    for layer in [label for label, *_ in LAYERS[name]][:: 2 if name == "vgg16" else 4]:
        expected = by_numpy(x[1], name, layer)
        assert expected.std() > 0.01
        np.testing.assert_allclose(maps[layer][1].numpy(), expected, atol=1e-5 * expected.max())
    np.testing.assert_allclose(features(x)[1].numpy(), expected.mean((1, 2)), atol=1e-5 * expected.max())


@networks
def test_names_and_shapes(name: str, features: Any) -> None:
    maps = features.layers(pixels(2, height=64, width=64))
    shapes = [(label, tuple(x.shape)) for label, x in maps.items()]
    assert shapes == [(label, (2, channels, size, size)) for label, _, channels, size in LAYERS[name]]
    assert all(x.dtype == torch.float32 and x.min() == 0 and not x.requires_grad for x in maps.values())
    vectors = features(pixels(2))
    assert vectors.shape == (2, features.dim) and vectors.std() > 0.01 and isinstance(features, Layered)
    assert features.tag == name and features.label == f"FD-{name}" and features.about()["sha256"] == features.digest


@networks
def test_keys_are_those_of_the_file(name: str, features: Any) -> None:
    shapes = {key: tuple(value.shape) for key, value in features.network.state_dict().items()}
    state = {key: tuple(value.shape) for key, value in drawn(name).items() if key.startswith("features.")}
    assert shapes == state


@networks
def test_batch_size_order_and_autocast_do_not_matter(name: str, features: Any) -> None:
    x = pixels(9)
    whole = features(x)
    assert torch.equal(features(x, batch=2), whole) and torch.equal(features(x.flip(0)), whole.flip(0))
    first = next(iter(features.layers(x[:2]).values()))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(next(iter(features.layers(x[:2]).values())), first)
    assert (whole[0] - whole[1]).abs().max() > 0.01


@networks
def test_grey_is_rgb_of_equal_channels_and_none_is_none(name: str, features: Any) -> None:
    grey = pixels(2, channels=1)
    assert torch.equal(features(grey), features(grey.repeat(1, 3, 1, 1)))
    assert features(grey[:0]).shape == (0, features.dim)


@networks
def test_scale_is_imagenets(name: str, features: Any) -> None:
    x = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 32, 32)
    expected = [[-2.117904, -2.035714, -1.804444], [2.248908, 2.428571, 2.640000]]
    np.testing.assert_allclose(features.prepare(x)[:, :, 0, 0].numpy(), expected, atol=1e-6)


@networks
def test_the_least_size(name: str, features: Any) -> None:
    least = LEAST[name]
    assert features(pixels(1, height=least, width=least)).isfinite().all()
    for height, width in ((least - 1, 50), (50, least - 1), (8, 8)):
        with pytest.raises(ShapeError, match=rf"{name} takes .*{least} x {least} .*; got {height} x {width}; enlarge"):
            features(pixels(1, height=height, width=width))
    with pytest.raises(ShapeError, match="uint8 pixels"):
        features(pixels(1).float())


def test_the_least_of_alexnet_is_what_its_poolings_need(monkeypatch: pytest.MonkeyPatch) -> None:
    network = alexnet_module.alexnet()
    assert network(torch.zeros(1, 3, 31, 31)).shape[2:] == (1, 1)
    with pytest.raises(RuntimeError):
        network(torch.zeros(1, 3, 30, 30))


@networks
def test_building_draws_no_random_numbers(name: str, features: Any) -> None:
    before = torch.get_rng_state()
    build(features.config)
    assert torch.equal(before, torch.get_rng_state())


def test_digests_carry_the_names_of_torchvisions_files() -> None:
    pairs = [(vgg.FILES[depth], vgg.DIGESTS[depth]) for depth in (16, 19)]
    for file, digest in [*pairs, (alexnet_module.FILE, alexnet_module.DIGEST)]:
        assert file.removesuffix(".pth").endswith("-" + digest[:8]) and len(digest) == 64


@networks
def test_another_file_is_refused_before_it_is_unpickled(
    name: str, files: dict[str, tuple[Path, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "load", lambda *_args, **_kwargs: pytest.fail("torch.load came before the digest"))
    with pytest.raises(WeightsError, match=r"truncated or another file; bring \w+-.* from https://download\.pytorch"):
        build(config(name, files[name][0]))


@networks
def test_files_are_looked_for_among_torch_hubs(
    name: str, files: dict[str, tuple[Path, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    file = alexnet_module.FILE if name == "alexnet" else vgg.FILES[int(name[3:])]
    with pytest.raises(WeightsError) as caught:
        build(config(name))
    text = str(caught.value)
    assert f"no weights at {tmp_path}/checkpoints/{file}" in text and f"bring {file} from {vgg.URL}{file} to" in text
    assert "or set features.path" in text and "\n" not in text
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / file).symlink_to(files[name][0])
    monkeypatch.setattr(alexnet_module, "DIGEST", files[name][1])
    monkeypatch.setattr(vgg, "DIGESTS", dict.fromkeys((16, 19), files[name][1]))
    assert build(config(name))(pixels(1)).isfinite().all()


def test_kinds_and_settings() -> None:
    assert find(Features, "vgg") is VGG and find(Features, "alexnet") is Alexnet
    assert VGG.Config().depth == 19
    for wrong in ({"depth": 11}, {"size": 64}):
        with pytest.raises(ConfigError):
            load(VGG.Config, wrong)
