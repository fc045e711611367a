"""The command line: `sfumato train | sample | restore | remove | texture | evaluate | explain | stats | study | report ...`.

A command only reads its options, calls one function and prints; user errors are one line and exit code 2.
"""

from __future__ import annotations

import re
import signal
import sys
import threading
from concurrent.futures import BrokenExecutor
from typing import Annotated, Any, NoReturn

import typer

import sfumato
from sfumato.cli import diffusers, latent, measures, models, packaged, studies, textures

app = typer.Typer(
    help="Which generative model should I use on my images, and can I trust the answer?",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sfumato {sfumato.__version__}")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that come before the command."""


for command in (
    models.train,
    models.sample,
    models.restore,
    models.remove,
    models.web,
    textures.texture,
    measures.evaluate,
    measures.explain,
    measures.stats,
    measures.anomaly,
    measures.exact,
    studies.study,
    studies.report,
    studies.kinds,
    studies.check,
):
    app.command()(command)
app.add_typer(latent.app, name="latent")
app.add_typer(packaged.app, name="models")
app.add_typer(diffusers.app, name="diffusers")


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
