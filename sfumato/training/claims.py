"""Claims: a folder belongs to one set of settings and to one process at a time; older settings are read as they were meant."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sfumato import config as settings
from sfumato.config import Strict
from sfumato.errors import ConfigError, DataError, SfumatoError
from sfumato.files import write_atomic


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep a folder for this process alone; where nothing was written, nothing is left.

    Raises: ConfigError: another process is at work in it. DataError: it cannot be written to.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise ConfigError(
            f"another process is at work in {folder}; let it end, or choose another --out for this one"
        ) from None
    except FileExistsError:
        raise DataError(f"{folder} is a file, where a folder is to be made; choose another --out") from None
    try:
        yield
    finally:
        (folder / ".lock").unlink(missing_ok=True)
        lock.release()
        for path in made:  # the innermost first; one that holds something stays
            with contextlib.suppress(OSError):
                path.rmdir()


def claim(folder: Path, config: Strict, name: str = "config.json", *, free: Set[str] = frozenset()) -> None:
    """Take a folder for these settings, or find that it was taken for the same ones.

    Settings in `free` may change: the new ones are written down in place of the old.

    Raises: ConfigError: it was taken for others; the message names the first settings that differ.
    """
    path, text = folder / name, config.to_json()
    if path.is_file():
        there = settings.load(type(config), migrated(settings.read(path)), str(path))
        a, b = json.loads(there.to_json()), json.loads(text)
        if keys := [key for key in differing(a, b) if key.partition(".")[0] not in free]:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            raise ConfigError(
                f"{folder} holds another run (its {name} differs in {', '.join(keys[:3])}{more}); "
                "choose another --out or remove the folder"
            )
        if a != b:
            write_atomic(path, text)
        return
    if folder.is_dir() and any(not entry.name.startswith(".") for entry in folder.iterdir()):
        raise ConfigError(f"{folder} is not empty and holds no {name}; choose another --out")
    write_atomic(path, text)


def holds(path: Path, config: Strict) -> bool:
    """Whether a file of settings, of this version or an older one, says the same as these."""
    try:
        return settings.load(type(config), migrated(settings.read(path)), str(path)) == config
    except SfumatoError:
        return False


def differing(a: Any, b: Any, path: str = "") -> list[str]:
    """The paths at which two settings differ.

    Example:
        >>> differing({"budget": {"images": 1}, "seed": 0}, {"budget": {"images": 2}, "seed": 0})
        ['budget.images']
    """
    if isinstance(a, dict) and isinstance(b, dict):
        keys = list(dict.fromkeys([*a, *b]))
        return [found for key in keys for found in differing(a.get(key), b.get(key), f"{path}.{key}" if path else key)]
    return [] if a == b else [path]


def migrated(values: dict[str, Any]) -> dict[str, Any]:
    """The settings of an older run or study in today's form, with what were defaults then written down."""
    methods, budget = values.get("methods"), values.get("budget")
    if isinstance(methods, list) and isinstance(budget, dict) and "ema" in budget:  # a study of version 0.1
        told = [migrated({**method, "budget": budget}) if isinstance(method, dict) else method for method in methods]
        methods = [
            {k: v for k, v in m.items() if k not in ("budget", "format")} if isinstance(m, dict) else m for m in told
        ]
        return {**values, "methods": methods, "budget": migrated({"family": {}, "budget": budget})["budget"]}
    parts = values.get("family"), values.get("budget", {})
    tables = [
        *parts,
        *(part.get(name, {}) for part in parts[:1] if isinstance(part, dict) for name in ("schedule", "sampler")),
    ]
    if not all(isinstance(part, dict) for part in tables):
        return values  # whoever reads them says what is wrong
    family, budget, form = dict(values["family"]), dict(values.get("budget", {})), values.get("format")
    if form is None:  # version 0.1
        if "schedule" in family:
            family["schedule"] = {**family["schedule"], "rounded": True}
        if "sampler" in family:
            family["sampler"] = {**family["sampler"], "spacing": "even"}
        share = budget.pop("ema", 0.05)
        budget["average"] = {"kind": "half_life", "share": share} if share else "none"
    elif form not in (2, 3):
        return values
    budget.setdefault("precision", "float32")
    budget.setdefault("mix_tasks", False)
    network = family.get("network")
    if form != 3 and isinstance(network, dict) and network.get("kind") in ("unet", "residual"):
        family["network"] = {**network, "grain": 1}
    return {**values, "family": family, "budget": budget, "format": 4}
