"""Inception features: keys and counts against the paper's table, every block against NumPy, and the way to the weights.

The real weights cannot be had here. The whole network was once compared with torch-fidelity 0.4.0's, which loads the
same file, on random weights: the same 566 keys, and features equal to the last bit.
"""

from __future__ import annotations

import copy
import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pooch
import pytest
import torch
import torch.nn.functional as F
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import maximum_filter, uniform_filter
from torch import nn

from sfumato.errors import CapabilityError, ShapeError, WeightsError
from sfumato.features import Features, inception
from sfumato.features.graph_2015 import A, B, C, D, E, InceptionV3
from sfumato.features.inception import DIGEST, FILE, URL, Inception
from sfumato.kinds import find, parse

BYTES = 95_628_359  # of the weight file, as published beside its SHA-256


def spread(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give every normalisation its own scale, shift, mean and variance, so that none can be left out unseen."""
    draw = torch.Generator().manual_seed(seed)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.8, 2.0, generator=draw)
            nn.init.normal_(norm.bias, 0.0, 0.3, generator=draw)
            nn.init.normal_(norm.running_mean, 0.0, 0.1, generator=draw)
            nn.init.uniform_(norm.running_var, 0.1, 0.6, generator=draw)
        elif isinstance(norm, nn.Conv2d):
            nn.init.kaiming_normal_(norm.weight, generator=draw)
    return module.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def network() -> InceptionV3:
    return spread(InceptionV3())


@pytest.fixture(scope="module")
def weights(network: InceptionV3, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / FILE
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def features(network: InceptionV3, monkeypatch: pytest.MonkeyPatch) -> Inception:
    monkeypatch.setattr(inception, "load_network", lambda _path: network)
    made = Inception(Inception.Config(path="unused"))
    made.at_once = 3  # as many as the tests have, for speed
    return made


def pixels(n: int, channels: int = 3, size: int = 32) -> torch.Tensor:
    coarse = torch.rand((n, channels, 5, 5), generator=torch.Generator().manual_seed(1)) * 255
    return F.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 255).to(torch.uint8)


def close(made: torch.Tensor, expected: torch.Tensor) -> None:
    """To 1e-5 of the largest; the numbers of this random network are large."""
    assert made.shape == expected.shape and (made - expected).abs().max() <= 1e-5 * expected.abs().max()


# The graph as a table, "name in out rows columns", typed from the paper and the names of the weight file.
STEM = """Conv2d_1a_3x3 3 32 3 3|Conv2d_2a_3x3 32 32 3 3|Conv2d_2b_3x3 32 64 3 3|Conv2d_3b_1x1 64 80 1 1
Conv2d_4a_3x3 80 192 3 3"""
BLOCK_A = """branch1x1 {i} 64 1 1|branch5x5_1 {i} 48 1 1|branch5x5_2 48 64 5 5|branch3x3dbl_1 {i} 64 1 1
branch3x3dbl_2 64 96 3 3|branch3x3dbl_3 96 96 3 3|branch_pool {i} {w} 1 1"""
BLOCK_B = "branch3x3 288 384 3 3|branch3x3dbl_1 288 64 1 1|branch3x3dbl_2 64 96 3 3|branch3x3dbl_3 96 96 3 3"
BLOCK_C = """branch1x1 768 192 1 1|branch7x7_1 768 {w} 1 1|branch7x7_2 {w} {w} 1 7|branch7x7_3 {w} 192 7 1
branch7x7dbl_1 768 {w} 1 1|branch7x7dbl_2 {w} {w} 7 1|branch7x7dbl_3 {w} {w} 1 7|branch7x7dbl_4 {w} {w} 7 1
branch7x7dbl_5 {w} 192 1 7|branch_pool 768 192 1 1"""
BLOCK_D = """branch3x3_1 768 192 1 1|branch3x3_2 192 320 3 3|branch7x7x3_1 768 192 1 1|branch7x7x3_2 192 192 1 7
branch7x7x3_3 192 192 7 1|branch7x7x3_4 192 192 3 3"""
BLOCK_E = """branch1x1 {i} 320 1 1|branch3x3_1 {i} 384 1 1|branch3x3_2a 384 384 1 3|branch3x3_2b 384 384 3 1
branch3x3dbl_1 {i} 448 1 1|branch3x3dbl_2 448 384 3 3|branch3x3dbl_3a 384 384 1 3|branch3x3dbl_3b 384 384 3 1
branch_pool {i} 192 1 1"""
BLOCKS = [("5b", BLOCK_A, 192, 32), ("5c", BLOCK_A, 256, 64), ("5d", BLOCK_A, 288, 64), ("6a", BLOCK_B, 0, 0)]
BLOCKS += [("6b", BLOCK_C, 0, 128), ("6c", BLOCK_C, 0, 160), ("6d", BLOCK_C, 0, 160), ("6e", BLOCK_C, 0, 192)]
BLOCKS += [("7a", BLOCK_D, 0, 0), ("7b", BLOCK_E, 1280, 0), ("7c", BLOCK_E, 2048, 0)]


def table() -> dict[str, tuple[int, ...]]:
    """Every tensor of the file with its shape, but the counts of batches."""
    rows = STEM.replace("\n", "|").split("|")
    for name, block, i, w in BLOCKS:
        rows += [f"Mixed_{name}.{row}" for row in block.format(i=i, w=w).replace("\n", "|").split("|")]
    shapes: dict[str, tuple[int, ...]] = {"fc.weight": (1008, 2048), "fc.bias": (1008,)}
    for row in rows:
        name, *numbers = row.split()
        inputs, outputs, height, width = map(int, numbers)
        shapes[f"{name}.conv.weight"] = (outputs, inputs, height, width)
        shapes |= {f"{name}.bn.{part}": (outputs,) for part in ("weight", "bias", "running_mean", "running_var")}
    return shapes


def test_keys_and_shapes_are_the_files(network: InceptionV3) -> None:
    state = {key: tuple(value.shape) for key, value in network.state_dict().items() if "num_batches" not in key}
    assert state == table()
    assert len(state) == 94 * 5 + 2


def test_count_of_numbers(network: InceptionV3) -> None:
    # torchvision's inception_v3 has 27,161,264 parameters, 3,326,696 of them in the auxiliary head that this graph
    # lacks; 8 more classes add 8 (2048 + 1). With a running mean and variance for each of 17,216 channels: 23,885,392.
    parameters = sum(p.numel() for p in network.parameters())
    assert parameters == 27_161_264 - 3_326_696 + 8 * (2048 + 1) == 23_850_960
    channels = sum(norm.num_features for norm in network.modules() if isinstance(norm, nn.BatchNorm2d))
    assert channels == 17_216
    assert sum(int(np.prod(shape)) for shape in table().values()) == parameters + 2 * channels == 23_885_392
    assert 0 < BYTES - 4 * 23_885_392 < 100_000  # as float32 they fill the published file, but for names and offsets


def test_every_block_has_its_shape(network: InceptionV3) -> None:
    expected = {"Conv2d_1a_3x3": (32, 149), "Conv2d_2a_3x3": (32, 147), "Conv2d_2b_3x3": (64, 147)}
    expected |= {"Conv2d_3b_1x1": (80, 73), "Conv2d_4a_3x3": (192, 71)}
    expected |= {"Mixed_5b": (256, 35), "Mixed_5c": (288, 35), "Mixed_5d": (288, 35)}
    expected |= {f"Mixed_6{letter}": (768, 17) for letter in "abcde"}
    expected |= {"Mixed_7a": (1280, 8), "Mixed_7b": (2048, 8), "Mixed_7c": (2048, 8)}
    seen, given, hooks = {}, {}, []
    for name, child in network.named_children():

        def note(_module: nn.Module, args: tuple[torch.Tensor], out: torch.Tensor, name: str = name) -> None:
            seen[name], given[name] = tuple(out.shape[1:]), tuple(args[0].shape[1:])

        hooks.append(child.register_forward_hook(note))
    with torch.inference_mode():
        vectors = network(torch.zeros(1, 3, 299, 299))
        assert network.fc(vectors).shape == (1, 1008)
    for hook in hooks:
        hook.remove()
    assert vectors.shape == (1, 2048)
    assert seen.pop("fc") == (1008,)
    assert seen == {name: (channels, size, size) for name, (channels, size) in expected.items()}
    assert given["Conv2d_3b_1x1"] == (64, 73, 73) and given["Mixed_5b"] == (192, 35, 35)  # after the two max pools


class Plain:
    """The blocks once more, in NumPy's float64, from a state dict: nothing here comes from torch but the weights."""

    def __init__(self, module: nn.Module):
        self.state = {key: value.numpy() for key, value in module.state_dict().items()}

    def unit(self, x: np.ndarray, *names: str, stride: int = 1) -> np.ndarray:
        """A chain of units; with stride 2 the last is strided and not padded."""
        for name in names:
            last = stride if name == names[-1] else 1
            weight = self.state[f"{name}.conv.weight"]
            _, _, height, width = weight.shape
            if last == 1:
                x = np.pad(x, ((0, 0), (height // 2, height // 2), (width // 2, width // 2)))
            windows = sliding_window_view(x, (height, width), axis=(1, 2))[:, ::last, ::last]
            y = np.einsum("ihwab,oiab->ohw", windows, weight, optimize=True)
            parts = ("weight", "bias", "running_mean", "running_var")
            gamma, beta, mean, var = (self.state[f"{name}.bn.{part}"][:, None, None] for part in parts)
            x = np.maximum((y - mean) / np.sqrt(var + 0.001) * gamma + beta, 0)
        return x

    @staticmethod
    def mean(x: np.ndarray) -> np.ndarray:
        inside = uniform_filter(np.ones_like(x), (0, 3, 3), mode="constant")
        return uniform_filter(x, (0, 3, 3), mode="constant") / inside

    @staticmethod
    def most(x: np.ndarray, stride: int = 1) -> np.ndarray:
        y = maximum_filter(x, (1, 3, 3), mode="constant", cval=-np.inf)
        return y if stride == 1 else y[:, 1:-1:2, 1:-1:2]

    def a(self, x: np.ndarray) -> list[np.ndarray]:
        five = self.unit(x, "branch5x5_1", "branch5x5_2")
        threes = self.unit(x, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3")
        return [self.unit(x, "branch1x1"), five, threes, self.unit(self.mean(x), "branch_pool")]

    def b(self, x: np.ndarray) -> list[np.ndarray]:
        threes = self.unit(x, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3", stride=2)
        return [self.unit(x, "branch3x3", stride=2), threes, self.most(x, 2)]

    def c(self, x: np.ndarray) -> list[np.ndarray]:
        seven = self.unit(x, *(f"branch7x7_{i}" for i in (1, 2, 3)))
        sevens = self.unit(x, *(f"branch7x7dbl_{i}" for i in (1, 2, 3, 4, 5)))
        return [self.unit(x, "branch1x1"), seven, sevens, self.unit(self.mean(x), "branch_pool")]

    def d(self, x: np.ndarray) -> list[np.ndarray]:
        three = self.unit(x, "branch3x3_1", "branch3x3_2", stride=2)
        sevens = self.unit(x, *(f"branch7x7x3_{i}" for i in (1, 2, 3, 4)), stride=2)
        return [three, sevens, self.most(x, 2)]

    def e(self, x: np.ndarray, peak: bool) -> list[np.ndarray]:
        three, threes = self.unit(x, "branch3x3_1"), self.unit(x, "branch3x3dbl_1", "branch3x3dbl_2")
        crosses = [self.unit(three, f"branch3x3_2{side}") for side in "ab"]
        crosses += [self.unit(threes, f"branch3x3dbl_3{side}") for side in "ab"]
        pool = self.most(x) if peak else self.mean(x)
        return [self.unit(x, "branch1x1"), *crosses, self.unit(pool, "branch_pool")]


@pytest.mark.parametrize(
    ("block", "plain", "channels"),
    [
        (lambda: A(192, 32), Plain.a, 192),
        (lambda: B(288), Plain.b, 288),
        (lambda: C(128), Plain.c, 768),
        (lambda: D(), Plain.d, 768),
        (lambda: E(1280, peak=False), lambda plain, x: plain.e(x, False), 1280),
        (lambda: E(2048, peak=True), lambda plain, x: plain.e(x, True), 2048),
    ],
    ids=["A", "B", "C", "D", "E mean", "E max"],
)
def test_block_is_numpys(block: object, plain: object, channels: int) -> None:
    module = spread(block()).double()
    x = torch.randn(1, channels, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).abs()
    expected = np.concatenate(plain(Plain(module), x[0].numpy()))
    assert expected.std() > 0.1
    np.testing.assert_allclose(module(x)[0].numpy(), expected, atol=1e-9)


TAPS = {"Conv2d_2b_3x3": "64", "Conv2d_4a_3x3": "192", "Mixed_5d": "288", "Mixed_6e": "768", "Mixed_7c": "2048"}


def test_stem_blocks_and_pools_follow_each_other(network: InceptionV3) -> None:
    """The whole network is its parts in the paper's order; only the last block pools by a maximum; stages are on the way."""
    parts = dict(network.named_children())
    x = torch.rand(1, 3, 299, 299, generator=torch.Generator().manual_seed(3)) * 2 - 1
    with torch.inference_mode():
        y, stages = x, dict(network.stages(x))
        for name in [name for name in table_order() if name != "fc"]:
            if name in ("Conv2d_3b_1x1", "Mixed_5b"):
                y = F.max_pool2d(y, 3, 2)
            y = parts[name](y)
            if name in TAPS:
                torch.testing.assert_close(stages[TAPS[name]], y)
        torch.testing.assert_close(network(x), y.flatten(2).mean(2))
    assert [name for name, part in parts.items() if getattr(part, "peak", False)] == ["Mixed_7c"]


def table_order() -> list[str]:
    return [row.split()[0] for row in STEM.replace("\n", "|").split("|")] + [f"Mixed_{name}" for name, *_ in BLOCKS]


def test_layers_and_logits(features: Inception, network: InceptionV3) -> None:
    x = pixels(2)
    layers, vectors = features.layers(x), features(x)
    sizes = {"64": 147, "192": 71, "288": 35, "768": 17, "2048": 8}
    assert {name: tuple(maps.shape) for name, maps in layers.items()} == {
        name: (2, int(name), size, size) for name, size in sizes.items()
    }
    close(layers["2048"].mean((2, 3)), vectors)
    small = vectors / vectors.max()  # so that the bias would be seen
    assert network.fc.bias.abs().max() > 1e-3
    np.testing.assert_allclose(features.logits(small).numpy(), small.numpy() @ network.fc.weight.numpy().T, atol=1e-5)


def test_folded_is_the_same_function(network: InceptionV3) -> None:
    folded = copy.deepcopy(network)
    folded.fold()
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())
    x = torch.rand(1, 3, 299, 299, generator=torch.Generator().manual_seed(5)) * 2 - 1
    with torch.inference_mode():
        close(folded(x), network(x))


def test_features_of_grey_and_rgb_in_any_batch(features: Inception) -> None:
    grey = pixels(3, channels=1)
    whole = features(grey.repeat(1, 3, 1, 1))
    assert whole.shape == (3, features.dim) and whole.dtype == torch.float32 and (whole >= 0).all()
    assert torch.equal(features(grey, batch=1), whole)
    assert (whole[0] - whole[1]).abs().max() > 1e-2 * whole.max()
    assert features(grey[:0]).shape == (0, 2048)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(features.passes(grey), whole)
    with pytest.raises(ShapeError, match="uint8 pixels"):
        features(grey.float())


def test_kind_and_digest() -> None:
    assert find(Features, "inception") is Inception
    assert parse(Features, "inception") == Inception.Config()
    assert (Inception.dim, Inception.digest, Inception.graph_2015) == (2048, DIGEST, True)
    assert FILE.removesuffix(".pth").endswith(DIGEST[:8]) and URL.endswith(FILE) and len(DIGEST) == 64


def test_file_of_another_digest_is_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"not 6726825d\.\.\.: truncated or another file; bring pt_.* from http"):
        Inception(Inception.Config(path=weights))
    with pytest.raises(WeightsError, match=r"no weights at .*none\.pth") as caught:
        Inception(Inception.Config(path=tmp_path / "none.pth"))
    assert "\n" not in str(caught.value)


def test_file_of_the_right_digest_is_loaded(
    weights: Path, network: InceptionV3, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust(weights, monkeypatch)
    before = torch.get_rng_state()
    features = Inception(Inception.Config(path=weights))
    features.at_once = 1
    assert torch.equal(before, torch.get_rng_state())
    assert not features.network.training and not any(p.requires_grad for p in features.network.parameters())
    with torch.inference_mode():
        expected = network(features.prepare(pixels(1)))
    close(features.passes(pixels(1)), expected)


@pytest.mark.parametrize("fault", ["none", "missing", "surplus", "shape"])
def test_wrong_keys_are_refused(
    fault: str, network: InceptionV3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = network.state_dict()
    state = {key: state[key] for key in state if "num_batches" not in key}  # which old files lack
    if fault == "missing":
        del state["Mixed_7a.branch3x3_1.bn.bias"]
    elif fault == "surplus":
        state["AuxLogits.fc.bias"] = torch.zeros(1000)
    elif fault == "shape":
        state["fc.bias"] = torch.zeros(1000)
    path = tmp_path / FILE
    torch.save(state, path)
    trust(path, monkeypatch)
    if fault == "none":
        Inception(Inception.Config(path=path))
        return
    name = {"missing": "Mixed_7a.branch3x3_1.bn.bias", "surplus": "AuxLogits.fc.bias", "shape": "fc.bias"}[fault]
    with pytest.raises(WeightsError, match=f"1 tensors are not those of the 2015 Inception graph, the first {name}"):
        Inception(Inception.Config(path=path))


def trust(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that this file is the published one."""
    monkeypatch.setattr(inception, "DIGEST", pooch.file_hash(str(path)))


def test_weights_come_from_the_cache_without_network(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trust(weights, monkeypatch)
    monkeypatch.setattr(pooch, "os_cache", lambda _project: weights.parent)
    monkeypatch.setattr(inception, "URL", "http://127.0.0.1:9/" + FILE)
    assert inception.fetched() == weights


def test_no_network_says_what_to_bring_and_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooch, "os_cache", lambda _project: tmp_path / "cache")
    monkeypatch.setattr(inception, "URL", "http://127.0.0.1:9/" + FILE)  # a port that nobody answers
    with pytest.raises(WeightsError, match=rf"cannot fetch {FILE} \(\w+\); bring it from http.* to .*cache") as caught:
        Inception(Inception.Config())
    assert "\n" not in str(caught.value)


def test_download_of_another_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong:
        def __call__(self, url: str, output_file: str, *_rest: object) -> None:
            Path(output_file).write_bytes(b"not the weights")

    monkeypatch.setattr(pooch, "os_cache", lambda _project: tmp_path)
    retrieve = pooch.retrieve
    monkeypatch.setattr(pooch, "retrieve", lambda *args, **kwargs: retrieve(*args, **kwargs, downloader=Wrong()))
    with pytest.raises(WeightsError, match=r"\(ValueError\)"):
        inception.fetched()
    assert not list(tmp_path.glob(FILE))


def test_without_pooch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(CapabilityError, match=r"pip install 'sfumato\[data\]', or set features\.path"):
        Inception(Inception.Config())


def test_importing_is_lazy() -> None:
    code = "import sys, sfumato.features.inception, sfumato.features.lite0 as m; "
    code += "print([name for name in ('pooch', m.PACKAGE) if name in sys.modules])"
    root = Path(importlib.import_module("sfumato.features").__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
