"""Sphinx settings."""

project = "sfumato"
author = "The sfumato authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
html_theme = "furo"
html_title = "sfumato"
source_suffix = {".md": "markdown"}
autodoc_member_order = "bysource"
myst_heading_anchors = 3
exclude_patterns = ["_build"]
suppress_warnings = ["myst.xref_missing"]
