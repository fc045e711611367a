"""The catalogue: every kind that a settings file can name, with its settings, read from the code itself."""

from __future__ import annotations

import importlib
import pkgutil

from sfumato.errors import ConfigError
from sfumato.kinds import Kind, all_roots, discover

PACKAGES = ("data", "tasks", "families", "samplers", "restorers", "training", "features", "metrics", "segmenters")


def roots() -> dict[str, type[Kind]]:
    """All roots by their lower-case names, after importing the packages that declare them."""
    for name in PACKAGES:
        package = importlib.import_module(f"sfumato.{name}")
        for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            importlib.import_module(module.name)
    found = {root.__name__.lower(): root for root in all_roots() if root.__module__.startswith("sfumato.")}
    return dict(sorted(found.items()))


def describe(root: str | None = None) -> str:
    """A text for people: roots with their kinds, or one root's kinds with every setting.

    Raises: ConfigError: no such root; the message lists those known.
    """
    known = roots()
    if root is None:
        return "\n".join(f"{name:12} {', '.join(discover(cls))}" for name, cls in known.items())
    if root.lower() not in known:
        raise ConfigError(f"no root {root!r}; known: {', '.join(known)}")
    return "\n\n".join(_describe_kind(name, cls) for name, cls in discover(known[root.lower()]).items())


def _describe_kind(name: str, cls: type[Kind]) -> str:
    first = (cls.__doc__ or "").strip().split("\n")[0]
    lines = [f"{name}: {first}"]
    for field, info in cls.Config.model_fields.items():
        if field == "kind":
            continue
        default = info.get_default(call_default_factory=True) if not info.is_required() else "(required)"
        shown = getattr(default, "kind", default)
        lines.append(f"    {field} = {shown}  # {' '.join((info.description or '').split())}")
    return "\n".join(lines)
