"""DINOv2 features: a block against NumPy, small networks against transformers' numbers, the resize against Pillow.

The network was once compared with transformers' Dinov2Model on random weights, written by its own `save_pretrained`:
4.40.2, which places the positions as the published code does, agreed to 3e-6 for widths 32 to 768 with 2 to 12 blocks,
gated or not, on grids of 16 x 16, 3 x 7 and 16 x 12; 5.23.0, which places them a little otherwise, to the last bit where no
position is interpolated. The real weights cannot be had here.
"""

from __future__ import annotations

import hashlib
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from scipy.special import erf
from skimage import data as photos

from sfumato.config import load
from sfumato.errors import CapabilityError, ConfigError, ShapeError, WeightsError
from sfumato.features import Features
from sfumato.features import dinov2 as module
from sfumato.features.dinov2 import MEAN, SHAPES, STD, Block, Dinov2, Shape, VisionTransformer, load_network
from sfumato.kinds import find

TINY, TINY_GATED = Shape(32, 2, 2, grid=5), Shape(32, 2, 2, gated=True, grid=5)


def numbers(shape: tuple[int, ...], i: int) -> np.ndarray:
    """Between -1 and 1, the same everywhere."""
    n = int(np.prod(shape))
    return np.modf(np.sin(np.arange(1, n + 1) * 12.9898 + i) * 43758.5453)[0].reshape(shape)


def table(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Tensors of a weight file, typed from those of the Hugging Face repositories."""
    d, hidden = shape.width, 88  # 88: two thirds of 128, rounded up to a multiple of 8
    found = {"cls_token": (1, 1, d), "mask_token": (1, d), "position_embeddings": (1, 1 + shape.grid**2, d)}
    found |= {"patch_embeddings.projection.weight": (d, 3, 14, 14), "patch_embeddings.projection.bias": (d,)}
    found = {f"embeddings.{key}": value for key, value in found.items()}
    block = {f"attention.attention.{name}": (d, d) for name in ("query", "key", "value")}
    block |= {"attention.output.dense": (d, d)}
    if shape.gated:
        block |= {"mlp.weights_in": (2 * hidden, d), "mlp.weights_out": (d, hidden)}
    else:
        block |= {"mlp.fc1": (4 * d, d), "mlp.fc2": (d, 4 * d)}
    for i in range(shape.depth):
        for name, size in block.items():
            found |= {f"encoder.layer.{i}.{name}.weight": size, f"encoder.layer.{i}.{name}.bias": size[:1]}
        for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"):
            found[f"encoder.layer.{i}.{name}"] = (d,)
        found |= {f"encoder.layer.{i}.layer_scale{j}.lambda1": (d,) for j in (1, 2)}
    return found | {"layernorm.weight": (d,), "layernorm.bias": (d,)}


def weights(shape: Shape) -> dict[str, torch.Tensor]:
    """The recipe that transformers' networks were given too."""
    found = {}
    for i, (key, size) in enumerate(sorted(table(shape).items())):
        values = numbers(size, i)
        if len(size) == 1:
            values = 0.3 * values + (0.0 if key.endswith("bias") else 1.0)
        elif len(size) in (2, 4):
            values = values * 3.0 / np.sqrt(np.prod(size[1:]))
        found[key] = torch.from_numpy(values.astype(np.float32))
    return found


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A weight file for a small network that goes by the name of "small"."""
    monkeypatch.setitem(SHAPES, "small", TINY)
    save_file(weights(TINY), tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


def features(path: Path, **settings: object) -> Dinov2:
    return Dinov2(load(Dinov2.Config, {"size": "small", "path": path, **settings}))


# The first six numbers and the length of the class token of transformers 4.40.2; at 70 x 70 those of 5.23.0 too.
GOLDEN = {
    (False, 70, 70): ([-1.28653, -0.45504, 0.32272, 0.0764, 0.90908, -0.14789], 5.815),
    (False, 28, 56): ([-0.03282, -1.28906, -0.17807, 0.82084, 2.05376, -0.77698], 5.9225),
    (False, 112, 98): ([-0.88429, -0.80312, -0.76329, 0.46497, 0.96505, 0.29187], 5.6724),
    (True, 70, 70): ([-1.22744, -1.26671, -1.13203, 1.6438, 0.80387, 0.16532], 5.4619),
    (True, 28, 56): ([-1.44705, 0.08764, -0.88017, 1.67442, 1.42311, 0.72511], 5.6915),
    (True, 112, 98): ([-1.35348, -1.10502, -1.27957, 0.98484, 0.00288, 0.0878], 5.4219),
}


@pytest.mark.parametrize(("gated", "height", "width"), GOLDEN)
def test_vectors_are_transformers(gated: bool, height: int, width: int, tmp_path: Path) -> None:
    shape = TINY_GATED if gated else TINY
    save_file(weights(shape), tmp_path / "a.safetensors")
    network, _ = load_network(tmp_path / "a.safetensors", shape, "bring it", None)
    x = torch.from_numpy(numbers((1, 3, height, width), 99).astype(np.float32)) * 2
    vector = network(x)[0].numpy()
    first, length = GOLDEN[gated, height, width]
    np.testing.assert_allclose(vector[:6], first, atol=3e-5)
    np.testing.assert_allclose(np.linalg.norm(vector), length, atol=3e-4)


def plain_block(x: np.ndarray, state: dict[str, np.ndarray], heads: int, gated: bool) -> np.ndarray:
    """A block once more, in NumPy's float64, head by head and token by token."""

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-6)
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    y, size = norm(x, "norm1"), x.shape[1] // heads
    out = np.empty_like(x)
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        q, k, v = (linear(y, f"attention.attention.{name}")[:, part] for name in ("query", "key", "value"))
        for i, token in enumerate(q):
            chances = np.exp(k @ token / np.sqrt(size))
            out[i, part] = chances @ v / chances.sum()
    x = x + state["layer_scale1.lambda1"] * linear(out, "attention.output.dense")
    y = norm(x, "norm2")
    if gated:
        gate, value = np.split(linear(y, "mlp.weights_in"), 2, axis=1)
        y = linear(gate / (1 + np.exp(-gate)) * value, "mlp.weights_out")
    else:
        y = linear(y, "mlp.fc1")
        y = linear(y * (1 + erf(y / np.sqrt(2))) / 2, "mlp.fc2")
    return x + state["layer_scale2.lambda1"] * y


