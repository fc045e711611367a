"""Attribution: Shapley values against every order, and the whole gap to the one thing that was changed."""

from __future__ import annotations

import math
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sfumato.evaluation import attribution
from sfumato.evaluation.attribution import Shelf, shapley
from sfumato.evaluation.evaluate import evaluate
from sfumato.evaluation.explain import Explanation, explain

from . import Probe, folder, pixels, request


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Made images, and real ones in two parts."""
    for name, n, seed in (("made", 40, 1), ("train", 30, 2), ("test", 30, 3), ("more", 50, 3)):
        folder(tmp_path / name, pixels(n, seed))
    return tmp_path


def pair(data: Path, second: dict[str, Any], first: dict[str, Any] | None = None, metric: Any = None) -> Explanation:
    """The explanation of two evaluations that differ in these entries."""
    plain = {"made": data / "made", "real": data / "test", "metrics": [metric] if metric else None}
    (found,) = explain(*(evaluate(request(**{**plain, **changes})) for changes in (first or {}, second)))
    return found


def points(found: Explanation) -> dict[str, float | None]:
    return {factor.name: factor.points for factor in found.factors}


# --- Shapley --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_shapley_is_the_mean_over_all_orders(k: int) -> None:
    names = [f"factor {i}" for i in range(k)]
    rng = np.random.default_rng(k)
    known: dict[frozenset[str], float] = {}

    def value(part: frozenset[str]) -> float:
        return known.setdefault(part, float(rng.normal()))

    wanted = dict.fromkeys(names, 0.0)
    for order in permutations(names):
        for i, name in enumerate(order):
            before = frozenset(order[:i])
            wanted[name] += (value(before | {name}) - value(before)) / math.factorial(k)
    found = shapley(names, value)
    assert found == pytest.approx(wanted, rel=1e-12, abs=1e-12)
    assert sum(found.values()) == pytest.approx(value(frozenset(names)) - value(frozenset()), abs=1e-12)


def test_shapley_s_axioms() -> None:
    def value(part: frozenset[str]) -> float:
        return 3.0 * ("a" in part) + 2.0 * ({"b", "c"} <= part)

    assert shapley(["a", "b", "c", "dummy"], value) == pytest.approx({"a": 3.0, "b": 1.0, "c": 1.0, "dummy": 0.0})
    assert shapley([], value) == {}


# --- one factor -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "second"),
    [
        ("features and their resize", {"features": Probe.Config(mode="nearest")}),
        ("number of made images", {"n": 15}),
        ("number of real images", {"n_real": 15}),
        ("preparation", {"size": 5, "filter": "box"}),
    ],
)
def test_a_single_factor_has_the_whole_gap(data: Path, name: str, second: dict[str, Any]) -> None:
    for metric in ({"kind": "frechet", "replicates": 8}, "kid"):
        found = pair(data, second, metric=metric)
        assert list(points(found)) == [name]
        assert found.gap != 0 and found.remainder == 0
        assert points(found)[name] == pytest.approx(found.gap, rel=1e-9)
        back = pair(data, {}, second, metric)
        assert points(back)[name] == pytest.approx(-found.gap, rel=1e-9)


def test_another_split_alone(data: Path) -> None:
    found = pair(data, {"real": data / "train"})
    assert points(found) == {"real images": pytest.approx(found.gap, rel=1e-9)}
    assert "test" in found.factors[0].first and "train" in found.factors[0].second


def test_another_filter_alone(data: Path) -> None:
    found = pair(data, {"size": 3, "filter": "nearest"}, {"size": 3, "filter": "lanczos"})
    assert points(found) == {"preparation": pytest.approx(found.gap, rel=1e-9)}
    assert (found.factors[0].first, found.factors[0].second) == ("3, lanczos", "3, nearest")
    assert pair(data, {"filter": "nearest"}).factors == [], "without a size there is no filter"


def test_other_made_images_alone(data: Path) -> None:
    found = pair(data, {"made": folder(data / "other", pixels(40, 4))})
    assert points(found) == {"made images": pytest.approx(found.gap, rel=1e-9)}


def test_other_settings_of_the_metric_alone(data: Path) -> None:
    found = pair(data, {"metrics": [{"kind": "kernel", "subsets": 5, "subset_size": 10}]}, {"metrics": ["kid"]})
    assert points(found) == {"settings of the metric": pytest.approx(found.gap, rel=1e-9)}


def test_other_training_images_count_where_they_are_used(data: Path) -> None:
    trains = {"train": str(data / "train")}, {"train": str(data / "more")}
    assert pair(data, trains[1], trains[0], "kid").factors == []
    sides = [evaluate(request(data / "made", data / "test", ["auth"], **train)) for train in trains]
    for found in explain(*sides):  # two figures of one metric
        assert list(points(found)) == ["training images"]
        assert points(found)["training images"] == pytest.approx(found.gap, rel=1e-9, abs=1e-12)


# --- several --------------------------------------------------------------------------------------------------------


def test_features_number_and_split_add_up(data: Path) -> None:
    second = {"features": Probe.Config(mode="nearest"), "n": 20, "real": data / "train"}
    for metric in ({"kind": "frechet", "replicates": 8}, "kid"):
        found = pair(data, second, metric=metric)
        assert set(points(found)) == {"features and their resize", "number of made images", "real images"}
        assert found.remainder == 0
        assert sum(p for p in points(found).values() if p is not None) == pytest.approx(found.gap, rel=1e-9)


def test_two_factors_by_hand(data: Path) -> None:
    def figure(n: int | None, real: str) -> float:
        return evaluate(request(data / "made", data / real, n=n)).scores[0].value

    a, b, c, d = figure(None, "test"), figure(20, "test"), figure(None, "train"), figure(20, "train")
    found = points(pair(data, {"n": 20, "real": data / "train"}))
    assert found["number of made images"] == pytest.approx(((b - a) + (d - c)) / 2, rel=1e-9)
    assert found["real images"] == pytest.approx(((c - a) + (d - b)) / 2, rel=1e-9)


def test_another_reference_with_another_number(data: Path) -> None:
    found = pair(data, {"real": data / "more"})
    assert set(points(found)) == {"real images", "number of real images"}
    assert sum(p for p in points(found).values() if p is not None) == pytest.approx(found.gap, rel=1e-9)


def test_every_mixture_is_computed_once(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sides = [evaluate(request(data / "made", data / "test", **changes)) for changes in ({}, {"n": 20, "size": 4})]
    calls: list[object] = []
    real = attribution.measure
    monkeypatch.setattr(attribution, "measure", lambda *a, **k: calls.append(a) or real(*a, **k))
    explain(*sides)
    assert len(calls) == 4


def test_each_set_is_read_once(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    real = attribution.sources.find
    monkeypatch.setattr(attribution.sources, "find", lambda name, *rest: names.append(name) or real(name, *rest))
    shelf = Shelf(torch.device("cpu"))
    wanted = request(data / "made", data / "test")
    for n in (40, 20, 10):
        assert len(shelf.sets(wanted, {"n": n, "n_real": None}).made) == n
    assert sorted(names) == sorted([str(data / "made"), str(data / "test")])


def test_more_images_than_the_other_side_has_are_all_of_them(data: Path) -> None:
    shelf = Shelf("cpu")
    sets = shelf.sets(request(data / "made", data / "test"), {"n": 1000, "n_real": 1000})
    assert (len(sets.made), len(sets.real)) == (40, 30)  # type: ignore[arg-type]
