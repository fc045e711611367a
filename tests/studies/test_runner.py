"""A study from its file to its report: every cell once, in any number of processes, and a page that stands alone."""

import csv
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from sfumato.config import load
from sfumato.errors import ConfigError, DataError, WeightsError
from sfumato.reports.report import build_report
from sfumato.reports.tables import number, tables_of, to_json
from sfumato.studies import results, runner
from sfumato.studies.study import Study, scaled

VALUES: dict[str, Any] = {
    "title": "Tiny & <small>",
    "question": "Does it run?",
    "data": {"kind": "digits", "train": 64, "validation": 8, "test": 12},
    "tasks": ["inpainting", "outpainting"],
    "budget": {"images": 64, "batch": 16},
    "metrics": ["l1", "ssim", "consistency"],
    "batch": 5,
    "methods": [
        {"name": "DDPM", "family": {"kind": "ddpm", "width": 4}},
        {"name": "Mean fill", "restorer": "mean_fill"},
    ],
}


def study(**changes: Any) -> Study:
    return load(Study, {**VALUES, **changes})


def figures(folder: Path) -> dict[tuple[str, str, int], Any]:
    """Everything of the results but what a clock wrote."""
    return {
        (r.method, r.task, r.seed): (
            r.status,
            {label: score.model_dump() for label, score in r.scores.items()},
            r.parameters,
        )
        for r in results.read_lines(folder / "results.jsonl")
    }


def trainings(folder: Path) -> list[str]:
    """The names of a study's runs without the digest of their settings."""
    return sorted(path.name.rsplit("--", 1)[0] for path in (folder / "runs").iterdir())


@pytest.fixture(scope="module")
def each(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("each")
    runner.run(study(), out, device="cpu")
    build_report(out)
    return out


def test_every_cell_has_a_result(each: Path) -> None:
    found = figures(each)
    assert set(found) == {(m, t, 0) for m in ("DDPM", "Mean fill") for t in ("inpainting", "outpainting")}
    assert all(status == "ok" and set(scores) == {"L1", "SSIM", "|Ax-y|"} for status, scores, _ in found.values())
    assert all(score["n"] == 12 for _, scores, _ in found.values() for score in scores.values())
    assert trainings(each) == ["ddpm--inpainting--0", "ddpm--outpainting--0"]
    assert len(list((each / "results").glob("*.json"))) == 4
    learned = [r for r in results.read_lines(each / "results.jsonl") if r.learned]
    assert all(r.ledger is not None and r.ledger.images == 64 and r.parameters > 0 and r.calls == 25 for r in learned)
    assert [r.trained_on for r in learned] == [["inpainting"], ["outpainting"]]


def test_two_processes_give_the_same_figures(each: Path, tmp_path: Path) -> None:
    runner.run(study(), tmp_path, device="cpu", jobs=2)
    assert figures(tmp_path) == figures(each)


def test_another_batch_gives_classical_methods_the_same_figures(each: Path, tmp_path: Path) -> None:
    runner.run(study(batch=12, methods=VALUES["methods"][1:]), tmp_path, device="cpu")
    for key, value in figures(tmp_path).items():
        assert value == figures(each)[key], "the masks depend on the batch"


def test_a_joint_study_trains_one_model(tmp_path: Path) -> None:
    done: list[runner.Cell] = []
    runner.run(study(train="jointly", seeds=[0, 1]), tmp_path, device="cpu", done=done.append)
    assert len(done) == 3
    assert trainings(tmp_path) == ["ddpm--jointly--0", "ddpm--jointly--1"]
    found = results.read_lines(tmp_path / "results.jsonl")
    assert len(found) == 6
    assert all(r.trained_on == ["inpainting", "outpainting"] for r in found if r.learned)
    first, second = (r.scores["L1"].value for r in found if r.learned and r.task == "inpainting")
    assert first != second
    again: list[runner.Cell] = []
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "results").iterdir()}
    runner.run(study(train="jointly", seeds=[0, 1]), tmp_path, device="cpu", done=again.append)
    assert not again and {path: path.stat().st_mtime_ns for path in (tmp_path / "results").iterdir()} == before


