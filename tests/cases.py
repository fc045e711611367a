"""What the command-line tests share: calling it in this process, tiny trained runs, and files of every bad kind."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sfumato.cli import main

DATA = ["--set", "data.train=64", "--set", "data.validation=8", "--set", "data.test=8"]
TINY = [*DATA, "--set", "budget.batch=16", "--set", "family.width=4", "--device", "cpu"]


def call(*arguments: object) -> int:
    """The exit code of `sfumato ...`."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    code = ended.value.code
    return code if isinstance(code, int) else 0


def refused(capsys: pytest.CaptureFixture[str], *arguments: object, words: str | tuple[str, ...] = ()) -> str:
    """The one line on stderr of a command that must fail with code 2."""
    capsys.readouterr()
    code = call(*arguments)
    err = capsys.readouterr().err
    lines = [line for line in err.splitlines() if line.startswith("sfumato: ")]
    assert code == 2, (code, err)
    assert len(lines) == 1, err
    assert "Traceback" not in err
    assert err.rstrip().endswith(lines[0]), f"something follows the line: {err}"
    for word in (words,) if isinstance(words, str) else words:
        assert word in lines[0], (word, lines[0])
    return lines[0]


def picture(path: Path, width: int = 8, height: int = 8, mode: str = "RGB", **save: Any) -> Path:
    """A picture of random pixels."""
    array = np.random.default_rng(0).integers(0, 256, (height, width, 4), dtype=np.uint8)
    Image.fromarray(array, "RGBA").convert(mode).save(path, **save)
    return path


def mask(path: Path, width: int = 8, height: int = 8, share: float = 0.25, value: int = 255, **save: Any) -> Path:
    """A black mask whose first rows are white."""
    array = np.zeros((height, width), dtype=np.uint8)
    array[: round(share * height)] = value
    Image.fromarray(array).save(path, **save)
    return path


def png_header(width: int, height: int) -> bytes:
    """A PNG file that promises so many pixels and holds nearly none."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def encoded(file_format: str = "PNG", size: int = 64) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, format=file_format)
    return buffer.getvalue()


def pixels(path: Path) -> np.ndarray:
    """A picture file as an array, closed again."""
    with Image.open(path) as opened:
        return np.asarray(opened)
