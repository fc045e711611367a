"""Sphinx settings."""

from pathlib import Path
from typing import Any

import typer

import sfumato
from sfumato.cli import app as command_line

project = "sfumato"
author = "The sfumato authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
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


def write_reference() -> None:
    """The API reference: a page for each package, every public module on it."""
    root = Path(sfumato.__file__).parent
    packages: dict[str, list[str]] = {"sfumato": []}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(("sfumato", *parts)).removesuffix(".__init__")
        if any(part.startswith("_") and part != "__init__" for part in parts) or name == "sfumato":
            continue
        packages.setdefault(f"sfumato.{parts[0]}" if len(parts) > 1 else "sfumato", []).append(name)
    folder = Path(__file__).with_name("api")
    folder.mkdir(exist_ok=True)
    pages = {"index": ["# Reference", "", "```{toctree}", ":maxdepth: 1", "", *packages, "```"]}
    for package, modules in packages.items():
        pages[package] = [f"# {package}", ""]
        for module in modules:
            title = [f"## {module}", ""] if module != package else []
            directive = ["```{eval-rst}", f".. automodule:: {module}", "   :members:", "   :show-inheritance:"]
            pages[package] += [*title, *directive, "   :exclude-members: model_config", "```", ""]
    for name, lines in pages.items():
        place, text = folder / f"{name}.md", "\n".join(lines) + "\n"
        if not place.is_file() or place.read_text() != text:
            place.write_text(text)


def plain_bars(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """|x| in a docstring is a norm, not one of Sphinx's substitutions."""
    lines[:] = [line.replace("|", r"\|") for line in lines]


def whole_attributes(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """The first colon in the help of a setting is no type's; Napoleon would take it for one."""
    if what in ("attribute", "property") and lines:
        lines[0] = lines[0].replace(": ", r"\: ", 1)


def setup(app: Any) -> None:
    """Hook the above into Sphinx."""
    write_commands()
    write_reference()
    app.connect("autodoc-process-docstring", whole_attributes, priority=100)
    app.connect("autodoc-process-docstring", plain_bars, priority=900)