def test_a_lost_result_is_measured_again_without_training(each: Path, tmp_path: Path) -> None:
    runner.run(study(), tmp_path, device="cpu")
    weights = list(tmp_path.rglob("model.safetensors"))
    before = {path: path.stat().st_mtime_ns for path in weights}
    (tmp_path / "results" / "ddpm--inpainting--0.json").unlink()
    runner.run(study(), tmp_path, device="cpu")
    assert figures(tmp_path) == figures(each)
    assert {path: path.stat().st_mtime_ns for path in weights} == before


def test_another_study_in_the_folder_is_refused(each: Path) -> None:
    with pytest.raises(ConfigError, match=r"another run \(its study.json differs in budget.batch\)"):
        runner.run(study(budget={**VALUES["budget"], "batch": 3}), each, device="cpu")


def test_other_words_change_nothing_and_other_metrics_measure_again_without_training(tmp_path: Path) -> None:
    runner.run(study(), tmp_path, device="cpu")

    def stamps(pattern: str) -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in tmp_path.rglob(pattern)}

    results_before, weights = stamps("results/*.json"), stamps("runs/*/*")
    runner.run(study(title="another title", baseline=VALUES["methods"][1]["name"]), tmp_path, device="cpu")
    assert stamps("results/*.json") == results_before and "another title" in (tmp_path / "study.json").read_text()
    runner.run(study(metrics=["mse"]), tmp_path, device="cpu")
    assert stamps("runs/*/*") == weights, "something was trained again"
    assert all(list(found.scores) == ["MSE"] for found in results.read_lines(tmp_path / "results.jsonl"))
    build_report(tmp_path)


def test_a_method_and_a_seed_may_join_and_leave(tmp_path: Path) -> None:
    runner.run(study(), tmp_path, device="cpu")
    weights = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.safetensors")}
    more = [*VALUES["methods"], {"name": "mean", "restorer": "mean_fill"}]
    runner.run(study(methods=more, seeds=[0, 1]), tmp_path, device="cpu")
    now = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.safetensors")}
    assert weights.items() < now.items() and len(now) == 2 * len(weights)
    assert {r.method for r in results.read_lines(tmp_path / "results.jsonl")} == {m["name"] for m in more}
    runner.run(study(), tmp_path, device="cpu")
    assert {r.seed for r in results.read_lines(tmp_path / "results.jsonl")} == {0}


def test_parity_is_found_and_counted(tmp_path: Path) -> None:
    methods = [{"name": name, "family": name} for name in ("wgan", "ddpm")]
    wanted = study(methods=methods, tasks=["inpainting"], parity={"parameters": 20_000, "tolerance": 0.08})
    runner.run(wanted, tmp_path, device="cpu")
    counts = [r.parameters for r in results.read_lines(tmp_path / "results.jsonl")]
    assert all(abs(count / 20_000 - 1) < 0.08 for count in counts)
    config = results.read_resolved(tmp_path)
    assert all(method.family.width != 32 for method in config.methods)
    page = build_report(tmp_path).read_text()
    assert all(f"{count:,}" in page for count in counts)


def test_scale_shrinks_budget_and_data() -> None:
    small = scaled(
        study(budget={"images": 100_000, "batch": 16}, data={"kind": "digits", "train": 1000, "test": 400}), 0.01
    )
    assert small.budget.images == 1000 and 10 <= small.data.train <= 32 and 4 <= small.data.test <= 32
    assert "at scale 0.01" in small.title


