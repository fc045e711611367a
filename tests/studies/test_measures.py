"""Metrics of several answers, of two figures and of the training images, in a study from training to report."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sfumato.config import load
from sfumato.errors import ConfigError
from sfumato.kinds import build
from sfumato.reports.report import build_report
from sfumato.reports.tables import number
from sfumato.studies import results, runner
from sfumato.studies.study import Study
from sfumato.training import run

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


def test_figures_within_classes_are_on_the_page(tmp_path: Path) -> None:
    run.train(
        load(
            run.RunConfig,
            {
                "data": {"kind": "digits", "train": 64, "validation": 8, "test": 24},
                "tasks": ["inpainting"],
                "family": {"kind": "ddpm", "width": 4},
                "budget": {"images": 32, "batch": 16},
            },
        ),
        tmp_path / "parent",
    )
    study = load(
        Study,
        {
            "title": "classes",
            "data": {"kind": "digits", "train": 64, "validation": 8, "test": 24},
            "tasks": ["inpainting"],
            "classes": True,
            "budget": {"images": 32, "batch": 16},
            "metrics": ["l1", "psnr"],
            "methods": [
                {
                    "name": "Tuned",
                    "family": {"kind": "ddpm", "width": 4},
                    "parts": {"start": str(tmp_path / "parent")},
                },
                {"name": "Mean <fill>", "restorer": "mean_fill"},
            ],
        },
    )
    found = results.read_lines(runner.run(study, tmp_path / "study", device="cpu"))
    build_report(tmp_path / "study")
    page, lines = (tmp_path / "study/report.html").read_text(), (tmp_path / "study/classes.csv").read_text()
    assert "Figures within classes" in page and "Mean &lt;fill&gt;" in page and "its part start" in page
    rows = [line.split(",") for line in lines.splitlines()[1:]]
    for result in found:
        for label, within in result.within.items():
            for name, value in within.items():
                row = next(r for r in rows if r[:4] == [result.task, result.method, label, name])
                assert float(row[4]) == pytest.approx(value)
                assert f"<td>{number(value, result.scores[label].value)}</td>" in page
    mean = next(result for result in found if result.method == "Mean <fill>")
    weights = np.bincount(build(study.data).load().test.labels.numpy(), minlength=10)
    whole = sum(mean.within["L1"][str(k)] * n for k, n in enumerate(weights) if n) / weights.sum()
    assert whole == pytest.approx(mean.scores["L1"].value, rel=1e-6)
