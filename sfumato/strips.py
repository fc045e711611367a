"""Strips: a PNG file that is written as its rows are made, so that a picture of any size needs no memory of its own."""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from sfumato.errors import DataError

SUB = 1  # PNG's filter that writes what a pixel differs from the one before it


def write_strips(strips: Iterable[UInt8[Tensor, "C h W"]], size: tuple[int, int], path: Path) -> None:
    """Write rows, from top to bottom, as one grey or RGB PNG file; whole, or not at all.

    `size` is rows and columns. Raises: DataError: the file cannot be written.
    Reference: Portable Network Graphics (PNG) Specification, W3C.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    packer = zlib.compressobj(6)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(b"\x89PNG\r\n\x1a\n")
            for i, strip in enumerate(strips):
                if i == 0:
                    colour = {1: 0, 3: 2}[len(strip)]
                    file.write(_chunk(b"IHDR", struct.pack(">IIBBBBB", size[1], size[0], 8, colour, 0, 0, 0)))
                file.write(_chunk(b"IDAT", packer.compress(_rows(strip))))
            file.write(_chunk(b"IDAT", packer.flush()) + _chunk(b"IEND", b""))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"cannot write {path}: {reason}; free some space or choose another folder") from None
    finally:  # after Ctrl-C too
        with contextlib.suppress(OSError):
            temporary.unlink()


def _rows(strip: UInt8[Tensor, "C h W"]) -> bytes:
    """Each row behind the name of its filter."""
    pixels = strip.cpu().permute(1, 2, 0).contiguous().numpy()
    moved = pixels.copy()
    moved[:, 1:] -= pixels[:, :-1]
    flat = moved.reshape(len(moved), -1)
    return np.concatenate([np.full((len(flat), 1), SUB, np.uint8), flat], 1).tobytes()


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