@pytest.mark.parametrize("shape", [TINY, TINY_GATED], ids=["perceptron", "gated"])
def test_a_block_is_numpys(shape: Shape) -> None:
    prefix = "encoder.layer.1."
    state = {key.removeprefix(prefix): v.double() for key, v in weights(shape).items() if key.startswith(prefix)}
    block = Block(shape).double()
    block.load_state_dict(state)
    x = numbers((7, 32), 5)
    expected = plain_block(x, {key: value.numpy() for key, value in state.items()}, shape.heads, shape.gated)
    with torch.inference_mode():
        np.testing.assert_allclose(block(torch.from_numpy(x)[None])[0].numpy(), expected, atol=1e-12)
    assert np.abs(expected - x).std() > 0.1


@pytest.mark.parametrize(
    ("size", "count"), [("small", 22_056_576), ("base", 86_580_480), ("large", 304_368_640), ("giant", 1_136_480_768)]
)
def test_published_networks_have_their_counts(size: str, count: int) -> None:
    with torch.device("meta"):
        network = VisionTransformer(SHAPES[size])
    assert sum(p.numel() for p in network.parameters()) + SHAPES[size].width == count  # with the mask token
    assert tuple(network.embeddings.position_embeddings.shape) == (1, 1370, SHAPES[size].width)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (150, 400), (400, 150), (224, 224)])
def test_resize_is_pillows_on_whole_levels(height: int, width: int, tiny: Path) -> None:
    photo = photos.astronaut()[:height, 60 : 60 + width]
    picture = Image.fromarray(photo)
    for size in ((224, height), (224, 224)):  # Pillow chose this order until it chose by the shape
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    x = features(tiny).prepare(torch.from_numpy(photo.copy()).permute(2, 0, 1)[None])[0]
    levels = (x * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)) * 255
    error = np.abs(levels.permute(1, 2, 0).numpy() - np.asarray(picture, dtype=np.float32))
    assert error.max() < 1.01 and (error > 0.5).mean() < 1e-3  # a tie may round the other way


def test_scale_is_imagenets(tiny: Path) -> None:
    x = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 9, 9)
    ends = features(tiny).prepare(x)[:, :, 100, 100]
    expected = [[-2.117904, -2.035714, -1.804444], [2.248908, 2.428571, 2.64]]
    torch.testing.assert_close(ends, torch.tensor(expected), atol=1e-5, rtol=0)


