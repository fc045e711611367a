"""Sphinx settings."""

from typing import Any

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


def plain_bars(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """|x| in a docstring is a norm, not one of Sphinx's substitutions."""
    lines[:] = [line.replace("|", r"\|") for line in lines]


def setup(app: Any) -> None:
    """Hook the above into autodoc."""
    app.connect("autodoc-process-docstring", plain_bars, priority=900)
