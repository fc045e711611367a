"""Best by validation: a second row with the weights of the moment that validation images like best, and no verdict on it."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from sfumato.config import load
from sfumato.errors import ConfigError
from sfumato.reports.report import build_report
from sfumato.studies import results, runner
from sfumato.studies.statistics import UNTESTED, compare
from sfumato.studies.study import Study
from sfumato.training import moments
from tests.training import tiny

VALUES: dict[str, Any] = {
    "title": "Last and best",
    "data": {"kind": "digits", "train": 64, "validation": 16, "test": 12},
    "tasks": ["inpainting"],
    "seeds": [0, 1],
    "budget": {"images": 256, "batch": 16, "moments": 3},
    "metrics": ["l1"],
    "methods": [
        {"name": "last", "family": {"kind": "regression", "width": 4}},
        {"name": "best", "family": {"kind": "regression", "width": 4}, "weights": "best"},
        {"name": "mean", "restorer": "mean_fill"},
    ],
}


def test_moments_are_kept_once_each_and_a_resumed_training_keeps_the_same(tmp_path: Path) -> None:
    from sfumato.training import run as runs

    run = runs.train(tiny.settings("regression", moments=3), tmp_path / "a", data=tiny.data())
    assert list(moments.kept(tmp_path / "a")) == [64, 128, 192]
    first, end = (runs.load(tmp_path / "a", moment=m) for m in (64, None))
    differ = [not a.equal(b) for a, b in zip(first.family.parameters(), end.family.parameters(), strict=True)]
    assert any(differ) and run.ledger.images == 256


def test_the_moment_that_validation_likes_best_is_a_row_without_a_verdict(tmp_path: Path) -> None:
    study = load(Study, VALUES)
    runner.run(study, tmp_path, device="cpu")
    assert len(list((tmp_path / "runs").iterdir())) == 2, "both rows share their trainings"
    for weights in (tmp_path / "runs").glob("*/model.safetensors"):  # as if the end had gone wrong
        shutil.copy(weights, weights.parent / "moments" / f"{128:012d}.safetensors")
        save_file({name: value * 0 for name, value in load_file(weights).items()}, weights)
    for path in (tmp_path / "results").iterdir():
        path.unlink()
    runner.run(study, tmp_path, device="cpu")
    found = results.gather(tmp_path)
    value = {(r.method, r.seed): r.scores["L1"].value for r in found}
    assert all(value["best", seed] < value["last", seed] for seed in (0, 1))
    assert all((r.chosen in (64, 128, 192)) if r.method == "best" else r.chosen is None for r in found)
    verdicts = {(d.first, d.second): d.verdict for d in compare(found, "inpainting", "L1", study)}
    assert all((verdict == UNTESTED) == ("best" in pair) for pair, verdict in verdicts.items())
    page = build_report(tmp_path).read_text()
    assert "weights that validation images chose" in page


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": {"images": 256, "batch": 16}}, "budget.moments"),
        ({"contrasts": [["best", "mean"]]}, "end of a training"),
    ],
)
def test_a_choice_without_moments_or_with_a_verdict_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(Study, {**VALUES, **changes})
