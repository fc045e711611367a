"""Perceptual distances. Oracles: the package lpips 0.1.4 itself, as golden numbers, and NumPy's arithmetic on the maps.

The golden numbers were made once by lpips 0.1.4's LPIPS(net, pnet_rand=True) with a torchvision of two empty networks:
trunk weights `drawn`, pictures `pair`, heads `invented` (model_path) or the package's own v0.1, x = pixels / 127.5 - 1,
spatial=True for the hole. Only random trunk weights can be had here; with the real ones both would read the same file.
"""

import hashlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sfumato.config import load
from sfumato.errors import CapabilityError, ConfigError, ShapeError, WeightsError
from sfumato.features import Features, alexnet, base, vgg
from sfumato.features.lite0 import Lite0
from sfumato.images import to_float
from sfumato.kinds import build, kinds_of
from sfumato.metrics import perceptual
from sfumato.metrics.base import Score
from sfumato.metrics.perceptual import HEADS, Perceptual, gap, official_heads
from sfumato.tasks.base import Observation
from sfumato.tasks.operators import Masking

SIZES = {"alex": 64, "vgg": 32}
CHANNELS = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}
GOLDEN = {  # (net, heads, region): three images
    ("alex", "invented", "all"): [0.1550040, 0.1490795, 0.1453134],
    ("alex", "invented", "hole"): [0.1400986, 0.1422932, 0.1326243],
    ("alex", "official", "all"): [0.01837650, 0.01817141, 0.01688927],
    ("alex", "official", "hole"): [0.01586629, 0.01753941, 0.01519453],
    ("alex", "baseline", "all"): [0.3084824, 0.2980724, 0.2880139],
    ("alex", "baseline", "hole"): [0.2681378, 0.2809765, 0.2624618],
    ("vgg", "invented", "all"): [0.1710832, 0.1656203, 0.1714867],
    ("vgg", "invented", "hole"): [0.1861386, 0.1479834, 0.1662503],
    ("vgg", "official", "all"): [0.02868389, 0.02716120, 0.02840062],
    ("vgg", "official", "hole"): [0.03043520, 0.02432177, 0.02767452],
    ("vgg", "baseline", "all"): [0.3310094, 0.3206515, 0.3336346],
    ("vgg", "baseline", "hole"): [0.3591733, 0.2893285, 0.3223398],
}


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def drawn(net: str) -> dict[str, Tensor]:
    """Random trunk weights in the order of the file's keys, a weight and then its bias."""
    rng, state = generator(0), {}
    with torch.device("meta"):
        network = alexnet.alexnet() if net == "alex" else vgg.vgg(16)
    for key, value in network.state_dict().items():
        bound = (6 / value[0].numel()) ** 0.5 if value.ndim == 4 else 0.1
        state[key] = torch.from_numpy(rng.uniform(-bound, bound, tuple(value.shape)).astype(np.float32))
    return state


def invented(net: str) -> dict[str, Tensor]:
    rng = generator(2)
    heads = [torch.from_numpy(rng.uniform(0, 1, (1, count, 1, 1)).astype(np.float32)) for count in CHANNELS[net]]
    return {f"lin{i}.model.1.weight": head for i, head in enumerate(heads)}


