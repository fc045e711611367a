"""Parts: runs that another run is made of, copied into its folder, so that nothing needs them where they were.

`start` is a run whose weights another goes on from (fine-tuning). Any other name is what a family `wants`: a trained family
that it is built around. `parts/<name>` keeps a part's settings, card and ledger for good, its weights until the run is
finished: from then on they are among the run's own.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from sfumato.errors import DataError

FOLDER, START, EARLIER, WEIGHTS = "parts", "start", "earlier", "model.safetensors"
FILES = ("config.json", "spec.json", "ledger.json", "card.md", WEIGHTS)


def where(folder: Path | None, name: str, given: Path) -> Path:
    """Where a part is read from: its copy in the run's folder or, before there is one, where it was said to be."""
    copy = None if folder is None else folder / FOLDER / name
    return copy if copy is not None and copy.is_dir() else given


def bring(folder: Path, parts: Mapping[str, Path], again: bool = False) -> None:
    """Copy the parts into the run's folder, each whole or not at all.

    Raises: DataError: no space or no permission.
    """
    for name, given in parts.items():
        final = folder / FOLDER / name
        if final.is_dir() and not again:
            continue
        shutil.rmtree(final, ignore_errors=True)
        temporary = final.with_name(f".{name}.{os.getpid()}.tmp")
        try:
            temporary.mkdir(parents=True, exist_ok=True)
            for file in FILES:
                if (given / file).is_file():
                    shutil.copyfile(given / file, temporary / file)
            if (given / FOLDER).is_dir() and given != folder:
                shutil.copytree(given / FOLDER, temporary / FOLDER)
            temporary.rename(final)
        except OSError as error:
            raise DataError(
                f"cannot copy {given} to {final}: {error}; free some space or choose another folder"
            ) from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def set_aside(folder: Path) -> None:
    """Keep a finished run's weights, card and ledger as the part `earlier` of its own folder, which is unfinished then."""
    bring(folder, {EARLIER: folder}, again=True)
    (folder / "ledger.json").unlink()


def settle(folder: Path) -> None:
    """Drop the weights of all parts and of theirs, which a finished run holds itself."""
    for weights in (folder / FOLDER).rglob(WEIGHTS):
        weights.unlink(missing_ok=True)


def shortly(names: Iterable[str], most: int = 4) -> str:
    """Names of weights, gathered by the modules they are of.

    Example:
        >>> shortly(["a.b.weight", "a.b.bias", "c.weight"])
        'a.b (2), c (1)'
    """
    counts = Counter(".".join(name.split(".")[:2]) if name.count(".") > 1 else name.split(".")[0] for name in names)
    shown = [f"{name} ({n})" for name, n in list(counts.items())[:most]]
    return ", ".join(shown) + (f" and {len(counts) - most} more" if len(counts) > most else "")
