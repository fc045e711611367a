"""Commands: what the larger commands of the command line do, with their progress and what they print."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sfumato import config as settings
from sfumato import display, zoo
from sfumato.data.folder import ENDINGS
from sfumato.errors import CapabilityError, ConfigError, DataError, ShapeError, counted
from sfumato.evaluation.evaluate import measure, prepared, sample_of
from sfumato.evaluation.explain import explain as explain_evaluations
from sfumato.evaluation.gallery import build_gallery
from sfumato.evaluation.request import Request, official, read_evaluation
from sfumato.evaluation.sources import find
from sfumato.evaluation.statistics import save_statistics
from sfumato.features import extractor
from sfumato.files import write_atomic
from sfumato.images import grid, write_picture
from sfumato.removal import GUESS, Settings, segmenter
from sfumato.removal import remove as take_out
from sfumato.reports.evaluation import build_page
from sfumato.reports.report import build_report
from sfumato.restorers.answerer import Answerer, chosen, limited
from sfumato.restorers.folder import matched
from sfumato.restorers.picture import restore_file
from sfumato.segmenters.base import Segmenter
from sfumato.studies import evaluate as runs
from sfumato.training import processes
from sfumato.training.run import load, skeleton
from sfumato.training.sampling import AT_ONCE, sample_pixels


def evaluate_run(
    folder: Path, metrics: str, test: int | None, out: Path | None, json_out: Path | None, device: str
) -> None:
    """Measure a run on the test images of its own data, by what it was trained for, beside the classical methods."""
    chosen = [official(name.strip()) for name in metrics.split(",") if name.strip()]
    results = runs.evaluate_run(folder, chosen, test, out, device=device, baselines=True)
    display.show(results)
    scores = {score.label: score for result in results for score in result.scores.values()}
    n = max((score.n for score in scores.values()), default=0)
    units = ", ".join(f"{label} ({score.unit})" for label, score in scores.items())
    display.say(f"on {n:,} test images; {units}")
    display.say(f"page: {build_report(out or folder / 'evaluation')}")
    if json_out is not None:
        write_atomic(json_out, "[" + ",\n".join(result.model_dump_json(indent=2) for result in results) + "]\n")


def evaluate_sets(
    values: dict[str, Any], overrides: Sequence[str], out: Path, json_out: Path | None, device: str
) -> None:
    """Measure images against images: a table, evaluation.json and a page."""
    request = settings.load(Request, settings.override(present(values), overrides), "evaluate")
    where = processes.join(device)
    with display.extraction_bars() as watch:
        measured = measure(request, where, watch=watch)
        evaluation = measured.evaluation
        write_atomic(out / "evaluation.json", evaluation.to_json())
        build_gallery(measured, measured.sets, out)
    page = build_page(out)
    if json_out is not None:
        write_atomic(json_out, evaluation.to_json())
    display.show_scores(evaluation)
    display.say(f"page: {page}")


def explain(first: Path, second: Path, recompute: bool, json_out: Path | None, device: str) -> None:
    """Print why two figures differ."""
    evaluations = read_evaluation(first), read_evaluation(second)
    with display.extraction_bars() as watch:
        explanations = explain_evaluations(*evaluations, recompute, processes.join(device), watch)
    display.show_explanations(explanations)
    if json_out is not None:
        told = [
            {
                "first": {"label": part.first.label, "value": part.first.value, "n": part.first.n},
                "second": {"label": part.second.label, "value": part.second.value, "n": part.second.n},
                "gap": part.gap,
                "factors": [asdict(factor) for factor in part.factors],
                "unexplained": part.remainder,
                "notes": part.notes,
            }
            for part in explanations
        ]
        write_atomic(json_out, json.dumps(told, indent=2) + "\n")


SHEET = 4096  # images on one picture


def sample(
    folder: Path, n: int, out: Path, seed: int, label: int | None, device: str, changes: Sequence[str] = ()
) -> None:
    """Draw images into one picture, an .npz file or a folder, with progress.

    Raises: ConfigError: more images than one picture is for.
    """
    one = out.suffix.lower() in ENDINGS
    if one and n > SHEET:
        raise ConfigError(
            f"-n {n:,} images are too many for one picture, which takes {SHEET:,}; give --out a folder or an .npz"
        )
    run, parts = load(folder, device, changes=changes), []
    with display.extraction_bars() as watch:
        for first in range(0, n, AT_ONCE):
            part = sample_pixels(run, min(AT_ONCE, n - first), seed, label, first)
            if one or out.suffix == ".npz":
                parts.append(part)
            else:
                for i, pixels in enumerate(part, start=first):
                    write_picture(pixels, out / f"{i:06d}.png")
            watch(f"drawing from {folder.name}", min(first + AT_ONCE, n), n)
    if one:
        pixels = torch.cat(parts)
        write_picture(grid(pixels, scale=max(1, 64 // pixels.shape[-1])), out)
    elif out.suffix == ".npz":
        buffer = io.BytesIO()
        np.savez_compressed(buffer, images=torch.cat(parts).permute(0, 2, 3, 1).numpy())
        write_atomic(out, buffer.getvalue())
    display.say(out)


def restore(
    picture: Path,
    out: Path | None,
    model: str | None,
    *,
    mask: Path | None,
    scale: int | None,
    border: str | None,
    invert: bool,
    seed: int,
    restorer: str | None,
    device: str,
    calls: int | None = None,
    draws: int = 1,
) -> None:
    """Restore a picture, or every picture of a folder into another folder, once or in several ways.

    Raises: DataError: some pictures of a folder could not be restored; the others are written.
    """
    what: dict[str, Any] = {"scale": scale, "border": None if border is None else _border(border), "invert": invert}
    answerer = chosen(model, mask is not None or border is not None, scale, device, limited(restorer, calls))
    if not picture.is_dir():
        targets = _draws(out or Path("restored").with_suffix(picture.suffix), seed, draws)
        for target, number in targets.items():
            with display.working(f"restoring {picture.name}") as bar:  # a large hole may take minutes
                told = bar if number > seed else _promising(answerer, draws, bar)
                _warn(restore_file(picture, target, answerer, mask=mask, watch=told, seed=number, **what))
        display.say("\n".join(str(target) for target in targets))
        return
    out = out or Path("restored")
    work = _folder(picture, mask, out)
    failed = []
    with display.extraction_bars() as watch:
        for done, (path, own, target) in enumerate(work, start=1):
            try:
                for place, number in _draws(target, seed, draws).items():
                    _warn(restore_file(path, place, answerer, mask=own, seed=number, **what))
            except (DataError, ShapeError) as error:
                failed.append(str(error))
            watch(f"restoring {picture.name}", done, len(work))
    display.say(f"{counted(len(work) - len(failed), 'picture')} restored in {out}")
    if failed:
        raise DataError(
            f"{counted(len(failed), 'picture')} of {len(work)} could not be restored; the first: {failed[0]}"
        )


def _draws(out: Path, seed: int, draws: int) -> dict[Path, int]:
    """Where each draw goes, and its seed."""
    if draws == 1:
        return {out: seed}
    return {out.with_stem(f"{out.stem}-{k + 1}"): seed + k for k in range(draws)}


def _promising(answerer: Answerer, draws: int, bar: Callable[[int, int], None]) -> Callable[[int, int], None]:
    """A bar that says before the first part what all will take."""

    def watch(done: int, of: int) -> None:
        if done == 0 and (words := answerer.promise(of, draws)):
            display.say(words)
        bar(done, of)

    return watch


def remove(
    picture: Path,
    out: Path | None,
    what: str,
    *,
    mask: Path | None,
    box: str | None,
    model: str | None,
    weights: Path | None,
    preview: bool,
    invert: bool,
    dilate: int | None,
    feather: int | None,
    seed: int,
    device: str,
) -> bool:
    """Take something out of a picture or of each picture of a folder; whether there was anything.

    Raises: ConfigError: mask and box together, or a box that is none.
    """
    if mask is not None and box is not None:
        raise ConfigError("give --mask or --box, not both")
    if weights is not None and (mask is not None or box is not None):
        raise ConfigError("--weights are for finding people; leave them out where --mask or --box says what is removed")
    by: Segmenter | None = None
    if mask is None:
        values: dict[str, Any] = {"box": _box(box)} if box is not None else {}
        values |= {"weights": str(weights)} if weights is not None else {}
        by = segmenter("grab_cut" if box is not None else what, values)
    how = Settings(dilate=dilate, feather=feather, invert=invert, seed=seed, device=device)
    many = picture.is_dir()
    out = out or (Path("removed") if many else Path("removed").with_suffix(picture.suffix))
    work = _folder(picture, mask, out) if many else [(picture, mask, out)]
    answerer = chosen(model, fills=True, scale=None, device=device)
    found, failed = 0, list[str]()
    for path, own, target in work:
        beside = target.with_name(f"{target.stem}-preview.png") if preview else None
        try:
            with display.working(f"looking at {path.name}") as watch:
                removed = take_out(path, target, by or own or path, answerer, how, beside, watch)
        except (DataError, ShapeError) as error:
            if not many:
                raise
            failed.append(str(error))
            continue
        if removed is None:
            display.say(f"{path}: {by.nothing if by else Segmenter.nothing}, nothing written")
            continue
        found += 1
        _warn([*removed.warnings, GUESS])
        display.say(f"{path}: {removed.report()}: {target}")
    if failed:
        raise DataError(f"{counted(len(failed), 'picture')} of {len(work)} could not be used; the first: {failed[0]}")
    return found > 0


def list_models() -> None:
    """Print the models that come with the package; each name can be given as `--model`."""
    shown = display.plain("models that come with sfumato; `sfumato models card NAME` says more")
    for title in ("name", "family", "made for", "pixels", "kB"):
        shown.add_column(title, justify="right" if title in ("pixels", "kB") else "left")
    for name in zoo.names():
        run, size = skeleton(zoo.folder(name)), (zoo.folder(name) / "model.safetensors").stat().st_size
        tasks = ", ".join(task.name for task in run.tasks)
        shown.add_row(
            name, run.config.family.kind, tasks, f"{run.spec.size[1]} x {run.spec.size[0]}", f"{size / 1000:,.0f}"
        )
    display.console.print(shown)


def _folder(folder: Path, mask: Path | None, out: Path) -> list[tuple[Path, Path | None, Path]]:
    """Each picture of a folder, its mask, and where it goes.

    Raises: DataError: they would be written over themselves, or see `matched`.
    """
    if out.resolve() == folder.resolve():
        raise DataError(f"--out {out} is the folder of the pictures themselves; choose another")
    return [(path, own, out / path.relative_to(folder)) for path, own in matched(folder, mask)]


def _box(text: str) -> list[int]:
    """Raises: ConfigError: not four whole numbers."""
    if len(values := _whole_numbers(text)) != 4:
        raise ConfigError(f"--box {text} is not LEFT,TOP,WIDTH,HEIGHT in whole pixels, as 120,40,80,200")
    return values


def _border(text: str) -> Any:
    """Raises: ConfigError: neither one nor four whole numbers."""
    if len(values := _whole_numbers(text)) not in (1, 4):
        raise ConfigError(f"--border {text} is neither one number of pixels nor ABOVE,RIGHT,BELOW,LEFT, as 0,64,0,64")
    return values[0] if len(values) == 1 else tuple(values)


def _whole_numbers(text: str) -> list[int]:
    """The whole numbers between commas; none where it is something else."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        return []


def _warn(lines: Sequence[str]) -> None:
    for line in lines:
        display.say(line, warning=True)


def statistics(values: dict[str, Any], overrides: Sequence[str], out: Path, device: str) -> None:
    """Write the statistics of a set of images.

    Raises: CapabilityError: an ending that no statistics have.
    """
    if out.suffix not in (".safetensors", ".npz"):
        raise CapabilityError(f"statistics are written to .safetensors or, for other tools, .npz; {out} is neither")
    request = settings.load(Request, settings.override(present(values), overrides), "stats")
    where = processes.join(device)
    features = extractor(request.features, where)
    with display.extraction_bars() as watch:
        sample = sample_of(
            prepared(find(request.made, request.n, request.on_broken), request), features, where, watch=watch
        )
    save_statistics(sample, features, out)
    display.say(f"{sample.n:,} images, {features.label}: {out}")


def present(values: dict[str, Any]) -> dict[str, Any]:
    """The values that were given."""
    return {key: value for key, value in values.items() if value is not None}