class Links(HTMLParser):
    """Every address that a browser would fetch or follow, and every tag."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[tuple[str, str]] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        wanted = ("src", "href", "srcset", "data", "poster", "action")
        self.links += [(tag, value or "") for name, value in attrs if name.split(":")[-1] in wanted]


def test_the_report_stands_alone(each: Path) -> None:
    page = (each / "report.html").read_text()
    found = Links()
    found.feed(page)
    assets = [(tag, link) for tag, link in found.links if not link.startswith(("data:", "#"))]
    assert not [link for tag, link in assets if tag != "a"], assets
    assert not [link for _, link in assets if "://" not in link], "a link to a file"
    assert "script" not in found.tags or "src=" not in page
    assert not re.search(r"@import|url\((?!['\"]?(data:|#))", page)
    assert str(each) not in page and str(Path.home()) not in page
    assert page.count("data:image/png;base64,") == 2 * 4  # observed, two methods, true: for two tasks
    assert "Tiny &amp; &lt;small&gt;" in page and "<small>" not in re.sub(r"<small>\s*±", "", page.split("<body")[0])


def test_the_figures_are_in_page_csv_and_latex(each: Path) -> None:
    page, latex = (each / "report.html").read_text(), (each / "tables.tex").read_text()
    rows = list(csv.DictReader((each / "tables.csv").read_text().splitlines()))
    found = results.read_lines(each / "results.jsonl")
    assert len(rows) == 4 * 3
    for result in found:
        for label, score in result.scores.items():
            row = next(r for r in rows if (r["task"], r["method"], r["metric"]) == (result.task, result.method, label))
            assert float(row["value"]) == pytest.approx(score.value) and int(row["n"]) == 12
            assert score.low is not None and float(row["low"]) == pytest.approx(score.low)
            assert number(score.value) in page and number(score.value) in latex
    assert latex.count("\\begin{tabular}") == latex.count("\\end{tabular}") == 2
    assert "Tiny" in latex and "_" not in re.sub(r"\\_|%.*", "", latex)


def test_the_same_results_give_the_same_page(each: Path) -> None:
    before = (each / "report.html").read_bytes()
    build_report(each)
    assert (each / "report.html").read_bytes() == before


def test_the_report_reads_no_model(each: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the report touched a model or a tensor")

    for path in each.rglob("*"):
        if path.is_file() and "runs" not in path.parts[len(each.parts) :]:
            target = tmp_path / path.relative_to(each)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    for name in ("zeros", "ones", "tensor", "load", "from_numpy"):
        monkeypatch.setattr(torch, name, refuse)
    assert build_report(tmp_path).read_bytes() == (each / "report.html").read_bytes()


def test_a_report_without_results(tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text(study().to_json())
    with pytest.raises(DataError, match="sfumato study"):
        build_report(tmp_path)
    (tmp_path / "results.jsonl").write_text("")
    with pytest.raises(DataError, match="no finished cell"):
        build_report(tmp_path)
    (tmp_path / "study.json").write_text(json.dumps({"title": 3}))
    with pytest.raises(ConfigError, match=r"study\.json"):
        build_report(tmp_path)


def test_progress_is_read_from_the_runs(each: Path, tmp_path: Path) -> None:
    for folder, images in ((each, 64), (tmp_path, 0)):
        progress = runner.training_progress(runner.resolve(study()), folder)
        assert [name.rsplit("--", 1)[0] for name in progress] == ["ddpm--inpainting--0", "ddpm--outpainting--0"]
        assert set(progress.values()) == {images}


def test_a_report_imports_nothing_that_a_folder_names(
    each: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(each, tmp_path / "r")
    told = json.loads((tmp_path / "r" / "study.json").read_text())
    (tmp_path / "theirs.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r" / "study.json").write_text(json.dumps({**told, "plugins": ["theirs"]}))
    assert build_report(tmp_path / "r").is_file(), "kinds of sfumato alone need no module"
    told["methods"][0]["family"]["kind"] = "theirs"
    (tmp_path / "r" / "study.json").write_text(json.dumps({**told, "plugins": ["theirs"]}))
    with pytest.raises(ConfigError, match="--plugin NAME"):
        build_report(tmp_path / "r")


def test_a_study_of_version_0_1_is_still_reported(each: Path, tmp_path: Path) -> None:
    shutil.copytree(each, tmp_path / "r")
    path = tmp_path / "r" / "study.json"
    told = json.loads(path.read_text())
    for name in ("average", "mix_tasks", "precision", "moments", "at_once"):
        told["budget"].pop(name)
    path.write_text(json.dumps({**told, "budget": {**told["budget"], "ema": 0.05}}))
    assert build_report(tmp_path / "r").is_file()


def test_the_figures_are_written_for_other_programs(each: Path) -> None:
    found = results.read_lines(each / "results.jsonl")
    told = json.loads(to_json(tables_of(found, study())))
    assert [part["task"] for part in told] == ["inpainting", "outpainting"]
    figure = next(f for f in told[0]["figures"] if (f["method"], f["metric"]) == ("DDPM", "L1"))
    assert figure["value"] == next(r for r in found if r.method == "DDPM" and r.task == "inpainting").scores["L1"].value
    assert {d["verdict"] for d in told[0]["differences"]} <= {
        "ahead as trained",
        "behind as trained",
        "not distinguishable",
    }


def test_a_collapse_is_named_in_the_report(each: Path, tmp_path: Path) -> None:
    shutil.copytree(each, tmp_path / "r")
    for path in (tmp_path / "r" / "results").glob("ddpm--inpainting*.json"):
        told = json.loads(path.read_text())
        told["ledger"]["alarm"] = "from 16 images on: mode collapse <here>"
        path.write_text(json.dumps(told))
    page = build_report(tmp_path / "r").read_text()
    assert "1 training raised an alarm" in page and "mode collapse &lt;here&gt;" in page


def test_methods_that_only_draw_otherwise_share_a_training(tmp_path: Path) -> None:
    ddpm = {"kind": "ddpm", "width": 4, "prediction": "eps"}
    few = {"sampler": {"kind": "ddim", "steps": 3}}
    methods = [{"name": "DDPM", "family": ddpm}, {"name": "Few", "family": ddpm, "drawn": few}]
    runner.run(study(methods=methods, tasks=["inpainting"]), tmp_path, device="cpu")
    many, three = results.read_lines(tmp_path / "results.jsonl")
    assert (many.calls, three.calls) == (25, 3) and trainings(tmp_path) == ["ddpm--inpainting--0"]
    assert many.scores["L1"].value != three.scores["L1"].value
    alone = [{"name": "Few", "family": {**ddpm, **few}}]  # what was drawn is what a training with these settings draws
    runner.run(study(methods=alone, tasks=["inpainting"]), tmp_path / "alone", device="cpu")
    (same,) = results.read_lines(tmp_path / "alone" / "results.jsonl")
    assert same.scores["L1"].value == three.scores["L1"].value
    methods[1]["drawn"] = {"sampler": {"kind": "ddim", "steps": 4}}
    runner.run(study(methods=methods, tasks=["inpainting"]), tmp_path, device="cpu")
    assert [r.calls for r in results.read_lines(tmp_path / "results.jsonl")] == [25, 4], "measured anew"


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"restorer": "telea", "drawn": {"guidance": 2.0}}, "give it a family"),
        ({"family": "ddpm", "drawn": {"guidnce": 2.0}}, "guidnce"),
        ({"family": "ddpm", "weights": "best", "drawn": {"guidance": 2.0}}, "best"),
    ],
)
def test_settings_of_drawing_are_looked_at_before_a_training(method: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        study(methods=[{"name": "m", **method}], budget={"images": 64, "batch": 16, "moments": 2})


def test_settings_that_weights_depend_on_are_refused(tmp_path: Path) -> None:
    methods = [{"name": "Wide", "family": {"kind": "ddpm", "width": 4}, "drawn": {"width": 16}}]
    with pytest.raises(WeightsError, match="width"):
        runner.run(study(methods=methods, tasks=["inpainting"]), tmp_path, device="cpu")
