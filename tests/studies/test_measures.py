"""Metrics of several answers, of two figures and of the training images, in a study from training to report."""

import re
from pathlib import Path
from typing import Any

import pytest

from sfumato.config import load
from sfumato.errors import ConfigError
from sfumato.reports.report import build_report
from sfumato.studies import results, runner
from sfumato.studies.study import Study

FEATURES = {"kind": "lite0", "layer": "b4", "size": 16}
VALUES: dict[str, Any] = {
    "title": "Tiny",
    "data": {"kind": "digits", "train": 64, "validation": 8, "test": 12},
    "tasks": ["inpainting"],
    "budget": {"images": 64, "batch": 16},
    "metrics": [
        "l1",
        {"kind": "diversity", "draws": 3},
        {"kind": "best_of", "draws": 2},
        {"kind": "perception_distortion", "perception": {"kind": "frechet", "features": FEATURES, "replicates": 4}},
        {"kind": "memorisation", "features": FEATURES},
    ],
    "batch": 5,
    "methods": [
        {"name": "DDPM", "family": {"kind": "ddpm", "width": 4}},
        {"name": "Mean fill", "restorer": "mean_fill"},
    ],
}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measures")
    runner.run(load(Study, VALUES), folder, device="cpu")
    build_report(folder)
    return folder


def test_answers_to_one_observation_differ_or_do_not(out: Path) -> None:
    learned, classical = ({k: s.value for k, s in r.scores.items()} for r in results.read_lines(out / "results.jsonl"))
    assert learned["diversity (L1)"] > 0 and learned["L1 best of 2"] <= learned["L1"]
    assert classical["diversity (L1)"] == 0 and classical["L1 best of 2"] == classical["L1"]


def test_the_first_answer_is_that_of_a_study_that_asks_for_one(out: Path, tmp_path: Path) -> None:
    alone = load(Study, {**VALUES, "metrics": ["l1"]})
    runner.run(alone, tmp_path, device="cpu")
    both = [[r.scores["L1"].samples for r in results.read_lines(place / "results.jsonl")] for place in (out, tmp_path)]
    assert both[0] == both[1]


def test_training_images_are_given_to_the_metric_that_wants_them(out: Path) -> None:
    for result in results.read_lines(out / "results.jsonl"):
        assert result.scores["AuthPct-lite0-b4-16px"].card["train"]["n"] == 64


def test_the_report_draws_the_plane(out: Path) -> None:
    page = (out / "report.html").read_text()
    assert "Perception against distortion" in page and page.count("<svg") >= 2
    assert re.search(r"perception \(FD-lite0-b4-16px\)", page) and "distortion (MSE (whole))" in page


def test_two_metrics_of_one_name_are_refused_before_training(tmp_path: Path) -> None:
    twice = [{"kind": "kernel", "features": FEATURES}, {"kind": "kernel", "features": FEATURES, "subsets": 5}]
    with pytest.raises(ConfigError, match="two metrics are both called KD-lite0-b4-16px"):
        runner.run(load(Study, {**VALUES, "metrics": twice}), tmp_path, device="cpu")
    assert not list(tmp_path.glob("results/*.json"))