def pair(size: int) -> tuple[Tensor, Tensor]:
    rng = generator(1)
    true = rng.integers(0, 256, (3, 3, size // 4, size // 4)).repeat(4, 2).repeat(4, 3)
    made = (true + rng.integers(-60, 61, true.shape)).clip(0, 255)
    return torch.from_numpy(made.astype(np.uint8)), torch.from_numpy(true.astype(np.uint8))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, made = tmp_path_factory.mktemp("weights"), {}
    for net in SIZES:
        made |= {net: folder / f"{net}.pth", f"{net} heads": folder / f"{net}_heads.pth"}
        torch.save(drawn(net), made[net])
        torch.save(invented(net), made[f"{net} heads"])
    return made


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def trunks(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Settings of both trunks with the random weights, whose digests are let through here alone."""
    monkeypatch.setattr(alexnet, "DIGEST", sha256(files["alex"]))
    monkeypatch.setattr(vgg, "DIGESTS", {16: sha256(files["vgg"])})
    monkeypatch.setattr(base, "_extractors", {})
    settings = {"alex": {"kind": "alexnet"}, "vgg": {"kind": "vgg", "depth": 16}}
    return {net: {**values, "path": files[net]} for net, values in settings.items()}


def measured(made: Tensor, true: Tensor, known: Tensor | None = None, **settings: Any) -> Score:
    """By default the hole is rows 8 to 23 and columns 8 to 19."""
    if known is None:
        known = torch.ones(len(true), 1, *true.shape[2:])
        known[:, :, 8:24, 8:20] = 0.0
    metric = build(load(Perceptual.Config, settings))
    operator = Masking(known)
    metric.update(made, true, Observation(operator.forward(to_float(true)), operator, torch.ones_like(known)))
    return metric.compute()


@pytest.mark.parametrize("net", SIZES)
@pytest.mark.parametrize("region", ["all", "hole"])
def test_lpips_itself_with_invented_heads(
    net: str, region: str, trunks: dict[str, Any], files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = files[f"{net} heads"]
    monkeypatch.setattr(perceptual, "HEADS", {net: sha256(path)})
    score = measured(*pair(SIZES[net]), features=trunks[net], heads="lpips", path_heads=path, region=region)
    assert score.samples == pytest.approx(GOLDEN[net, "invented", region], rel=1e-5)
    assert score.label == f"LPIPS-{net}" + (" (whole)" if region == "all" else "") and score.better == "lower"
    assert score.card["heads"] == f"LPIPS v0.1, sha256 {sha256(path)}" and len(score.card["layers"]) == 5


@pytest.mark.skipif(importlib.util.find_spec("lpips") is None, reason="needs the heads in the package lpips")
@pytest.mark.parametrize("net", SIZES)
@pytest.mark.parametrize("region", ["all", "hole"])
def test_lpips_itself_with_its_heads(net: str, region: str, trunks: dict[str, Any]) -> None:
    score = measured(*pair(SIZES[net]), features=trunks[net], heads="lpips", region=region)
    assert score.samples == pytest.approx(GOLDEN[net, "official", region], rel=1e-5)
    assert "lpips" not in sys.modules


@pytest.mark.parametrize("net", SIZES)
@pytest.mark.parametrize("region", ["all", "hole"])
def test_uniform_heads_are_a_fifth_of_lpips_without_heads(net: str, region: str, trunks: dict[str, Any]) -> None:
    score = measured(*pair(SIZES[net]), features=trunks[net], region=region)
    assert [5 * value for value in score.samples] == pytest.approx(GOLDEN[net, "baseline", region], rel=1e-5)
    assert score.label.startswith("PD-alexnet" if net == "alex" else "PD-vgg16")


def test_gap_is_numpys() -> None:
    rng = generator(3)
    u, v, w = rng.normal(size=(2, 6, 3, 4)), rng.normal(size=(2, 6, 3, 4)), rng.uniform(size=6)
    u[0, :, 1, 1] = 0.0  # a place without any feature stays zero
    unit_u, unit_v = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-10) for x in (u, v))
    expected = np.einsum("c,bchw->bhw", w, (unit_u - unit_v) ** 2)
    ours = gap(*(torch.from_numpy(x) for x in (u, v, w)))
    np.testing.assert_allclose(ours[:, 0].numpy(), expected, rtol=1e-8)
    cosine = (unit_u * unit_v).sum(1)[1]
    np.testing.assert_allclose(
        gap(*map(torch.from_numpy, (u, v)), torch.ones(1))[1, 0].numpy(), 2 - 2 * cosine, atol=1e-6
    )


def enlarged(x: np.ndarray, size: int) -> np.ndarray:
    """Bilinear with half pixels, borders repeated, of one map [h, w], typed as a matrix of tents."""

    def tents(count: int) -> np.ndarray:
        place = ((np.arange(size) + 0.5) * count / size - 0.5).clip(0, count - 1)
        return np.maximum(0.0, 1 - np.abs(place[:, None] - np.arange(count)))

    return tents(x.shape[0]) @ x @ tents(x.shape[1]).T


@pytest.mark.parametrize("region", ["all", "hole", "ring"])
def test_lite0_is_numpys(region: str) -> None:
    made, true = pair(40)
    score = measured(made, true, region=region)
    band = np.zeros((40, 40), dtype=bool)
    if region == "ring":
        band[6:26, 6:22] = True
        band[10:22, 10:18] = False
    else:
        band[8:24, 8:20] = True
    maps = [
        {k: v.numpy().astype(float) for k, v in Lite0(Lite0.Config(layer="b15")).layers(x).items()}
        for x in (made, true)
    ]
    expected = np.zeros(3)
    for name in maps[0]:
        u, v = (x[name] / np.linalg.norm(x[name], axis=1, keepdims=True) for x in maps)
        for i, error in enumerate(((u - v) ** 2).sum(1)):
            expected[i] += (error.mean() if region == "all" else enlarged(error, 40)[band].mean()) / 6
    assert score.samples == pytest.approx(expected.tolist(), rel=2e-5)
    assert score.label == "PD-lite0-b15" + {"all": " (whole)", "hole": "", "ring": " (ring)"}[region]
    assert score.card["layers"] == ["stem", "b2", "b4", "b7", "b10", "b15"] and score.card["dtype"].startswith(
        "float32"
    )
    assert score.card["heads"] == "uniform, 1 / layers" and len(score.card["features"]["sha256"]) == 64


def test_equal_images_are_zero_and_nine_pairs_are_three_and_six() -> None:
    made, true = (x.repeat(3, 1, 1, 1) for x in pair(24))
    assert measured(true, true, region="all").samples == [0.0] * 9
    whole = measured(made, true).samples
    assert whole[:3] == whole[3:6] == whole[6:] == measured(made[:3], true[:3]).samples and min(whole) > 0.01


def test_small_images_are_refused_by_the_network(trunks: dict[str, Any]) -> None:
    made, true = pair(24)
    for net, message in (("alex", "alexnet takes images of 31 x 31"), ("vgg", "vgg16 takes images of 32 x 32")):
        with pytest.raises(ShapeError, match=message):
            measured(made, true, features=trunks[net])


def test_prepare_loads_once_and_early(trunks: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (build(load(Perceptual.Config, {"features": trunks["alex"]})) for _ in range(2))
    for metric in (first, second):
        metric.prepare(torch.device("cpu"))
    assert first._features is second._features
    gone, settings = tmp_path / "none", {"features": trunks["alex"], "heads": "lpips"}
    network = build(load(Perceptual.Config, {"features": {**trunks["vgg"], "path": gone}}))
    with pytest.raises(WeightsError, match=r"no weights at .*none .*; bring vgg16-397923af\.pth from https"):
        network.prepare(torch.device("cpu"))
    heads = build(load(Perceptual.Config, {**settings, "path_heads": gone}))
    with pytest.raises(WeightsError, match=r"no weights at .*; bring weights/v0\.1/alex\.pth of the PyPI package lp"):
        heads.prepare(torch.device("cpu"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(CapabilityError, match=r"pip install lpips==0\.1\.4, or set path_heads"):
        official_heads("vgg", None)


def test_other_heads_are_refused(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(len(digest) == 64 for digest in HEADS.values())
    monkeypatch.setattr(torch, "load", lambda *_args, **_kwargs: pytest.fail("torch.load came before the digest"))
    with pytest.raises(WeightsError, match="another file"):
        official_heads("alex", files["alex heads"])


class Flat(Features):
    """Features without layers."""

    class Config(Lite0.Config):
        kind: str = "flat"  # not a Literal, so that no study file can name it


kinds_of(Features).pop("flat")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"features": Flat.Config()}, "features 'flat' show no layers; .* needs some"),
        ({"heads": "lpips"}, "LPIPS has no heads for features 'lite0' as set; take alexnet or vgg of depth 16"),
        ({"features": {"kind": "vgg", "depth": 19}, "heads": "lpips"}, "LPIPS has no heads for features 'vgg' as set"),
        ({"heads": "v0.1"}, "heads"),
    ],
)
def test_what_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(Perceptual.Config, settings)