def test_vectors_of_any_batch(tiny: Path) -> None:
    x = torch.from_numpy(photos.astronaut()).permute(2, 0, 1).unfold(1, 100, 100).unfold(2, 100, 100)
    x = x.permute(1, 2, 0, 3, 4).flatten(0, 1)[:11].contiguous()
    whole = features(tiny)(x)
    assert whole.shape == (11, 32) and whole.dtype == torch.float32 and (whole[0] - whole[1]).abs().max() > 1e-2
    assert torch.equal(features(tiny)(x, batch=3), whole) and torch.equal(features(tiny)(x.flip(0)), whole.flip(0))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(features(tiny)(x), whole)
    grey = x[:2, :1]
    assert torch.equal(features(tiny)(grey), features(tiny)(grey.repeat(1, 3, 1, 1)))
    assert features(tiny)(x[:0]).shape == (0, 32)
    with pytest.raises(ShapeError, match="uint8 pixels"):
        features(tiny)(x.float())


def test_names_and_digest(tiny: Path) -> None:
    before = torch.get_rng_state()
    small = features(tiny)
    assert torch.equal(before, torch.get_rng_state())
    assert find(Features, "dinov2") is Dinov2 and small.label == "FD-dinov2-small"
    assert small.digest == hashlib.sha256(tiny.read_bytes()).hexdigest()
    assert features(tiny, sha256=small.digest).digest == small.digest
    for wrong in ({"size": "huge"}, {"sha256": "12"}, {"layer": "b4"}):
        with pytest.raises(ConfigError):
            load(Dinov2.Config, wrong)


def test_large_needs_no_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SHAPES, "large", TINY)
    save_file(weights(TINY), tmp_path / "a.safetensors")
    large = Dinov2(Dinov2.Config(path=tmp_path / "a.safetensors"))
    assert (large.label, large.called("KID", "KD")) == ("FD-dinov2", "KD-dinov2")


def test_half_precision_files_are_computed_in_float32(tiny: Path) -> None:
    save_file({key: value.half() for key, value in weights(TINY).items()}, tiny)
    assert {p.dtype for p in features(tiny).network.parameters()} == {torch.float32}


WRONG = {
    "missing": "encoder.layer.1.norm2.bias is missing, not (32,)",
    "surplus": "classifier.weight is (1000, 32), not expected",
    "shape": "layernorm.bias is (31,), not (32,)",
}


@pytest.mark.parametrize("fault", WRONG)
def test_wrong_tensors_are_refused(fault: str, tiny: Path) -> None:
    state = weights(TINY)
    if fault == "missing":
        del state["encoder.layer.1.norm2.bias"]
    elif fault == "surplus":
        state["classifier.weight"] = torch.zeros(1000, 32)
    else:
        state["layernorm.bias"] = torch.zeros(31)
    save_file(state, tiny)
    with pytest.raises(WeightsError) as caught:
        features(tiny)
    assert f"1 tensors are not those of this network, the first: {WRONG[fault]}; bring" in str(caught.value)


def test_the_mask_token_may_be_missing(tiny: Path) -> None:
    whole = features(tiny)
    save_file({key: value for key, value in weights(TINY).items() if "mask" not in key}, tiny)
    assert features(tiny).dim == whole.dim


def test_wrong_files_are_refused(tiny: Path) -> None:
    with pytest.raises(WeightsError, match=r"has SHA-256 \w{8}\.\.\., not 00000000\.\.\.; bring model\.safetensors of"):
        features(tiny, sha256="0" * 64)
    with pytest.raises(WeightsError, match=r"no weights at .*none \(No such file.*\); bring .*facebook/dinov2-small"):
        features(tiny.with_name("none"))
    tiny.write_bytes(tiny.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="not a whole safetensors file") as caught:
        features(tiny)
    torch.save(weights(TINY), tiny)  # a pickle is never read
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        features(tiny)
    assert "\n" not in str(caught.value)


def test_fetching(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def download(repository: str, file: str) -> str:
        asked.append((repository, file))
        return str(tiny)

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(hf_hub_download=download))
    assert Dinov2(Dinov2.Config(size="small")).digest == features(tiny).digest
    assert asked == [("facebook/dinov2-small", "model.safetensors")]


def test_no_network_or_package_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: str) -> str:
        raise ConnectionError("nobody answers")

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(hf_hub_download=refuse))
    with pytest.raises(WeightsError) as caught:
        Dinov2(Dinov2.Config())
    assert str(caught.value) == (
        "cannot fetch DINOv2 (ConnectionError); bring model.safetensors of huggingface.co/facebook/dinov2-large "
        "and set features.path to it"
    )
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CapabilityError, match=r"pip install 'sfumato\[hub\]'; or bring model.safetensors"):
        Dinov2(Dinov2.Config())
    assert module.FILE == "model.safetensors"
