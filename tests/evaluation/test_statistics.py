"""Statistics: a round trip to the bit, other tools' files, and a refusal of everything made with other features."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import scipy.linalg
import torch

from sfumato.errors import CapabilityError, DataError, SfumatoError, WeightsError
from sfumato.evaluation.evaluate import evaluate, sample_of
from sfumato.evaluation.sources import find
from sfumato.evaluation.statistics import is_statistics, load_statistics, save_statistics
from sfumato.metrics.distribution import Sample

from . import Official, Probe, folder, pixels, request


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return folder(tmp_path / "made", pixels(30, 1))


@pytest.fixture
def real(tmp_path: Path) -> Path:
    return folder(tmp_path / "test", pixels(40, 2))


def probe(**settings: object) -> Probe:
    return Probe(Probe.Config(**settings))


def kept(real: Path, path: Path, features: Probe | None = None) -> Sample:
    sample = sample_of(find(str(real)), features or probe())
    save_statistics(sample, features or probe(), path)
    return sample


def foreign(path: Path, real: Path) -> Path:
    """What pytorch-fid and clean-fid write."""
    vectors = sample_of(find(str(real)), probe()).needed("x").double().numpy()
    np.savez(path, mu=vectors.mean(0), sigma=np.cov(vectors, rowvar=False))
    return path


def test_a_round_trip_keeps_every_bit(tmp_path: Path, real: Path) -> None:
    before = kept(real, tmp_path / "s.safetensors")
    after = load_statistics(tmp_path / "s.safetensors", probe())
    assert before.vectors is not None and after.vectors is not None
    assert torch.equal(after.vectors, before.vectors)
    assert torch.equal(after.moments.mean, before.moments.mean)
    assert torch.equal(after.moments.covariance, before.moments.covariance)
    assert after.n == 40
    assert after.about == {**before.about, "statistics": str(tmp_path / "s.safetensors")}
    assert (after.about["split"], after.about["size"]) == ("test", "8 x 8")


def test_figures_are_those_of_the_images(tmp_path: Path, made: Path, real: Path) -> None:
    kept(real, tmp_path / "s.safetensors")
    metrics = [{"kind": "frechet", "replicates": 4}, "kid", "prdc"]
    with_images = evaluate(request(made, real, metrics))
    with_statistics = evaluate(request(made, tmp_path / "s.safetensors", metrics))
    for a, b in zip(with_images.scores, with_statistics.scores, strict=True):
        assert (a.label, a.value, a.low, a.high, a.n) == (b.label, b.value, b.low, b.high, b.n)
    assert with_statistics.real["statistics"] == str(tmp_path / "s.safetensors")
    assert with_statistics.real["sha256"] == with_images.real["sha256"]
    assert with_statistics.real["split"] == "test" and with_statistics.real["n"] == 40


def test_moments_alone_serve_a_frechet_distance_and_nothing_else(tmp_path: Path, made: Path, real: Path) -> None:
    sample = sample_of(find(str(real)), probe())
    save_statistics(Sample(None, sample.moments, sample.about), probe(), tmp_path / "s.safetensors")
    found = evaluate(request(made, tmp_path / "s.safetensors")).scores[0]
    assert found.value == pytest.approx(evaluate(request(made, real)).scores[0].value, rel=1e-9)
    for metric in ("kid", "prdc"):
        with pytest.raises(CapabilityError, match="only mean and covariance are known here; give the images"):
            evaluate(request(made, tmp_path / "s.safetensors", metric))


def test_the_npz_is_that_of_other_tools(tmp_path: Path, real: Path) -> None:
    kept(real, tmp_path / "ours.npz", Official(Official.Config()))
    foreign(tmp_path / "theirs.npz", real)
    ours, theirs = np.load(tmp_path / "ours.npz"), np.load(tmp_path / "theirs.npz")
    assert set(ours.files) == {"mu", "sigma"}
    for key in ours.files:
        assert ours[key].dtype == np.float64
        np.testing.assert_allclose(ours[key], theirs[key], rtol=1e-10, atol=1e-10)


def test_other_tools_statistics(tmp_path: Path, made: Path, real: Path) -> None:
    path = foreign(tmp_path / "theirs.npz", real)
    found = evaluate(request(made, path, features=Official.Config()))
    score = found.scores[0]
    x = sample_of(find(str(made)), probe()).needed("x").double().numpy()
    theirs = np.load(path)
    cross = scipy.linalg.sqrtm(np.cov(x, rowvar=False) @ theirs["sigma"]).real
    wanted = ((x.mean(0) - theirs["mu"]) ** 2).sum()
    wanted += np.trace(np.cov(x, rowvar=False)) + np.trace(theirs["sigma"]) - 2 * np.trace(cross)
    assert score.label == "FID"
    assert score.value == pytest.approx(wanted, rel=1e-6)
    assert found.real["n"] == "not said" and found.real["split"] == "not said"
    assert any("taken on trust" in line for line in score.card["warnings"])
    json.loads(found.to_json())


def test_features_of_other_weights_or_settings_are_refused(tmp_path: Path, made: Path, real: Path) -> None:
    path = tmp_path / "s.safetensors"
    kept(real, path)
    digests = [probe(weights=name).digest[:12] for name in ("first", "second")]
    with pytest.raises(WeightsError, match=f"other features .sha256 {digests[0]}, not {digests[1]}"):
        load_statistics(path, probe(weights="second"))
    for features in (Probe.Config(mode="nearest"), Official.Config()):
        with pytest.raises(WeightsError, match="was made with other features"):
            evaluate(request(made, path, features=features))
    with pytest.raises(CapabilityError, match="2015 Inception graph; probe-area features do not fit"):
        load_statistics(foreign(tmp_path / "theirs.npz", real), probe())


def test_they_are_refused_before_the_images_are_looked_at(
    tmp_path: Path, made: Path, real: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.safetensors"
    kept(real, path, probe(weights="second"))
    before = Probe.passed
    with pytest.raises(WeightsError):
        evaluate(request(made, path))
    assert Probe.passed == before


def foreign_with(path: Path, **arrays: Any) -> Path:
    np.savez(path, **{"mu": np.zeros(12), "sigma": np.eye(12), **arrays})
    return path


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"mu": np.zeros(5), "sigma": np.eye(5)}, "mu .5,. and sigma .5, 5.; these features have 12 dimensions"),
        ({"sigma": np.eye(5)}, "these features have 12 dimensions"),
        ({"mu": np.zeros((1, 12))}, "these features have 12 dimensions"),
        ({"mu": np.full(12, np.nan)}, "not finite"),
        ({"mu": np.array([{}], dtype=object)}, "no readable mu and sigma"),
        ({"mu": np.array(["a"] * 12)}, "no readable mu and sigma"),
    ],
    ids=["dimension", "sigma", "row", "nan", "pickle", "text"],
)
def test_wrong_foreign_files(tmp_path: Path, made: Path, arrays: dict[str, Any], words: str) -> None:
    path = foreign_with(tmp_path / "theirs.npz", **arrays)
    with pytest.raises(SfumatoError, match=words):
        evaluate(request(made, path, features=Official.Config()))


def test_truncated_and_strange_files(tmp_path: Path, real: Path) -> None:
    path = tmp_path / "s.safetensors"
    kept(real, path)
    content = path.read_bytes()
    strange = tmp_path / "strange.safetensors"
    for part in (content[:-30], content[:40], b"", b"rubbish", safetensors.torch.save({"w": torch.zeros(3)})):
        strange.write_bytes(part)
        with pytest.raises(WeightsError, match=r"strange\.safetensors holds no statistics.*make them again"):
            load_statistics(strange, probe())
    with pytest.raises(WeightsError, match=r"no statistics at .*make them with `sfumato stats"):
        load_statistics(tmp_path / "nowhere.safetensors", probe())
    theirs = foreign(tmp_path / "theirs.npz", real)
    theirs.write_bytes(theirs.read_bytes()[:200])
    with pytest.raises(WeightsError, match="no readable mu and sigma"):
        load_statistics(theirs, Official(Official.Config()))


def test_statistics_cannot_stand_for_images(tmp_path: Path, made: Path, real: Path) -> None:
    path = tmp_path / "s.safetensors"
    kept(real, path)
    with pytest.raises(DataError, match="is not a set of images"):
        evaluate(request(path, real))
    with pytest.raises(CapabilityError, match=r"compares image with image, but .* holds statistics; give the images"):
        evaluate(request(made, path, "ssim"))


def test_what_is_taken_for_statistics(tmp_path: Path, real: Path) -> None:
    assert is_statistics(foreign(tmp_path / "theirs.npz", real))
    np.savez(tmp_path / "images.npz", images=pixels(3))
    (tmp_path / "broken.npz").write_bytes(b"x")
    assert not any(is_statistics(tmp_path / name) for name in ("images.npz", "broken.npz", "nowhere.npz", "a.png"))


def test_where_they_cannot_be_written(tmp_path: Path, real: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsError, match=r"written to \.safetensors or, for other tools, \.npz; .*s\.pt is neither"):
        kept(real, tmp_path / "s.pt")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        kept(real, tmp_path / "file" / "s.safetensors")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "s.safetensors").write_bytes(b"older")
    sample = sample_of(find(str(real)), probe())
    monkeypatch.setattr("sfumato.files.os.fsync", full)
    for name in ("s.safetensors",):
        with pytest.raises(DataError, match="No space left"):
            save_statistics(sample, probe(), tmp_path / name)
    assert (tmp_path / "s.safetensors").read_bytes() == b"older" and not (tmp_path / "s.npz").exists()
    assert not list(tmp_path.glob(".*.tmp"))
