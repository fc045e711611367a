"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Out = Annotated[Path, typer.Option("--out", "-o", help="Where to write; an interrupted command goes on from there.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a setting, as in --set budget.images=20000; may be repeated."),
]
Device = Annotated[str, typer.Option(help="auto (a GPU if there is one), cpu or cuda.")]
RunFolder = Annotated[Path, typer.Argument(help="The folder that `sfumato train` wrote.")]
