"""The pages' common ground: one template environment, one style sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

import sfumato
from sfumato.reports.tables import flat, number


def render(name: str, **values: Any) -> str:
    """A page from its template, with everything escaped that is not said to be safe, and an error for what is missing."""
    environment = Environment(
        loader=PackageLoader("sfumato.reports", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "flat": flat}
    style = (Path(__file__).parent / "style.css").read_text()
    return environment.get_template(name).render(style=style, version=sfumato.__version__, **values)
