"""Cache: where what took long to compute is kept between processes."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from sfumato.files import at_home


def cache_folder() -> Path:
    """$SFUMATO_CACHE, else $XDG_CACHE_HOME/sfumato, else ~/.cache/sfumato; the folder need not exist yet."""
    own, shared = os.environ.get("SFUMATO_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return at_home(own or Path(shared or "~/.cache") / "sfumato")


def prune(folder: Path, most: int) -> None:
    """Delete the files of a folder that were used longest ago until at most so many bytes are left."""
    found = []
    for path in folder.rglob("*.safetensors"):
        with contextlib.suppress(OSError):  # another process may prune at the same time
            state = path.stat()
            found.append((state.st_mtime, state.st_size, path))
    size = sum(item[1] for item in found)
    for _, bytes_here, path in sorted(found):
        if size <= most:
            break
        with contextlib.suppress(OSError):
            path.unlink()
        size -= bytes_here
