"""Mutators: small seeded damages of bytes, of settings, of arrays and of folders."""

from __future__ import annotations

import copy
import io
import json
import os
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

# --- bytes ----------------------------------------------------------------------------------------------------------


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def flip(data: bytes, rng: random.Random) -> bytes:
    made = bytearray(data)
    for _ in range(rng.choice([1, 1, 4, 32])):
        if made:
            made[rng.randrange(len(made))] ^= 1 << rng.randrange(8)
    return bytes(made)


def blank(data: bytes, rng: random.Random) -> bytes:
    start, length = rng.randrange(len(data) + 1), rng.choice([1, 8, 200])
    return data[:start] + bytes(length) + data[start + length :]


def insert(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + rng.randbytes(rng.choice([1, 4, 64])) + data[start:]


def double(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + data[start : start + 64] + data[start:]


def head(data: bytes, rng: random.Random) -> bytes:
    return (
        rng.choice([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"PK\x03\x04", b"%!PS", b"\x93NUMPY"])
        + data[8:]
    )


def empty(data: bytes, rng: random.Random) -> bytes:
    return b""


def noise(data: bytes, rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice([1, 16, 4096]))


BYTES: list[Callable[[bytes, random.Random], bytes]] = [cut, flip, blank, insert, double, head, empty, noise]

# --- pictures -------------------------------------------------------------------------------------------------------


def chunk(data: bytes, rng: random.Random) -> bytes:
    """A PNG with one of its chunks damaged and its sum made right, so that the damage gets past the sums."""
    parts, start = [], 8
    while start + 12 <= len(data):
        length = int.from_bytes(data[start : start + 4], "big")
        parts.append((data[start + 4 : start + 8], data[start + 8 : start + 8 + length]))
        start += 12 + length
    place = rng.randrange(len(parts))
    name, body = parts[place]
    if name == b"IDAT" and rng.random() < 0.7:
        body = zlib.compress(rng.choice([cut, flip, blank, double])(zlib.decompress(body), rng))
    else:
        body = rng.choice([cut, flip, blank, insert, empty])(body, rng)
    parts[place] = rng.choice([name, name, name, b"tRNS", b"eXIf", b"iCCP"]), body
    sums = [(part, zlib.crc32(part[0] + part[1])) for part in parts]
    return data[:8] + b"".join(len(b).to_bytes(4, "big") + n + b + c.to_bytes(4, "big") for (n, b), c in sums)


MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "F", "YCbCr"]


def redrawn(data: bytes, rng: random.Random) -> bytes:
    """A whole picture of another size, mode, colour or format, or with EXIF that makes no sense."""
    picture, more = Image.open(io.BytesIO(data)), {}
    change = rng.choice(["size", "large", "mode", "colour", "exif"])
    form = rng.choice([picture.format, "PNG", "TIFF", "GIF", "WEBP"])
    if change == "size":
        picture = picture.resize(
            rng.choice([(1, 40), (picture.height, picture.width), (2 * picture.width, picture.height)])
        )
    elif change == "large":
        picture, form = Image.new("1", (9_000, 9_000)), "PNG"
    elif change == "mode":
        picture = picture.convert("RGB").convert(rng.choice(MODES))
    elif change == "colour":
        picture = Image.new(picture.mode, picture.size, rng.choice(["black", "white", "grey"]))
    else:
        start = rng.choice([b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b""])
        more["exif"] = b"Exif\0\0" + start + rng.choice([b"\3\0", b"\0\3"]) + rng.randbytes(60)
    buffer = io.BytesIO()
    try:
        picture.save(buffer, format=form, **more)
    except (OSError, ValueError, SyntaxError, struct.error):  # a mode that the format has not
        buffer = io.BytesIO()
        picture.convert("RGB").save(buffer, format="PNG")
    return buffer.getvalue()


# --- settings -------------------------------------------------------------------------------------------------------

ODD: list[Any] = [
    None, True, -1, 0, 10**9, 10**30, 1.5, float("inf"), "", "x" * 5000, "\x1b[2J", "[/red]", "$\\frac{$", "../..", "~nobody/x",
    [], {}, [[]], {"kind": "x"}, [1, 2], {"a": {"b": []}}, "é\udcff".encode("utf-8", "replace").decode(), 3, "ddpm",
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every path in a table."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, part in inner for found in [(*path, key), *places(part, (*path, key))]]


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def walked(value: Any, rng: random.Random) -> tuple[Any, ...]:
    """A path in a table, one choice a level: a list of a thousand numbers is one entry of its table."""
    path: tuple[Any, ...] = ()
    while inner := list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        if path and rng.random() < 0.3:
            break
        path = (*path, rng.choice(inner))
        value = value[path[-1]]
    return path


def _changed(value: Any, rng: random.Random, change: Callable[[Any, Any], None]) -> Any:
    value = copy.deepcopy(value)
    if found := places(value):
        path = rng.choice(found) if rng.random() < 0.5 else walked(value, rng)
        change(at(value, path[:-1]), path[-1])
    return value


def replaced(value: Any, rng: random.Random) -> Any:
    def change(parent: Any, key: Any) -> None:
        parent[key] = rng.choice(ODD)

    return _changed(value, rng, change)


def removed(value: Any, rng: random.Random) -> Any:
    def change(parent: Any, key: Any) -> None:
        del parent[key]

    return _changed(value, rng, change)


def renamed(value: Any, rng: random.Random) -> Any:
    def change(parent: Any, key: Any) -> None:
        if isinstance(parent, dict):
            parent[rng.choice([f"{key}x", "", key.upper(), "kind"])] = parent.pop(key)

    return _changed(value, rng, change)


def nested(value: Any, rng: random.Random) -> Any:
    def change(parent: Any, key: Any) -> None:
        for _ in range(rng.choice([1, 50])):
            parent[key] = [parent[key]]

    return _changed(value, rng, change)


def negated(value: Any, rng: random.Random) -> Any:
    def change(parent: Any, key: Any) -> None:
        if isinstance(parent[key], int | float):
            parent[key] = rng.choice([-parent[key], parent[key] * 10**6, parent[key] + 0.5])

    return _changed(value, rng, change)


def repeated(value: Any, rng: random.Random) -> Any:
    def change(parent: Any, key: Any) -> None:
        if isinstance(parent[key], list):
            parent[key] = parent[key] * 2

    return _changed(value, rng, change)


KEYS = ["baseline", "contrasts", "parts", "plugins", "labels", "sampler", "schedule", "train", "classes", "format", "x"]


def added(value: Any, rng: random.Random) -> Any:
    """A key more, in a table somewhere."""
    tables = [(), *(path for path in places(value) if isinstance(at(value, path), dict))]
    value = copy.deepcopy(value)
    table = at(value, rng.choice(tables))
    if isinstance(table, dict):
        table[rng.choice(KEYS)] = rng.choice([*ODD, [["Mean", "x"]], {"x": "run"}])
    return value


def respelled(value: Any, rng: random.Random) -> Any:
    """A text with some of its characters changed."""

    def change(parent: Any, key: Any) -> None:
        if isinstance(parent[key], str):
            made = rng.choice([cut, insert, double])(parent[key].encode("utf-8", "replace"), rng)
            parent[key] = made.decode("utf-8", "replace")

    return _changed(value, rng, change)


TABLE: list[Callable[[Any, random.Random], Any]] = [
    replaced, replaced, removed, renamed, nested, negated, repeated, added, respelled,
]  # fmt: skip


def table(data: bytes, rng: random.Random) -> bytes:
    """A JSON file with some of its entries changed."""
    value = json.loads(data)
    for _ in range(rng.choice([1, 1, 1, 3])):
        value = rng.choice(TABLE)(value, rng)
    return json.dumps(value).encode()


SETTINGS = [
    "tasks.0",
    "tasks.7",
    "tasks.x",
    "tasks.0.kind",
    "family.kind",
    "data.path.x",
    "budget..images",
    "parts.x",
    "",
]


def overridden(data: bytes, rng: random.Random) -> bytes:
    """A command with a setting more."""
    words = [*json.loads(data), "--set", f"{rng.choice(SETTINGS)}={rng.choice([*ODD, '[' * 5_000, '{a=[1]}'])}"]
    return json.dumps(words).encode()


def deep(data: bytes, rng: random.Random) -> bytes:
    """A file of brackets in brackets."""
    n = rng.choice([300, 5_000, 200_000])
    return b'{"data":' + b"[" * n + b"]" * n + b"}"


def unwrapped(data: bytes, rng: random.Random) -> bytes:
    """A JSON file without the table around it."""
    value = json.loads(data)
    return json.dumps(rng.choice([[value], list(value), str(value), *(part for part in ODD)])).encode()


# --- folders --------------------------------------------------------------------------------------------------------

NAMES = [
    "\x1b[31m.png",
    "[bold]x.png",
    "=1+1.png",
    "a" * 200 + ".png",
    "ü\u202e.png",
    "$x$.png",
    ".hidden.png",
    "x.tiff.png",
    "two\nlines.png",
]


def renamed_file(folder: Path, rng: random.Random) -> None:
    rng.choice(sorted(folder.iterdir())).rename(folder / rng.choice(NAMES))


def link(folder: Path, rng: random.Random) -> None:
    (folder / "zz.png").symlink_to(rng.choice(["zz.png", "nowhere.png", ".."]))


def stranger(folder: Path, rng: random.Random) -> None:
    (folder / rng.choice(["Thumbs.db", "notes.txt", "movie.mp4", *NAMES])).write_bytes(rng.randbytes(300))


def inner_folder(folder: Path, rng: random.Random) -> None:
    inner = folder / rng.choice(NAMES)
    inner.mkdir()
    rng.choice(sorted(path for path in folder.iterdir() if path.is_file())).rename(inner / "00.png")


def emptied(folder: Path, rng: random.Random) -> None:
    for path in sorted(folder.iterdir())[rng.randrange(3) :]:
        path.unlink()


def damaged_file(folder: Path, rng: random.Random) -> None:
    path = rng.choice(sorted(folder.iterdir()))
    path.write_bytes(rng.choice(BYTES)(path.read_bytes(), rng))


def pipe(folder: Path, rng: random.Random) -> None:
    os.mkfifo(folder / "zz.png")


def redrawn_file(folder: Path, rng: random.Random) -> None:
    path = rng.choice(sorted(folder.iterdir()))
    path.write_bytes(rng.choice([chunk, redrawn])(path.read_bytes(), rng))


FOLDER = [pipe, redrawn_file, renamed_file, link, stranger, inner_folder, emptied, damaged_file]
