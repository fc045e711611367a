"""Pairs: each made image meets its own true one, by name or by order, and only where its mask is white."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sfumato.data.imageset import from_folder
from sfumato.errors import DataError, SfumatoError, ShapeError
from sfumato.evaluation.evaluate import Sets, evaluate, measure
from sfumato.evaluation.pairs import paired
from sfumato.metrics.base import Score

from . import folder, pixels, request

X, Y = pixels(6, 1), pixels(6, 2)
NAMES = [f"{i:03d}.png" for i in range(6)]


def one(made: Path, real: Path, metric: Any = "l1", **settings: Any) -> Score:
    return evaluate(request(made, real, [metric], **settings)).scores[0]


def errors(x: np.ndarray = X, y: np.ndarray = Y) -> np.ndarray:
    return np.abs(x.astype(float) - y.astype(float))


def masks(path: Path, rows: list[int], names: list[str] = NAMES, size: int = 8) -> Path:
    """White in so many rows from the top."""
    array = np.zeros((len(rows), size, size), np.uint8)
    for i, count in enumerate(rows):
        array[i, :count] = 255
    return folder(path, array, names)


def test_by_hand(tmp_path: Path) -> None:
    made, real = folder(tmp_path / "a", X), folder(tmp_path / "b", Y)
    each = errors().mean((1, 2, 3))
    score = one(made, real)
    assert score.label == "L1 (whole)" and score.n == 6
    assert score.value == pytest.approx(each.mean(), rel=1e-9)
    assert score.samples == pytest.approx(each.tolist(), rel=1e-5)
    half = 2.570582 * each.std(ddof=1) / np.sqrt(6)
    assert (score.low, score.high) == pytest.approx((each.mean() - half, each.mean() + half), rel=1e-4)
    wanted = 10 * np.log10(255**2 / (errors() ** 2).mean((1, 2, 3)))
    assert one(made, real, "psnr").value == pytest.approx(wanted.mean(), rel=1e-9)
    assert score.card["made"]["n"] == 6 and score.card["real"]["size"] == "8 x 8"


def test_names_decide_before_order(tmp_path: Path) -> None:
    made = folder(tmp_path / "a", X, NAMES)
    backwards = folder(tmp_path / "b", Y[::-1], NAMES[::-1])
    other_ending = folder(tmp_path / "c", Y, [name.replace("png", "bmp") for name in NAMES])
    for real in (backwards, other_ending):
        score = one(made, real)
        assert score.card["paired_by"] == "name"
        assert score.value == pytest.approx(errors().mean(), rel=1e-9)


def test_sets_in_another_order_are_put_right(tmp_path: Path) -> None:
    made, real = (from_folder(folder(tmp_path / name, X, NAMES)) for name in ("a", "b"))
    backwards = replace(real, entries=real.entries[::-1])
    one, two, how = paired(made, backwards)
    assert how == "name" and [e.name for e in two.entries] == [e.name for e in one.entries] == NAMES
    wanted = request("a", "b", ["l1"])
    assert measure(wanted, sets=Sets(made, backwards)).evaluation.scores[0].value == 0.0


def test_without_common_names_numbers_decide_and_then_order_and_it_is_said(tmp_path: Path) -> None:
    made = folder(tmp_path / "a", X, [f"{i:03d}.png" for i in range(6)])
    backwards = folder(tmp_path / "b", Y[::-1], [f"real {5 - i}.png" for i in range(6)])
    plain = folder(tmp_path / "c", Y, [f"{letter}.png" for letter in "uvwxyz"])
    for real, how in ((backwards, "number"), (plain, "order")):
        score = one(made, real)
        assert score.card["paired_by"] == how
        assert any(f"images are paired by the {how}" in line for line in score.card["warnings"])
        assert score.value == pytest.approx(errors().mean(), rel=1e-9)


def test_the_same_subset_of_both(tmp_path: Path) -> None:
    made, real = folder(tmp_path / "a", X), folder(tmp_path / "b", X)
    score = one(made, real, n=3, n_real=3)
    assert score.n == 3 and score.value == 0.0 and score.card["paired_by"] == "name"


def test_another_number_of_images(tmp_path: Path) -> None:
    made, real = folder(tmp_path / "a", X), folder(tmp_path / "b", Y[:5])
    with pytest.raises(DataError, match=r"a has 6 images and .*b 5; paired metrics need one true image"):
        one(made, real)
    with pytest.raises(DataError, match="paired metrics need one true image"):
        one(made, made, n=3)


def test_another_size(tmp_path: Path) -> None:
    made, real = folder(tmp_path / "a", X), folder(tmp_path / "b", pixels(6, size=6))
    with pytest.raises(ShapeError, match=r"8.*6"):
        one(made, real)
    assert one(made, real, size=6).n == 6


def test_grey_meets_rgb(tmp_path: Path) -> None:
    np.savez(tmp_path / "grey.npz", images=X[..., :1])
    real = folder(tmp_path / "b", Y)
    for sides in ((tmp_path / "grey.npz", real), (real, tmp_path / "grey.npz")):
        assert one(*sides).value == pytest.approx(errors(X[..., :1].repeat(3, 3)).mean(), rel=1e-9)


def test_masks_show_the_hole(tmp_path: Path) -> None:
    made, real = folder(tmp_path / "a", X, NAMES), folder(tmp_path / "b", Y, NAMES)
    rows = [1, 2, 3, 4, 5, 8]
    wanted = np.mean([errors()[i, :count].mean() for i, count in enumerate(rows)])
    for names in (NAMES, [f"mask {name}" for name in NAMES]):
        score = one(made, real, masks=str(masks(tmp_path / names[0], rows, names)))
        assert score.label == "L1" and score.card["region"] == "hole"
        assert score.value == pytest.approx(wanted, rel=1e-9)
    whole = one(made, real, {"kind": "l1", "region": "all"}, masks=str(tmp_path / NAMES[0]))
    assert whole.value == pytest.approx(errors().mean(), rel=1e-9)
    backwards = masks(tmp_path / "m", rows[::-1], NAMES[::-1])
    assert one(made, real, masks=str(backwards)).value == pytest.approx(wanted, rel=1e-9)


def test_consistency_looks_at_what_was_kept(tmp_path: Path) -> None:
    made, real = folder(tmp_path / "a", X, NAMES), folder(tmp_path / "b", Y, NAMES)
    score = one(made, real, "consistency", masks=str(masks(tmp_path / "m", [2] * 6)))
    assert score.value == pytest.approx(errors()[:, 2:].mean(), rel=1e-6)
    kept = Y.copy()
    kept[:, :2] = X[:, :2]
    same = folder(tmp_path / "kept", kept, NAMES)
    assert one(same, real, "consistency", masks=str(tmp_path / "m")).value == 0.0


def test_a_picture_that_was_all_kept_is_counted_as_undefined(tmp_path: Path) -> None:
    made, real = folder(tmp_path / "a", X, NAMES), folder(tmp_path / "b", Y, NAMES)
    score = one(made, real, masks=str(masks(tmp_path / "m", [0, 0, 2, 2, 2, 2])))
    assert score.n == 4 and score.card["undefined_images"] == 2
    with pytest.raises(ShapeError, match="L1 has no image to look at"):
        one(made, real, masks=str(masks(tmp_path / "black", [0] * 6)))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("size", "the mask of 0000.png is 6 x 6, the image 8 x 8; they must be of one size"),
        ("number", "has 6 images and .* 5; paired metrics need one true image"),
        ("nowhere", "nothing at .*nowhere"),
        ("empty", "holds no pictures"),
        ("broken", "1 of 1 pictures cannot be read"),
    ],
)
def test_wrong_masks(tmp_path: Path, name: str, words: str) -> None:
    made, real = folder(tmp_path / "a", X), folder(tmp_path / "b", Y)
    masks(tmp_path / "size", [2] * 6, size=6)
    masks(tmp_path / "number", [2] * 5)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"x")
    with pytest.raises(SfumatoError, match=words):
        one(made, real, masks=str(tmp_path / name))


def test_progress_counts_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfumato.evaluation.pairs.AT_ONCE", 4)
    told: list[tuple[str, int, int]] = []
    wanted = request(folder(tmp_path / "a", X), folder(tmp_path / "b", Y), ["l1"])
    score = measure(wanted, watch=lambda *what: told.append(what)).evaluation.scores[0]
    assert told == [("L1 (whole)", 4, 6), ("L1 (whole)", 6, 6)]
    assert score.value == pytest.approx(errors().mean(), rel=1e-9)
