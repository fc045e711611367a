"""The gallery shows the neighbours and worst pairs that brute force finds; the page holds every label and no live markup."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sfumato.config import load
from sfumato.data.imageset import from_array
from sfumato.evaluation.evaluate import Sets, found, measure
from sfumato.evaluation.gallery import NEIGHBOURS, SHOWN, SIDE, Column, Gallery, Panel, build_gallery, tile, worst_pairs
from sfumato.evaluation.request import Request
from sfumato.reports.evaluation import build_page

from . import Probe, folder, pixels, request

LITE0 = {"kind": "lite0", "layer": "b4", "size": 16}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path / "cache"))


def colours(n: int, seed: int) -> np.ndarray:
    """One colour a picture: the features are the colour, and a shown picture tells which it is."""
    return np.random.default_rng(seed).integers(0, 250, (n, 3), dtype=np.uint8)


def flat(values: np.ndarray) -> np.ndarray:
    return np.broadcast_to(values[:, None, None], (len(values), 8, 8, 3)).copy()


def looked(column: Column) -> list[tuple[int, ...]]:
    """The colour in the middle of each tile of a column."""
    with Image.open(io.BytesIO(base64.b64decode(column.picture))) as opened:
        sheet = np.asarray(opened.convert("RGB"))
    assert sheet.shape[1] == SIDE
    rows = (sheet.shape[0] + 3) // (SIDE + 3)
    assert sheet.shape[0] == rows * (SIDE + 3) - 3
    return [tuple(int(v) for v in sheet[i * (SIDE + 3) + SIDE // 2, SIDE // 2]) for i in range(rows)]


def built(tmp_path: Path, wanted: Request, sets: Sets | None = None) -> Gallery:
    sets = sets or found(wanted)
    measured = measure(wanted, cache=False, sets=sets)
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "out" / "evaluation.json").write_text(measured.evaluation.to_json())
    return build_gallery(measured, sets, tmp_path / "out")


def as_tuples(values: np.ndarray) -> list[tuple[int, ...]]:
    return [tuple(int(v) for v in row) for row in values]


def distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Brute force; the probe sees each channel at four places, so distances are twice those of colours."""
    return 2 * np.linalg.norm(x[:, None].astype(float) - y[None].astype(float), axis=2)


def check(panel: Panel, tops: np.ndarray, others: np.ndarray) -> list[int]:
    """Every column against brute force; the indices of its tops."""
    square = distances(tops, others)
    shown = []
    for column in panel.columns:
        top, *below = looked(column)
        i = as_tuples(tops).index(top)
        order = square[i].argsort(kind="stable")[:NEIGHBOURS]
        assert below == as_tuples(others[order])
        assert column.caption == f"{square[i].min():.3g}"
        shown.append(i)
    assert len(set(shown)) == len(shown) == min(SHOWN, len(tops))
    return shown


def test_neighbours_and_worst_cases_against_brute_force(tmp_path: Path) -> None:
    x, y = colours(25, 1), colours(40, 2)
    sets = Sets(from_array(flat(x), "made"), from_array(flat(y), "real"))
    random, worst, missed = built(tmp_path, request("made", "real"), sets).panels
    check(random, x, y)
    assert check(worst, x, y) == distances(x, y).min(1).argsort(kind="stable")[::-1][:SHOWN].tolist()
    assert check(missed, y, x) == distances(y, x).min(1).argsort(kind="stable")[::-1][:SHOWN].tolist()


def test_fewer_images_than_columns_or_neighbours(tmp_path: Path) -> None:
    x, y = colours(4, 1), colours(2, 2)
    sets = Sets(from_array(flat(x), "made"), from_array(flat(y), "real"))
    panels = built(tmp_path, request("made", "real"), sets).panels
    assert [len(panel.columns) for panel in panels] == [4, 4, 2]
    assert [len(looked(panel.columns[0])) for panel in panels] == [3, 3, 4]
    assert "2 nearest" in panels[0].text


