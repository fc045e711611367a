"""Files: written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from sfumato.errors import DataError


def at_home(path: Path | str) -> Path:
    """The path with ~ replaced by a home.

    Raises: DataError: there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DataError(f"{path}: {error} write the whole path") from None


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a whole file or nothing: a temporary file beside it, flushed to disk, then renamed.

    A link is followed. Raises: DataError: no space, no permission, no such folder, or something there that is no file; an
    older file at `path` stays as it was.
    """
    shown, path = path, path.resolve()
    if path.exists() and not path.is_file():
        raise DataError(f"cannot write {shown}: it is no regular file; choose another name")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise DataError(
            f"cannot write {shown}: {error.strerror or error}; free some space or choose another folder"
        ) from None
    finally:  # after Ctrl-C too
        with contextlib.suppress(OSError):
            temporary.unlink()
