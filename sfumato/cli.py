"""The command line: `sfumato train | sample | restore | evaluate | explain | stats | study | report | kinds | check`.

A command only reads its options, calls one function and prints; user errors are one line and exit code 2.
"""

from __future__ import annotations

import re
import signal
import sys
import threading
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

import sfumato

app = typer.Typer(
    help="Which generative model should I use on my images, and can I trust the answer?",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Out = Annotated[Path, typer.Option("--out", "-o", help="Where to write; an interrupted command goes on from there.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a setting, as in --set budget.images=20000; may be repeated."),
]
Device = Annotated[str, typer.Option(help="auto (a GPU if there is one), cpu or cuda.")]
RunFolder = Annotated[Path, typer.Argument(help="The folder that `sfumato train` wrote.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sfumato {sfumato.__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that come before the command."""


@app.command()
def train(
    family: Annotated[str | None, typer.Argument(help="wgan, ddpm ... (see `sfumato kinds family`).")] = None,
    data: Annotated[
        str, typer.Option(help="A folder of pictures, an .npz file, or a source (see `sfumato kinds source`).")
    ] = "digits",
    task: Annotated[
        list[str] | None,
        typer.Option(help="generation, inpainting, denoising ... (see `sfumato kinds task`); may be repeated."),
    ] = None,
    out: Out = Path("runs/model"),
    config: Annotated[
        Path | None, typer.Option(help="A .toml or .json file with all settings, instead of the names.")
    ] = None,
    images: Annotated[int | None, typer.Option(help="Budget: real images consumed.")] = None,
    seed: Annotated[int, typer.Option(help="Start of every stream of random numbers.")] = 0,
    start: Annotated[
        Path | None, typer.Option(help="A finished run to go on from: fine-tuning, with its family if none is named.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what time and memory it would take, and write nothing.")
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write TensorBoard logs into OUT/.tensorboard.")
    ] = False,
    device: Device = "auto",
    settings: Set = None,
) -> None:
    """Train one model; give the same command again to go on after an interruption.

    Example: sfumato train ddpm --data digits --task inpainting --images 50000 --out runs/filler
    """
    from sfumato import display
    from sfumato.data.base import Source
    from sfumato.kinds import build, discover
    from sfumato.training import logs, processes
    from sfumato.training.plan import promise
    from sfumato.training.run import is_finished, read_run
    from sfumato.training.run import train as train_run

    if data in discover(Source) and Path(data).is_dir():
        display.say(f"--data {data} is the source of this name; for the folder write ./{data}", warning=True)
    run = read_run(config, family, data, task or ["generation"], images, seed, settings or [], start)
    processes.join(device)
    if dry_run:
        from sfumato.training.plan import plan

        display.say(plan(run, device=device))
        return
    images_of = None if is_finished(out) else build(run.data).load()
    if processes.rank() == 0 and images_of is not None:
        display.say(promise(run, images_of), log=True)
    with display.training_bar(str(run.family.kind), run.budget.images) as watch:
        watch = logs.tensorboard(out / ".tensorboard", watch) if tensorboard else watch
        trained = train_run(run, out, device=device, data=images_of, watch=watch)
    if processes.rank() == 0:
        display.console.print((out / "card.md").read_text(), soft_wrap=True)
        display.console.print(
            f"{trained.ledger.images:,} images in {trained.ledger.seconds:.0f} s; the model is in {out}"
        )
    processes.leave()


@app.command()
def sample(
    run: RunFolder,
    n: Annotated[int, typer.Option("-n", min=1, max=10_000_000, help="How many images.")] = 16,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="A picture of all (.png ...), an .npz file, or a folder of pictures.")
    ] = Path("samples.png"),
    seed: Annotated[int, typer.Option(help="Another seed draws other images.")] = 0,
    label: Annotated[
        int | None, typer.Option("--class", help="The class to draw, of a model that hears labels.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Draw images from a model trained on generation; image i depends on the seed and i alone, however many are drawn."""
    from sfumato import commands

    commands.sample(run, n, out, seed, label, device)


@app.command()
def restore(
    picture: Annotated[Path, typer.Argument(help="The picture to restore, or a folder of pictures.")],
    model: Annotated[str, typer.Option(help="The folder of a run, or telea, navier_stokes, biharmonic, bicubic ...")],
    mask: Annotated[
        Path | None,
        typer.Option(
            help="A picture of the same size, WHITE where the picture is to be MADE, black where it is kept; for a folder, "
            "one for all or a folder of masks with the same names."
        ),
    ] = None,
    scale: Annotated[int | None, typer.Option(help="Enlarge so many times instead of filling a mask.")] = None,
    invert: Annotated[bool, typer.Option("--invert", help="The mask is white where the picture is kept.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Where to write; its ending names the format. Left out: restored.* as the input."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed gives another plausible answer.")] = 0,
    device: Device = "auto",
) -> None:
    """Fill the white part of a mask, enlarge a picture, or do what a model was trained for, as to denoise.

    Example: sfumato restore picture.png --mask mask.png --model runs/filler --out restored.png
    """
    from sfumato import commands

    commands.restore(picture, out, model, mask=mask, scale=scale, invert=invert, seed=seed, device=device)


@app.command()
def evaluate(
    made: Annotated[str, typer.Argument(help="A folder, zip, npz, run, or a source's part (digits:test).")],
    real: Annotated[
        str | None, typer.Argument(help="The same, or statistics; left out, a run's own test images.")
    ] = None,
    metrics: Annotated[
        str, typer.Option(help="Names, by commas: fid,kid,prdc,is,ssim ... (`sfumato kinds metric`).")
    ] = "",
    features: Annotated[str, typer.Option(help="inception (FID), lite0 (offline), dinov2, vgg ...")] = "inception",
    n: Annotated[int | None, typer.Option("-n", "--n", min=1, help="Use so many made images.")] = None,
    n_real: Annotated[int | None, typer.Option("--n-real", "--test", help="Use so many real, or test, images.")] = None,
    train: Annotated[str | None, typer.Option(help="The training images, to see what is memorised.")] = None,
    masks: Annotated[str | None, typer.Option(help="Masks, white where pictures were made.")] = None,
    size: Annotated[int | None, typer.Option(min=1, help="Bring all images to this size first.")] = None,
    mixed: Annotated[bool, typer.Option("--mixed", help="Accept images of several sizes as they are.")] = False,
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help="Leave out files that cannot be read.")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for the scores and the page: runs/evaluation, or RUN/evaluation."),
    ] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the scores with their cards here too.")] = None,
    device: Device = "auto",
    settings: Set = None,
) -> None:
    """Measure images against others, each figure with its 95 % interval and a card that says how it was made.

    Example: sfumato evaluate samples/ photos:test --metrics fid,kid,prdc --out runs/evaluation
    """
    from sfumato import commands

    given: dict[str, Any] = {
        "--features": features != "inception",
        "--n": n,
        "--train": train,
        "--masks": masks,
        "--size": size,
    }
    given |= {"--mixed": mixed, "--skip-broken": skip_broken, "--set": settings}
    if real is None:
        unused = [name for name, value in given.items() if value]
        if unused:
            raise typer.BadParameter(f"{unused[0]} needs REAL, as in `sfumato evaluate {made} {made}:test`")
        commands.evaluate_run(Path(made), metrics, n_real, out, json_out, device)
        return
    request: dict[str, Any] = {"made": made, "real": real, "features": features, "n": n, "n_real": n_real}
    request |= {"train": train, "masks": masks, "size": size, "mixed": mixed}
    request |= {"on_broken": "skip" if skip_broken else "refuse"} | ({"metrics": metrics} if metrics else {})
    commands.evaluate_sets(request, settings or [], out or Path("runs/evaluation"), json_out, device)


@app.command()
def explain(
    first: Annotated[Path, typer.Argument(help="evaluation.json, or the folder it lies in.")],
    second: Annotated[Path, typer.Argument(help="The other one.")],
    recompute: Annotated[
        bool, typer.Option(help="Compute what each difference is worth, if the images are there.")
    ] = True,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the explanation here too.")] = None,
    device: Device = "auto",
) -> None:
    """Say why two figures differ: which entries of their cards, and how many points each is worth.

    Example: sfumato explain runs/mine runs/theirs
    """
    from sfumato import commands

    commands.explain(first, second, recompute, json_out, device)


@app.command()
def stats(
    images: Annotated[str, typer.Argument(help="A folder, zip, npz, run, or a source's part (cifar10:train).")],
    out: Annotated[Path, typer.Option("--out", "-o", help="statistics.safetensors, or .npz for pytorch-fid.")],
    features: Annotated[str, typer.Option(help="inception (FID), lite0 (offline), dinov2, vgg ...")] = "inception",
    n: Annotated[int | None, typer.Option("-n", "--n", min=1, help="Use so many of the images.")] = None,
    size: Annotated[int | None, typer.Option(min=1, help="Bring all images to this size first.")] = None,
    mixed: Annotated[bool, typer.Option("--mixed", help="Accept images of several sizes as they are.")] = False,
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help="Leave out files that cannot be read.")] = False,
    device: Device = "auto",
    settings: Set = None,
) -> None:
    """Make reference statistics once, to measure against without the images.

    Example: sfumato stats photos/train --out photos-train.safetensors
    """
    from sfumato import commands

    request: dict[str, Any] = {
        "made": images,
        "real": images,
        "features": features,
        "n": n,
        "size": size,
        "mixed": mixed,
    }
    request |= {"on_broken": "skip" if skip_broken else "refuse"}
    commands.statistics(request, settings or [], out, device)


@app.command()
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
    with display.study_bars(question.budget.images, lambda: runner.training_progress(question, folder)):
        path = runner.run(resolved, folder, device=device, jobs=jobs, source=file.read_text())
    display.show(found := results.read_lines(path), question)
    display.say(f"report: {build_report(folder)}")
    if json_out is not None:
        write_atomic(json_out, to_json(tables_of(found, question)))


@app.command()
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


@app.command()
def kinds(
    root: Annotated[
        str | None, typer.Argument(help="source, task, family, restorer, metric ...; all roots if left out.")
    ] = None,
) -> None:
    """List what settings can name, with each setting's default and help."""
    from sfumato.catalogue import describe

    typer.echo(describe(root))


@app.command()
def check(folder: Annotated[Path, typer.Argument(help="A folder of images.")]) -> None:
    """Look at a folder before training on it: counts, sizes, broken files, duplicates."""
    from sfumato.data.folder import preflight

    typer.echo(str(preflight(folder)))


LONGEST = 200  # characters of a value that a message repeats


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; every error a user can cause is one line on stderr and exit code 2."""
    from sfumato.errors import Interrupted, SfumatoError

    arguments = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if threading.current_thread() is threading.main_thread():
        signal.signal(
            signal.SIGTERM, signal.default_int_handler
        )  # what Ctrl-C cleans up, a batch system's end does too
    try:
        code = app(arguments, standalone_mode=False)
    except Interrupted as error:
        _fail(error, 130, arguments)
    except typer.Abort:  # what older versions of typer make of KeyboardInterrupt
        code = 130
    except (SfumatoError, OSError, MemoryError) as error:
        _fail(error, 2, arguments)
    except BrokenExecutor as error:
        _fail(f"a process of the study was killed ({error}); with less memory, give --jobs 1", 2, arguments)
    except Exception as error:
        if hasattr(
            error, "format_message"
        ):  # a usage error; typer carries its own click, whose classes have no public name
            _fail(f"{error.format_message()} (see `sfumato --help`)", 2, arguments)
        if "memory" not in str(error) or not isinstance(error, RuntimeError):
            told = f"{type(error).__name__}: {error}"
            _fail(
                f"a fault of sfumato itself ({told}); please report it with what `sfumato --debug ...` says",
                1,
                arguments,
                error,
            )
        # torch has no class of its own for a CPU that cannot allocate
        _fail(f"out of memory ({str(error).splitlines()[0]}); lower budget.batch, batch or width", 2, arguments)
    if code == 130:  # and newer ones
        _fail("stopped at once; files that were finished are kept", 130, arguments)
    raise SystemExit(code if isinstance(code, int) else 0)


def _fail(error: Any, code: int, arguments: list[str], cause: BaseException | None = None) -> NoReturn:
    cause = error if isinstance(error, BaseException) else cause
    if "--debug" in arguments and cause is not None:
        raise cause
    text = " ".join(str(error).split()) or type(error).__name__
    text = re.sub(rf"\S{{{LONGEST},}}", lambda word: f"{word[0][: LONGEST - 3]}...", text)  # values of any origin
    text = "".join(
        character if character.isprintable() else "?" for character in text
    )  # names of files may hold anything
    sys.stderr.write(f"sfumato: {text}\n")
    raise SystemExit(code)
