"""Explain: which figures two evaluations share, what is said without the images, and a note where points are missing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sfumato.errors import ConfigError
from sfumato.evaluation.evaluate import evaluate, sample_of
from sfumato.evaluation.explain import MOST, explain, shared, told
from sfumato.evaluation.request import Evaluation
from sfumato.evaluation.sources import find
from sfumato.evaluation.statistics import save_statistics

from . import Probe, folder, pixels, request


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name, n, seed in (("made", 30, 1), ("test", 24, 3)):
        folder(tmp_path / name, pixels(n, seed))
    return tmp_path


def evaluated(data: Path, metrics: Any = None, **settings: Any) -> Evaluation:
    return evaluate(request(data / "made", data / "test", metrics, **settings))


def test_the_same_twice(data: Path) -> None:
    (found,) = explain(evaluated(data), evaluated(data))
    assert found.gap == 0 and found.factors == [] and found.remainder == 0
    assert any("the two requests are the same" in note for note in found.notes)
    assert sum("byte for byte" in note for note in found.notes) == 2


def test_figures_meet_by_metric_and_turn(data: Path) -> None:
    one, two = evaluated(data, ["kid", "prdc", "fd"]), evaluated(data, ["prdc", "fid-infinity", "kid"], n=24, n_real=24)
    pairs = [(a.label, b.label) for _, _, a, b in shared(one, two)]
    labels = ["KD-probe-area", *(f"{name}-probe-area" for name in ("precision", "recall", "density", "coverage"))]
    assert pairs == [(label, label) for label in labels]
    found = explain(one, two)
    assert [part.first.label for part in found] == labels
    for part in found:
        known = [factor.points for factor in part.factors]
        assert known and None not in known
        assert sum(known) == pytest.approx(part.gap, rel=1e-9, abs=1e-12)  # type: ignore[arg-type]


def test_other_features_are_still_the_same_metric(data: Path) -> None:
    one, two = evaluated(data), evaluated(data, features=Probe.Config(mode="nearest"))
    (found,) = explain(one, two)
    assert (found.first.label, found.second.label) == ("FD-probe-area", "FD-probe-nearest")
    (factor,) = found.factors
    assert "mode=area" in factor.first and "mode=nearest" in factor.second and factor.why


def test_no_common_metric(data: Path) -> None:
    with pytest.raises(ConfigError, match="share no metric: one has KD-probe-area, the other FD-probe-area; compute"):
        explain(evaluated(data, "kid"), evaluated(data, "fd"))


def test_one_metric_twice_with_two_features(data: Path) -> None:
    twice = ["kid", {"kind": "kernel", "features": Probe.Config(mode="nearest")}]
    found = explain(evaluated(data, twice), evaluated(data, twice, n=20))
    assert [part.first.label for part in found] == ["KD-probe-area", "KD-probe-nearest"]
    for part in found:
        assert [factor.points for factor in part.factors] == [pytest.approx(part.gap, rel=1e-9)]


def test_paired_metrics_have_points_too(data: Path) -> None:
    folder(data / "test", pixels(30, 3))
    (found,) = explain(evaluated(data, ["ssim"]), evaluated(data, ["ssim"], size=4))
    assert [(f.name, f.points) for f in found.factors] == [("preparation", pytest.approx(found.gap, rel=1e-9))]


# --- without the images ---------------------------------------------------------------------------------------------


def test_without_recomputing(data: Path) -> None:
    one, two = evaluated(data), evaluated(data, n=12, size=4)
    shutil.rmtree(data)
    (found,) = explain(one, two, recompute=False)
    assert {factor.name for factor in found.factors} == {"number of made images", "preparation"}
    assert all(factor.points is None for factor in found.factors)
    assert found.remainder == found.gap
    assert any("leave out --no-recompute" in note for note in found.notes)


def test_what_the_cards_predict(data: Path) -> None:
    one, two = evaluated(data), evaluated(data, n=12)
    (found,) = explain(one, two)
    lines = [part.scores[0].card["infinity"] for part in (one, two)]
    expected = lines[1]["slope"] / 12 - lines[0]["slope"] / 30
    assert any(f"n = 30 against 12 alone should move it by {expected:+.3f}" in note for note in found.notes)
    a, b = one.scores[0], two.scores[0]
    halves = np.hypot(a.high - a.value, b.high - b.value)  # type: ignore[operator]
    inside = "within" if abs(found.gap) <= halves else "beyond"
    assert any(f"is {inside} what chance explains ({halves:.3g}" in note for note in found.notes)
    other = evaluated(data, n=12, features=Probe.Config(mode="nearest"))
    (found,) = explain(one, other, recompute=False)
    assert not any("alone should move it" in note for note in found.notes), "slopes of other features do not compare"


def changed(data: Path) -> None:
    folder(data / "made", pixels(1, 9), ["0003.png"])


def grown(data: Path) -> None:
    folder(data / "made", pixels(1, 9), ["zzz.png"])


def shrunk(data: Path) -> None:
    (data / "test" / "0003.png").unlink()


def broken(data: Path) -> None:
    (data / "test" / "0003.png").write_bytes(b"x")


@pytest.mark.parametrize("harm", [changed, grown, shrunk, broken])
def test_images_that_are_no_longer_the_same(data: Path, harm: Callable[[Path], None]) -> None:
    one, two = evaluated(data), evaluated(data, n=12)
    harm(data)
    (found,) = explain(one, two)
    assert [(f.name, f.points) for f in found.factors] == [("number of made images", None)]
    assert found.remainder == found.gap
    assert any("points need the images, but" in note and "is not what was measured" in note for note in found.notes)


def test_images_that_are_gone(data: Path) -> None:
    one, two = evaluated(data), evaluated(data, n=12)
    shutil.rmtree(data / "made")
    (found,) = explain(one, two)
    assert [factor.points for factor in found.factors] == [None]
    assert any("points need the images, but nothing at" in note for note in found.notes)


def test_too_many_entries_differ(data: Path) -> None:
    folder(data / "other", pixels(20, 2))
    folder(data / "real", pixels(20, 4))
    one = evaluate(request(data / "made", data / "test", ["auth"], train=str(data / "test")))
    changes: dict[str, Any] = {"n": 15, "n_real": 16, "size": 4, "train": str(data / "real")}
    two = evaluate(
        request(data / "other", data / "real", [{"kind": "memorisation"}], Probe.Config(mode="nearest"), **changes)
    )
    for found in explain(one, two):
        assert len(found.factors) > MOST
        assert all(factor.points is None for factor in found.factors)
        assert any("entries differ; points are computed for at most 6" in note for note in found.notes)


def test_statistics_against_the_images_they_are_from(data: Path) -> None:
    features = Probe(Probe.Config())
    save_statistics(sample_of(find(str(data / "test")), features), features, data / "s.safetensors")
    with_statistics = evaluate(request(data / "made", data / "s.safetensors"))
    (found,) = explain(evaluated(data), with_statistics)
    assert found.gap == 0 and found.remainder == 0
    assert all(factor.points == 0 for factor in found.factors)
    (found,) = explain(with_statistics, evaluate(request(data / "made", data / "s.safetensors", n=10)))
    assert [f.points for f in found.factors] == [pytest.approx(found.gap, rel=1e-9)]


def test_evaluations_survive_json(data: Path) -> None:
    one, two = evaluated(data), evaluated(data, n=12)
    plain = json.loads(one.to_json())
    assert plain["scores"][0]["value"] == one.scores[0].value
    again = one.model_copy(update={"software": {"sfumato": "0"}})
    (found,) = explain(again, two)
    assert [factor.points for factor in found.factors] == [pytest.approx(found.gap, rel=1e-9)]


def test_relative_paths_are_the_same_as_absolute_ones(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data)
    (found,) = explain(evaluated(data), evaluate(request("made", "./test")))
    assert found.factors == []


def test_entries_in_words() -> None:
    assert told([None]) == "none"
    assert told([8, "box"]) == "8, box"
    assert told([{"kind": "lite0", "path": None, "size": 64}]) == "kind=lite0 size=64"
    assert told([[{"kind": "a"}, {"kind": "b"}]]) == "kind=a, kind=b"