def test_copies_of_training_images_come_first(tmp_path: Path) -> None:
    x, y, train = colours(15, 1), colours(15, 2), colours(30, 3)
    x[6] = train[11]
    sets = Sets(*(from_array(flat(part), name) for part, name in ((x, "made"), (y, "real"), (train, "train"))))
    wanted = request("made", "real", ["fd", "auth"], train="train")
    panel = next(p for p in built(tmp_path, wanted, sets).panels if p.title == "Nearest to training images")
    nearest = distances(x, train)
    own = distances(train, train) + np.diag(np.full(30, np.inf))
    ratio = nearest.min(1) / own.min(1)[nearest.argmin(1)]
    order = ratio.argsort(kind="stable")[:SHOWN]
    assert order[0] == 6
    for column, i in zip(panel.columns, order, strict=True):
        top, first, *_ = looked(column)
        assert (top, first) == (tuple(int(v) for v in x[i]), tuple(int(v) for v in train[nearest[i].argmin()]))
        assert column.caption == f"{ratio[i]:.2f}"


@pytest.mark.parametrize("metric", ["l1", "ssim", "psnr"])
def test_the_worst_pairs(tmp_path: Path, metric: str) -> None:
    x, y = colours(14, 1), colours(14, 2)
    names = [f"{i:02d}.png" for i in range(14)]
    made = folder(tmp_path / "made", flat(x), names)
    real = folder(tmp_path / "real", flat(y[::-1]), names[::-1])  # written in another order, named alike
    (panel,) = built(tmp_path, request(made, real, [metric])).panels
    score = json.loads((tmp_path / "out" / "evaluation.json").read_text())["scores"][0]
    order = np.argsort(np.array(score["samples"]), kind="stable")
    order = (order[::-1] if metric == "l1" else order)[:SHOWN]
    shown = [looked(column) for column in panel.columns]
    assert sorted(shown) == sorted([tuple(int(v) for v in x[i]), tuple(int(v) for v in y[i])] for i in order)
    values = np.array(score["samples"])[order]
    assert [column.caption for column in panel.columns] == [f"{value:.3g}" for value in values]
    if metric == "l1":
        apart = np.abs(x.astype(float) - y.astype(float)).mean(1)
        assert shown[0][0] == tuple(int(v) for v in x[apart.argmax()])


