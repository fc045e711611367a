"""The zoo: small trained models that come with the package, each a folder of a finished run beside this file.

Their weights are kept in half precision. `card.md` names what they were trained on, with authors and licences.
"""

from __future__ import annotations

from pathlib import Path

from sfumato.errors import ConfigError

HERE = Path(__file__).parent


def names() -> list[str]:
    """The models that come with the package."""
    return sorted(path.parent.name for path in HERE.glob("*/ledger.json"))


def folder(name: str) -> Path:
    """Where a model lies; any command takes its name, too.

    Raises: ConfigError: no model of this name comes with the package.
    """
    if name not in names():
        raise ConfigError(f"no model {name!r} comes with sfumato; there are: {', '.join(names()) or 'none'}")
    return HERE / name
