"""Commands around studies, and what there is: study, report, kinds, check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sfumato.cli.options import Device, Set


def study(
    file: Annotated[Path, typer.Argument(help="A study file, such as studies/quickstart.toml.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for everything; runs/<name of the file> if left out.")
    ] = None,
    scale: Annotated[
        float, typer.Option(help="Multiply budget, training and test images, e.g. 0.001 to see the pipeline.")
    ] = 1.0,
    jobs: Annotated[int, typer.Option(min=1, help="Trainings at once, each in its own process.")] = 1,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write figures and verdicts here too.")] = None,
    device: Device = "auto",
    settings: Set = None,
) -> None:
    """Answer a study: train what is missing, measure it, print the tables, write the report.

    Stop it with Ctrl-C and give the same command again: nothing finished is lost or made twice.
    """
    from sfumato import display
    from sfumato.files import write_atomic
    from sfumato.reports.report import build_report
    from sfumato.reports.tables import tables_of, to_json
    from sfumato.studies import results, runner
    from sfumato.studies.study import read_study, scaled

    question = scaled(read_study(file, settings), scale)
    folder = out or Path("runs") / file.stem
    resolved = runner.resolve(question)  # widths are a part of what a training is known by
    question = resolved.study
    with display.study_bars(question.budget.images, lambda: runner.training_progress(resolved, folder)):
        path = runner.run(resolved, folder, device=device, jobs=jobs, source=file.read_text())
    display.show(found := results.read_lines(path), question)
    display.say(f"report: {build_report(folder)}")
    if json_out is not None:
        write_atomic(json_out, to_json(tables_of(found, question)))


def report(
    folder: Annotated[Path, typer.Argument(help="The folder of a study.")],
    plugin: Annotated[
        list[str] | None,
        typer.Option(help="A module with kinds of your own to import; what a folder names is not imported by itself."),
    ] = None,
) -> None:
    """Write the report of a study again: report.html, tables.tex, tables.csv."""
    from sfumato.kinds import import_plugins
    from sfumato.reports.report import build_report

    import_plugins(plugin or [])
    typer.echo(str(build_report(folder)))


def kinds(
    root: Annotated[
        str | None, typer.Argument(help="source, task, family, restorer, metric ...; all roots if left out.")
    ] = None,
) -> None:
    """List what settings can name, with each setting's default and help."""
    from sfumato.catalogue import describe

    typer.echo(describe(root))


def check(folder: Annotated[Path, typer.Argument(help="A folder of images.")]) -> None:
    """Look at a folder before training on it: counts, sizes, broken files, duplicates."""
    from sfumato.data.folder import preflight

    typer.echo(str(preflight(folder)))
