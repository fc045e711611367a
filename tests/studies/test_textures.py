"""A study of textures: each test image is learnt by itself, and what copies is shown and not ranked."""

import json
from pathlib import Path

import pytest
import torch

from sfumato.config import load
from sfumato.errors import ConfigError
from sfumato.images import write_picture
from sfumato.reports.report import build_report
from sfumato.reports.tables import tables_of
from sfumato.reports.verdicts import coverage
from sfumato.streams import stream
from sfumato.studies.results import gather, ordered
from sfumato.studies.runner import run
from sfumato.studies.study import Study


def folder(path: Path) -> Path:
    path.mkdir()
    for i in range(4):
        coarse = torch.rand(1, 3, 8, 8, generator=stream(i, "e"))
        x = torch.nn.functional.interpolate(coarse, size=(48, 48), mode="bilinear")[0]
        x = x + 0.2 * torch.rand(3, 48, 48, generator=stream(i, "n"))
        write_picture((200 * x).clamp(0, 255).to(torch.uint8), path / f"{i}.png")
    return path


def study(path: Path, methods: list[str], **more: object) -> Study:
    rows = [{"name": name, "restorer": {"kind": "synthesis", "method": name}} for name in methods]
    metrics = ["patch_sliced", {"kind": "copied", "window": 3}, {"kind": "diversity", "draws": 2}]
    data = {"kind": "exemplar", "path": str(path), "window": 40}
    return Study.model_validate(
        {"title": "t", "data": data, "tasks": ["texture"], "metrics": metrics, "methods": rows, **more}
    )


def test_what_copies_is_shown_and_not_ranked(tmp_path: Path) -> None:
    one = study(folder(tmp_path / "e"), ["gaussian_field", "quilting"])
    out = run(one, tmp_path / "out").parent
    results = ordered(gather(out), one)
    assert [result.method for result in results] == ["gaussian_field", "quilting"]
    field, pasted = results
    assert field.scores["Copied"].value < 0.1
    assert pasted.scores["Copied"].value > 0.5
    assert len(pasted.scores["Copied"].samples) == 4
    assert set(field.costs) == {"learning, s", "synthesis, s"}
    rows = {row.method: row for row in tables_of(results, one)[0].rows}
    assert rows["quilting"].aside == "Copied"
    assert rows["gaussian_field"].aside == ""
    assert not any(entry.leading for entry in rows["quilting"].entries.values())
    assert any("quilting is beyond the limit of Copied" in line for line in coverage(results))
    differences = tables_of(results, one)[0].differences["Patch SW (7 x 7)"]
    assert [difference.untested for difference in differences] == [True]
    page = build_report(out).read_text()
    assert "copied: not ranked" in page
    assert "What an answer took" in page


def test_a_texture_study_takes_no_family_and_no_other_restorer(tmp_path: Path) -> None:
    good = study(folder(tmp_path / "e"), ["gaussian_field"])
    values = {**json.loads(good.to_json()), "methods": [{"name": "a", "family": "gaussian"}]}
    with pytest.raises(ConfigError, match="learnt picture by picture"):
        load(Study, values)
