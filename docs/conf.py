"""Sphinx settings."""

from pathlib import Path
from typing import Any

import typer

from sfumato.cli import app as command_line

project = "sfumato"
author = "The sfumato authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
html_theme = "furo"
html_title = "sfumato"
source_suffix = {".md": "markdown"}
autodoc_member_order = "bysource"
myst_heading_anchors = 3
exclude_patterns = ["_build"]
# Every kind has a class Config, so a bare name in a signature cannot tell which one is meant.
suppress_warnings = ["myst.xref_missing", "ref.python"]


def write_commands() -> None:
    """The reference of the command line, made of the commands themselves."""
    lines = ["# Commands", "", "Made from the commands; `sfumato COMMAND --help` says the same."]
    group = typer.main.get_command(command_line)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        lines += ["", f"## sfumato {name}", "", *(line.strip() for line in (command.help or "").splitlines()), ""]
        lines += ["| | |", "|---|---|"]
        for parameter in command.params:
            if parameter.name == "help":
                continue
            option = parameter.param_type_name == "option"
            called = ", ".join(f"`{one}`" for one in parameter.opts) if option else f"`{parameter.name.upper()}`"
            told = " ".join((getattr(parameter, "help", "") or "").split()).replace("|", "\\|")
            default = parameter.default
            shown = f" Default: `{default}`." if default not in (None, False, ...) and not callable(default) else ""
            lines.append(f"| {called} | {told}{shown} |")
    text = "\n".join(lines) + "\n"
    place = Path(__file__).with_name("commands.md")
    if not place.is_file() or place.read_text() != text:
        place.write_text(text)


def plain_bars(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """|x| in a docstring is a norm, not one of Sphinx's substitutions."""
    lines[:] = [line.replace("|", r"\|") for line in lines]


def setup(app: Any) -> None:
    """Hook the above into Sphinx."""
    write_commands()
    app.connect("autodoc-process-docstring", plain_bars, priority=900)
