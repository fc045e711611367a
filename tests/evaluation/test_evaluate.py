"""Evaluate: one figure whatever the container, order, batch or threads; the card says everything; too little is refused."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch

from sfumato.errors import CapabilityError, DataError, DivergedError, SfumatoError, ShapeError
from sfumato.evaluation import vectors as module
from sfumato.evaluation.evaluate import Sets, compare, evaluate, found, measure, sample_of
from sfumato.evaluation.request import Evaluation
from sfumato.evaluation.sources import find

from . import Official, Probe, counting, folder, pixels, request

ALL = [{"kind": "frechet", "replicates": 6}, "kid", "prdc", "fid-infinity", "ssim", "psnr"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return folder(tmp_path / "made", pixels(30, 1))


@pytest.fixture
def real(tmp_path: Path) -> Path:
    return folder(tmp_path / "test", pixels(30, 2))


def figures(evaluation: Evaluation) -> list[tuple[str, float, float | None, float | None, int]]:
    return [(s.label, s.value, s.low, s.high, s.n) for s in evaluation.scores]


def tensors(seed: int, n: int = 30) -> torch.Tensor:
    return torch.from_numpy(pixels(n, seed).transpose(0, 3, 1, 2).copy())


def vectors_of(place: Path) -> np.ndarray:
    return sample_of(find(str(place)), Probe(Probe.Config()), cache=False).needed("x").double().numpy()


# --- the same figure ------------------------------------------------------------------------------------------------


def test_every_container_gives_the_same_figures(tmp_path: Path, made: Path, real: Path) -> None:
    with zipfile.ZipFile(tmp_path / "made.zip", "w") as archive:
        for path in made.iterdir():
            archive.write(path, path.name)
    np.savez(tmp_path / "made.npz", images=pixels(30, 1))
    np.save(tmp_path / "made.npy", pixels(30, 1).transpose(0, 3, 1, 2))
    wanted = figures(evaluate(request(made, real, ALL), cache=False))
    assert len(wanted) == 9
    for name in ("made.zip", "made.npz", "made.npy"):
        assert figures(evaluate(request(tmp_path / name, real, ALL), cache=False)) == wanted, name
    compared = compare(tensors(1), tensors(2), ALL, features=Probe.Config(), cache=False)
    assert figures(compared) == wanted
    parts = compare(tensors(1).split(7), list(tensors(2).split(11)), ALL, features=Probe.Config(), cache=False)
    assert figures(parts) == wanted


def test_chunks_batches_threads_and_the_cache_change_no_bit(
    made: Path, real: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = figures(evaluate(request(made, real, ALL), cache=False))
    for chunk, at_once, threads in ((8, 4, 1), (16, 1, 4), (1024, 32, 2)):
        monkeypatch.setattr(module, "CHUNK", chunk)
        monkeypatch.setattr(Probe, "at_once", at_once)
        monkeypatch.setattr("os.cpu_count", lambda threads=threads: threads)
        for _ in range(2):  # the second time from the cache
            assert figures(evaluate(request(made, real, ALL))) == wanted


def test_the_order_of_the_files_does_not_matter(tmp_path: Path, made: Path, real: Path) -> None:
    order = np.random.default_rng(5).permutation(30)
    other = folder(tmp_path / "other", pixels(30, 1)[order])
    metrics = ["kid", "prdc", "fid-infinity", {"kind": "frechet", "replicates": 0}]
    one, two = (evaluate(request(place, real, metrics)) for place in (made, other))
    assert one.made["sha256"] != two.made["sha256"]
    for a, b in zip(one.scores, two.scores, strict=True):
        assert a.value == pytest.approx(b.value, rel=1e-9, abs=1e-9), a.label
    for key in ("infinity", "noise_floor"):
        assert one.scores[-1].card[key]["value"] == pytest.approx(two.scores[-1].card[key]["value"], rel=1e-9)


def test_the_distance_is_that_of_scipy(made: Path, real: Path) -> None:
    x, y = vectors_of(made), vectors_of(real)
    one, two = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    wanted = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(one + two - 2 * scipy.linalg.sqrtm(one @ two).real)
    assert evaluate(request(made, real)).scores[0].value == pytest.approx(wanted, rel=1e-6)


def test_a_set_against_itself(made: Path) -> None:
    scores = {score.label: score.value for score in evaluate(request(made, made, ALL)).scores}
    assert scores["FD-probe-area"] == pytest.approx(0.0, abs=1e-6)
    assert scores["precision-probe-area"] == scores["recall-probe-area"] == scores["coverage-probe-area"] == 1.0
    assert scores["SSIM (whole)"] == pytest.approx(1.0)


def test_each_extractor_sees_each_image_once(made: Path, real: Path) -> None:
    wanted = request(made, real, ["fd", "kid", "prdc"])
    sets = found(wanted)
    counted, seen = counting(sets.made)
    measured = measure(wanted, cache=False, sets=Sets(counted, sets.real))
    assert sorted(seen) == [entry.name for entry in counted.entries]
    assert list(measured.samples) == [Probe.Config().to_json()]


def test_two_extractors_in_one_request(made: Path, real: Path) -> None:
    metrics = ["kid", {"kind": "kernel", "features": Probe.Config(mode="nearest")}]
    evaluation = evaluate(request(made, real, metrics))
    assert [score.label for score in evaluation.scores] == ["KD-probe-area", "KD-probe-nearest"]
    other = evaluate(request(made, real, "kid", Probe.Config(mode="nearest")))
    assert evaluation.scores[1].value == other.scores[0].value != evaluation.scores[0].value
    assert evaluation.metric_of == [0, 1]


# --- the card -------------------------------------------------------------------------------------------------------


def test_the_card_says_everything(tmp_path: Path, made: Path, real: Path) -> None:
    evaluation = evaluate(request(made, real, ["fd", "kid", "prdc"], size=6, filter="box", n=20))
    values = json.loads(evaluation.to_json())
    assert values["software"].keys() == {"sfumato", "torch", "numpy"}
    for score in values["scores"]:
        card = score["card"]
        features = card["features"]
        assert features == {
            "name": "FD-probe-area",
            "dimensions": 12,
            "sha256": Probe(Probe.Config()).digest,
            "resize": "area to 2",
        }
        for side, n, split in (("made", 20, "not said"), ("real", 30, "test")):
            told = card[side]
            assert (told["n"], told["split"], told["size"]) == (n, split, "6 x 6")
            assert told["format"] == "PNG" and len(told["sha256"]) == 64
            assert told["preparation"] == "cut square, box to 6"
        assert card["made"]["of"] == 30 and "of" not in card["real"]
        assert "float32" in card["dtype"] and "float64" in card["dtype"]
        assert any("below 2,048" in line for line in card["warnings"])
        assert card["interval"] and score["low"] <= score["value"] <= score["high"]
    frechet = values["scores"][0]["card"]
    assert {"value", "slope", "error", "points"} <= frechet["infinity"].keys()
    assert frechet["noise_floor"]["n"] == 15
    assert any("20 images for 12 features" in line for line in frechet["warnings"])


def test_the_2015_graph_alone_is_called_fid(made: Path, real: Path) -> None:
    labels = [s.label for s in evaluate(request(made, real, ["fid", "kid"], Official.Config())).scores]
    assert labels == ["FID", "KID"]
    assert [s.label for s in evaluate(request(made, real, ["fid", "kid"])).scores] == ["FD-probe-area", "KD-probe-area"]


def test_enough_images_are_not_warned_of() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (2, 2048, 3, 2, 2), dtype=torch.uint8, generator=rng)
    metric = [{"kind": "frechet", "replicates": 0, "context": False}]
    enough = compare(x[0], x[1], metric, features=Probe.Config(), cache=False)
    assert not enough.scores[0].card.get("warnings")
    for made, real in ((x[0, :2047], x[1]), (x[0], x[1, :2047])):
        few = compare(made, real, metric, features=Probe.Config(), cache=False).scores[0].card["warnings"]
        assert any("2047 images: below 2,048" in line for line in few)


def test_what_was_left_out_stays_in_sight(made: Path, real: Path) -> None:
    (made / "bad.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"1 of 31 pictures cannot be read \(bad\.png\)"):
        evaluate(request(made, real))
    score = evaluate(request(made, real, on_broken="skip")).scores[0]
    assert score.card["made"]["left_out"] == 1 and score.card["made"]["n"] == 30
    assert any("1 unreadable files" in line for line in score.card["warnings"])


def test_memorisation_wants_training_images(tmp_path: Path, made: Path, real: Path) -> None:
    with pytest.raises(SfumatoError, match="memorisation needs the training images; give them with --train"):
        evaluate(request(made, real, "auth"))
    copied = evaluate(request(made, real, "auth", train=str(made)))
    assert copied.scores[0].label == "AuthPct-probe-area" and copied.scores[0].value == 0.0


# --- too little, or nothing that means anything ---------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["fd", "kid", "prdc", "fid-infinity"])
def test_one_image(tmp_path: Path, real: Path, metric: str) -> None:
    one = folder(tmp_path / "one", pixels(1))
    for sides in ((one, real), (real, one)):
        with pytest.raises(ShapeError, match=r"1 image of .*one is measured; a law needs at least 2"):
            evaluate(request(*sides, metric))
    with pytest.raises(ShapeError, match="1 image"):
        evaluate(request(real, real, metric, n=1))


def test_two_images_and_fewer_than_features(tmp_path: Path, real: Path) -> None:
    two = folder(tmp_path / "two", pixels(2))
    score = evaluate(request(two, real)).scores[0]
    x, y = vectors_of(two), vectors_of(real)
    root = scipy.linalg.sqrtm(np.cov(x, rowvar=False) @ np.cov(y, rowvar=False) + 0j).real
    wanted = ((x.mean(0) - y.mean(0)) ** 2).sum()
    wanted += np.trace(np.cov(x, rowvar=False)) + np.trace(np.cov(y, rowvar=False)) - 2 * np.trace(root)
    assert score.value == pytest.approx(wanted, rel=1e-4)
    assert score.n == 2 and any("2 images for 12 features" in line for line in score.card["warnings"])
    for metric, words in (("prdc", "neighbours"), ("fid-infinity", "give at least 10")):
        with pytest.raises(ShapeError, match=words):
            evaluate(request(two, real, metric))


def test_constant_images(tmp_path: Path, real: Path) -> None:
    flat = folder(tmp_path / "flat", np.full((12, 8, 8, 3), 7, np.uint8))
    metrics = [{"kind": "frechet", "replicates": 4}, "kid", "prdc", "fid-infinity"]
    apart, alike = (evaluate(request(flat, other, metrics)).scores for other in (real, flat))
    y = vectors_of(real)
    wanted = ((y.mean(0) - 7) ** 2).sum() + np.trace(np.cov(y, rowvar=False))
    assert apart[0].value == pytest.approx(wanted, rel=1e-9)
    assert apart[2].value == apart[3].value == 0.0
    assert alike[0].value == pytest.approx(0.0, abs=1e-9) and alike[1].value == pytest.approx(0.0, abs=1e-9)
    assert all(np.isfinite(score.value) for score in [*apart, *alike])


@pytest.mark.parametrize("metric", ["fd", "kid", "prdc", "fid-infinity"])
def test_features_that_are_not_finite(made: Path, real: Path, metric: str) -> None:
    with pytest.raises(DivergedError, match="feature values are not finite; look for NaN in the images or weights"):
        evaluate(request(made, real, metric, Probe.Config(broken=True)), cache=False)


def test_mixed_sizes_need_a_word(tmp_path: Path, real: Path) -> None:
    mixed = folder(tmp_path / "mixed", pixels(10))
    folder(mixed, pixels(5, 1, size=6), [f"small{i}.png" for i in range(5)])
    for sides in ((mixed, real), (real, mixed)):
        with pytest.raises(DataError) as caught:
            evaluate(request(*sides))
        for words in ("holds images of 2 sizes: 8 x 8 (10), 6 x 6 (5)", "--size 64", "--mixed"):
            assert words in str(caught.value)
    score = evaluate(request(mixed, real, mixed=True)).scores[0]
    assert score.card["made"]["size"] == "8 x 8 (10), 6 x 6 (5)"
    assert any("2 sizes; each image is resized by the extractor alone" in line for line in score.card["warnings"])
    assert evaluate(request(mixed, real, size=8)).scores[0].card["made"]["size"] == "8 x 8"


@pytest.mark.parametrize(("n", "n_real"), [(31, None), (None, 31)])
def test_more_images_than_there_are(made: Path, real: Path, n: Any, n_real: Any) -> None:
    with pytest.raises(DataError, match=r"31 images of .* are asked for, which has 30; ask for 1 to 30"):
        evaluate(request(made, real, n=n, n_real=n_real))


@pytest.mark.parametrize("metric", ["diversity", "best_of"])
def test_what_needs_a_model(made: Path, real: Path, metric: str) -> None:
    with pytest.raises(CapabilityError, match="needs a model that answers; use it in a study, or evaluate a run"):
        evaluate(request(made, real, metric))


def test_tensors_that_are_no_pictures() -> None:
    for bad in (torch.rand(4, 3, 8, 8), tensors(1, 4)[:, :2], tensors(1, 4)[0], tensors(1, 4)[:0]):
        with pytest.raises(DataError, match="uint8 N x C x H x W"):
            compare(bad, tensors(2, 4), "fd", features=Probe.Config(), cache=False)


def test_grey_is_grey_as_rgb(tmp_path: Path, real: Path) -> None:
    grey = pixels(20, 3, channels=1)
    np.savez(tmp_path / "grey.npz", images=grey)
    np.savez(tmp_path / "rgb.npz", images=grey.repeat(3, 3))
    one, two = (evaluate(request(tmp_path / f"{name}.npz", real, "kid")).scores[0].value for name in ("grey", "rgb"))
    assert one == two
