"""Commands about the models that come with the package."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(help="The trained models that come with the package.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_models() -> None:
    """Name the models that come with the package, what each does, and how large it is.

    Example: sfumato models list
    """
    from sfumato import commands

    commands.list_models()


@app.command()
def card(name: Annotated[str, typer.Argument(help="A name of `sfumato models list`.")]) -> None:
    """Print a model's card: what it was trained on and under which licences, what it cost, what it is not for.

    Example: sfumato models card fill
    """
    from sfumato import display, zoo

    display.console.print((zoo.folder(name) / "card.md").read_text(), markup=False, soft_wrap=True)