def test_pairs_by_order(tmp_path: Path) -> None:
    x, y = colours(5, 1), colours(5, 2)
    sets = Sets(from_array(flat(x), "made"), from_array(flat(y), "real"))
    measured = measure(request("made", "real", ["l1"]), sets=sets)
    panel = worst_pairs(measured.evaluation.scores[0], sets.made, sets.real)  # type: ignore[arg-type]
    assert {tuple(looked(column)) for column in panel.columns} == set(zip(as_tuples(x), as_tuples(y), strict=True))


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (200, 8), (8, 200), (46, 46), (47, 47), (300, 300), (1, 46)])
def test_tiles_are_rgb_squares(shape: tuple[int, int]) -> None:
    for channels in (1, 3):
        made = tile(torch.full((channels, *shape), 60, dtype=torch.uint8))
        assert made.shape == (3, SIDE, SIDE)
        assert (made[:, SIDE // 2, SIDE // 2] == 60).all()


def test_a_small_picture_keeps_its_pixels() -> None:
    picture = torch.randint(0, 256, (3, 5, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    times = SIDE // 5
    shown = tile(picture)
    top, left = (SIDE - 5 * times) // 2, (SIDE - 4 * times) // 2
    inside = shown[:, top : top + 5 * times, left : left + 4 * times]
    assert torch.equal(inside, picture.repeat_interleave(times, 1).repeat_interleave(times, 2))


def test_statistics_alone_leave_no_panel_of_real_images(tmp_path: Path) -> None:
    from sfumato.evaluation.evaluate import sample_of
    from sfumato.evaluation.statistics import save_statistics

    real = from_array(flat(colours(20, 2)), "real")
    features = Probe(Probe.Config())
    save_statistics(sample_of(real, features), features, tmp_path / "s.safetensors")
    made = folder(tmp_path / "made", flat(colours(10, 1)))
    assert built(tmp_path, request(made, tmp_path / "s.safetensors")).panels == []


def test_the_json_is_self_contained(tmp_path: Path) -> None:
    sets = Sets(from_array(pixels(12, 1), "made"), from_array(pixels(12, 2), "real"))
    gallery = built(tmp_path, request("made", "real", ["fd", "l1"]), sets)
    text = (tmp_path / "out" / "gallery.json").read_text()
    assert load(Gallery, json.loads(text)) == gallery
    assert str(tmp_path) not in text
    for panel in gallery.panels:
        for column in panel.columns:
            assert base64.b64decode(column.picture, validate=True).startswith(b"\x89PNG")


def test_the_same_pictures_every_time(tmp_path: Path) -> None:
    sets = Sets(from_array(pixels(30, 1), "made"), from_array(pixels(30, 2), "real"))
    assert built(tmp_path, request("made", "real"), sets) == built(tmp_path, request("made", "real"), sets)


# --- the page -------------------------------------------------------------------------------------------------------

NASTY = """<script>alert("1")<img src=x onerror='alert(1)'>&{{ 7 * 7 }}"""


def page(tmp_path: Path, made: Path, real: Path, metrics: Any, **settings: Any) -> str:
    wanted = Request(made=str(made), real=str(real), metrics=metrics, features=LITE0, **settings)
    built(tmp_path, wanted)
    path = build_page(tmp_path / "out")
    assert path == tmp_path / "out" / "evaluation.html"
    return path.read_text()


def test_the_page_holds_everything(tmp_path: Path) -> None:
    made, real = folder(tmp_path / "made", pixels(14, 1)), folder(tmp_path / "test", pixels(14, 2))
    text = page(tmp_path, made, real, "fd,kid,prdc,ssim", size=6)
    values = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert len(values["scores"]) == 7
    for score in values["scores"]:
        assert text.count(score["label"]) >= 2, score["label"]  # in the table and on its card
        for warning in score["card"].get("warnings", []):
            assert warning in text
    for word in (
        "14 images, test part",
        "lanczos to 6",
        "95 % interval",
        values["scores"][0]["card"]["made"]["sha256"],
    ):
        assert word in text, word
    for word in ("infinity: slope", "noise floor: value", "features: sha256", "<svg", "Least like any real image"):
        assert word in text, word
    assert text.count("data:image/png;base64,") == sum(
        len(panel["columns"]) for panel in json.loads((tmp_path / "out" / "gallery.json").read_text())["panels"]
    )


def test_the_page_links_nowhere(tmp_path: Path) -> None:
    made, real = folder(tmp_path / "made", pixels(12, 1)), folder(tmp_path / "real", pixels(12, 2))
    text = page(tmp_path, made, real, "fd,ssim")
    links = re.findall(r"""(?:href|src|xlink:href|url\()\s*=?\s*["']?([^"'\s>)]+)""", text)
    assert links and all(link.startswith(("#", "data:image/png;base64,")) for link in links), set(links)
    assert "<script" not in text and "@import" not in text and "<link" not in text


def test_names_are_no_markup(tmp_path: Path) -> None:
    made = folder(tmp_path / NASTY, pixels(6, 1))
    (made / "<b>bad<b>.png").write_bytes(b"x")
    folder(tmp_path / "real", pixels(6, 2))
    text = page(tmp_path, made, tmp_path / "real", "fd,l1", on_broken="skip")
    assert "<script" not in text and "<img src=x" not in text and "onerror='" not in text
    assert "&lt;script&gt;" in text and "{{ 7 * 7 }}" in text and "&amp;49" not in text


def test_a_page_without_pictures(tmp_path: Path) -> None:
    made, real = folder(tmp_path / "made", pixels(6, 1)), folder(tmp_path / "real", pixels(6, 2))
    page(tmp_path, made, real, "fd")
    (tmp_path / "out" / "gallery.json").unlink()
    text = build_page(tmp_path / "out").read_text()
    assert "data:image/png" not in text and "FD-lite0-b4" in text
