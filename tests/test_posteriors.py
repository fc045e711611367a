"""`sfumato exact --task`: restorers against the posterior, from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cases import call, refused


def told(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((folder / "posteriors.json").read_text())["rows"]
    return rows


def test_a_table_and_a_page(tmp_path: Path) -> None:
    asked = ["exact", "digits", "--task", "inpainting", "--task", "super_resolution", "--calls", "8,32"]
    assert call(*asked, "--restorer", "flower,ddnm,ding", "--out", tmp_path) == 0
    rows = told(tmp_path)
    assert len(rows) == (3 + 2) * 2 * 2, "ding is for masks"
    assert all(row["error"] is None for row in rows), "all by formulas"
    flower = [
        row for row in rows if row["restorer"] == "flower" and row["task"] == "inpainting" and row["noise"] == 0.05
    ]
    assert [row["calls"] for row in flower] == [8, 32]
    assert flower[0]["mean"] > 2 * flower[1]["mean"], "its mean comes nearer with its steps"
    page = (tmp_path / "posteriors.html").read_text()
    assert "inpainting, noise 0.05" in page and "coverage" in page and page.count("<svg") == 4


def test_by_draws_where_a_walk_is_not_affine(tmp_path: Path) -> None:
    asked = ["exact", "digits", "--task", "inpainting", "--noise", "0", "--calls", "20", "--out", tmp_path]
    assert call(*asked, "--restorer", "dps,flower") == 0
    dps, by_formulas = told(tmp_path)
    assert dps["error"] > 0 and by_formulas["error"] is None
    assert call(*asked, "--restorer", "flower", "--clamped") == 0
    (by_draws,) = told(tmp_path)
    assert by_draws["error"] > 0 and by_draws["spread"] < by_formulas["spread"], "a clamp narrows what is drawn"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--restorer", "telea"], "--restorer 'telea': one of ddnm"),
        (["--calls", "0"], "--calls '0': whole numbers from 1 on"),
        (["--calls", "2.5"], "--calls '2.5': whole numbers"),
        (["--noise", "-1"], "--noise '-1': numbers from 0 on"),
        (["--noise", "loud"], "--noise 'loud'"),
        (["--task", "generation"], "generation measures nothing"),
        (["--schedule", "sometimes"], "sometimes"),
    ],
)
def test_bad_wishes(more: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, "exact", "digits", "--task", "inpainting", "--out", tmp_path, *more, words=words)
