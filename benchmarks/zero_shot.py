"""Zero-shot restorers: one small grid for all on validation images, and the curves of studies/zero-shot.toml.

    python -m benchmarks.zero_shot grid DDPM_RUN FLOW_RUN      each setting's rank; the study's settings are the best ones
    sfumato study studies/zero-shot.toml --out runs/zero-shot
    python -m benchmarks.zero_shot curves runs/zero-shot       docs/images/zero-shot.svg, and who is best at how many calls
    python -m benchmarks.zero_shot sheet runs/zero-shot        docs/images/zero-shot.png, three draws of each at 100 calls

The grid is of one knob a method, with its authors' value and others beside it, in 50 calls on the tasks of the study. The rank
of a setting is that among its method's, by MIND, the mean over tasks.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib.pyplot as plt
import torch

from sfumato.images import to_uint8
from sfumato.kinds import build, parse
from sfumato.metrics.base import Metric
from sfumato.reports.figures import PALETTE
from sfumato.restorers.base import Restorer
from sfumato.streams import stream
from sfumato.studies.cells import cells, run_folder
from sfumato.studies.measure import measure, observe
from sfumato.studies.results import Result, read_lines, read_resolved
from sfumato.studies.statistics import by_method, compare, ranked
from sfumato.studies.study import Method, Study, read_study
from sfumato.tasks.base import Observation
from sfumato.training import run as runs

STUDY = Path(__file__).parents[1] / "studies" / "zero-shot.toml"
OUT = Path(__file__).parents[1] / "docs" / "images" / "zero-shot.svg"
CALLS, SHOWN = 50, (10, 25, 100, 250)
IMAGES = 128  # of the validation images
PICTURED, EACH, DRAWS = ("inpainting", "super_resolution-x4", "outpainting-n0.05"), 4, 3  # of the sheet
MIND = {"kind": "mind", "features": {"kind": "lite0", "layer": "b4"}}
GRID: dict[str, list[dict[str, Any]]] = {
    "ddnm": [{"sampler": {"eta": eta}} for eta in (0.0, 0.85, 1.0)],
    "repaint": [{"repeats": 1}, {"repeats": 2, "jump": 3}, {"repeats": 5, "jump": 2}],
    "diffpir": [{"zeta": zeta} for zeta in (0.25, 0.6, 1.0)],
    "dps": [{"zeta": zeta} for zeta in (0.5, 1.0, 2.0, 4.0)],
    "sdedit": [{"noise": noise} for noise in (0.5, 1.0, 2.0, 4.0)],
    "flower": [{"uncertain": uncertain} for uncertain in (False, True)],
}


def grid(ddpm: str, flow: str) -> None:
    """MIND of every setting on every task, and the mean rank of each."""
    models = {name: runs.load(Path(folder)) for name, folder in (("ddpm", ddpm), ("flow", flow))}
    study = read_study(STUDY)
    whole = build(models["ddpm"].config.data).load()
    data = replace(whole, test=whole.validation.first(IMAGES))
    tasks = [build(task) for task in study.tasks]
    for kind, settings in GRID.items():
        family, found = models["flow" if kind == "flower" else "ddpm"].family, dict[str, list[float]]()
        for task in tasks:
            for setting in settings:
                config = parse(Restorer, {"kind": kind, **setting})
                chosen = {name: getattr(config, name) for name in setting if name != "sampler"}
                restorer = build(config.owner.within(config, CALLS).model_copy(update=chosen), family)
                if not restorer.answers(task.example(3, data.size).operator):
                    continue
                metric = build(parse(Metric, MIND))
                told = measure(restorer, task, data, [metric], seed=0, batch=IMAGES, device=torch.device("cpu"))
                found.setdefault(str(setting), []).append(told.scores[0].value)
        columns = list(zip(*found.values(), strict=True))
        for told_setting, values in found.items():
            rank = mean(sorted(column).index(value) + 1 for column, value in zip(columns, values, strict=True))
            print(f"| {kind} | {told_setting} | {rank:.2f} |", " ".join(f"{value:.1f}" for value in values), flush=True)


def curve(name: str) -> tuple[str, bool]:
    """The method without its calls, and whether it has any."""
    stem = name.rstrip("0123456789 ")
    return stem, stem != name


def curves(folder: str) -> None:
    """MIND against calls and against milliseconds, a row a task; the best at each number of calls, * where it is sure."""
    results = [result for result in read_lines(Path(folder) / "results.jsonl") if result.status == "ok"]
    study = Study.model_validate_json((Path(folder) / "study.json").read_text())
    tasks = list(dict.fromkeys(result.task for result in results))
    stems = list(dict.fromkeys(curve(result.method)[0] for result in results))
    figure, panels = plt.subplots(len(tasks), 2, figsize=(9, 2.4 * len(tasks)), sharey="row", layout="constrained")
    for row, task in zip(panels, tasks, strict=True):
        mine = [result for result in results if result.task == task]
        label = next(name for name in mine[0].scores if name.startswith("MIND"))
        for stem in stems:
            points = sorted((r for r in mine if curve(r.method)[0] == stem), key=lambda r: r.calls)
            drawn(
                row,
                points,
                label,
                stem,
                PALETTE[stems.index(stem) % len(PALETTE)],
                walks=any(curve(r.method)[1] for r in points),
            )
        row[0].set_ylabel(f"{task}\n{label}", fontsize=8)
        best(study, results, task, label)
    for axes, label in zip(panels[-1], ("calls of the network", "milliseconds an image"), strict=True):
        axes.set_xlabel(label)
    handles = {h.get_label(): h for axes in panels.flat for h in axes.get_legend_handles_labels()[0]}
    figure.legend(handles.values(), handles.keys(), loc="outside right upper", frameon=False, fontsize=8)
    figure.savefig(OUT)


def drawn(row: list[plt.Axes], points: list[Result], label: str, stem: str, colour: str, walks: bool) -> None:
    """One method in both panels; what does not walk is a line across."""
    for axes, of in zip(row, ("calls", "milliseconds"), strict=True):
        axes.set(xscale="log", yscale="log")
        axes.grid(alpha=0.25, which="both", lw=0.5)
        axes.spines[["top", "right"]].set_visible(False)
        if not points:
            continue
        y = [max(r.scores[label].value, 1e-2) for r in points]
        if walks:
            axes.plot([getattr(r, of) for r in points], y, "o-", ms=3, lw=1, color=colour, label=stem)
        else:
            axes.axhline(y[0], lw=0.8, ls="--", color=colour, label=stem)


def best(study: Study, results: list[Result], task: str, label: str) -> None:
    """Who leads among those with as many calls or fewer in name, and whom it is ahead of beyond chance."""
    for calls in SHOWN:
        some = [r for r in results if r.task == task and (r.method.endswith(f" {calls}") or not curve(r.method)[1])]
        order = ranked(by_method(some, task, label))
        pairs = compare(
            some, task, label, study.model_copy(update={"contrasts": [(order[0], name) for name in order[1:]]})
        )
        sure = [d.second if d.first == order[0] else d.first for d in pairs if d.p is not None and d.p < 0.05]
        values = by_method(some, task, label)
        told = ", ".join(f"{name} {values[name].value:.1f}{'*' if name in sure else ''}" for name in order)
        print(f"{task}, {calls} calls: {told}")


def sheet(folder: str) -> None:
    """Test images of three tasks as each method restores them, three draws each."""
    out, study = Path(folder), read_resolved(Path(folder))
    data = build(study.data).load()
    tasks = [(place, build(task)) for place, task in enumerate(study.tasks)]
    shown = [(place, task) for place, task in tasks if task.name in PICTURED]
    methods = [m for m in study.methods if m.name.endswith(" 100") or m.name in ("Gaussian", "Biharmonic", "Bicubic")]
    figure, panels = plt.subplots(len(methods) + 2, len(shown), figsize=(12, 0.44 * (len(methods) + 2)), squeeze=False)
    for column, (place, task) in enumerate(shown):
        pixels, observation = observe(task, data.test, slice(0, EACH), "cpu")
        seen = to_uint8(observation.preview)
        rows: list[tuple[str, torch.Tensor | None]] = [("true", strip([pixels])), ("given", strip([seen]))]
        for method in methods:
            restorer = restorer_of(out, study, method, place)
            able = None if restorer is None or not restorer.answers(observation.operator) else restorer
            rows.append((method.name, None if able is None else strip(answers(able, observation))))
        for axes, (name, picture) in zip(panels[:, column], rows, strict=True):
            axes.axis("off")
            if picture is not None:
                axes.imshow(picture.permute(1, 2, 0), interpolation="nearest")
            if column == 0:
                axes.text(-0.01, 0.5, name, ha="right", va="center", fontsize=7, transform=axes.transAxes)
        panels[0, column].set_title(task.name, fontsize=8)
    figure.subplots_adjust(0.14, 0.0, 1.0, 0.97, 0.02, 0.04)
    figure.savefig(OUT.with_suffix(".png"), dpi=110)


def answers(restorer: Restorer, observation: Observation) -> list[torch.Tensor]:
    """Three draws for each image."""
    rngs = [[stream(draw, "sheet", i) for i in range(len(observation))] for draw in range(DRAWS)]
    with torch.no_grad():
        return [to_uint8(restorer.restore(observation, rng=rng)) for rng in rngs]


def strip(draws: list[torch.Tensor]) -> torch.Tensor:
    """Images in a row, the draws of one beside each other; one that is no draw stands once."""
    blank = torch.full_like(draws[0], 255)
    columns = [*draws, *[blank] * (DRAWS - len(draws))]
    return torch.cat(list(torch.stack(columns, 1).flatten(0, 1)), dim=2)


def restorer_of(out: Path, study: Study, method: Method, task: int) -> Restorer | None:
    """A method's restorer with the first of its trainings, where it has one for the task."""
    if method.family is None:
        return build(method.restorer)
    cell = next((c for c in cells(study) if study.methods[c.method] == method and task in c.tasks), None)
    folder = None if cell is None or cell.training is None else run_folder(cell.training, out)
    if folder is None or not runs.is_finished(folder):
        return None
    run = runs.load(folder)
    family = run.family if not method.drawn else runs.redrawn(run, method.drawn).family
    return build(method.restorer, family)


if __name__ == "__main__":
    {"grid": grid, "curves": curves, "sheet": sheet}[sys.argv[1]](*sys.argv[2:])
