"""Pictures in and out: float [-1, 1] NCHW tensors, uint8 tensors, PIL images and files; the only place with 127.5 and 255.

Everything from outside is hostile until `read_picture` has seen it: broken, empty, huge, 16-bit, CMYK, palette, transparent.
"""

from __future__ import annotations

import io
import math
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from sfumato.errors import DataError, ShapeError
from sfumato.files import write_atomic

Size = tuple[int, int]  # rows, columns
Images = Float[Tensor, "B C H W"]  # float32 in [-1, 1]
Pixels = UInt8[Tensor, "B C H W"]  # 0 to 255
Known = Float[Tensor, "B 1 H W"]  # 1 = pixel given exactly, 0 = to be made

PEAK = 255.0
LEVEL = 2.0 / PEAK  # a grey level on the scale of images, -1 to 1
LARGEST = 64_000_000  # pixels; a picture above it is refused before it is decoded
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")  # what is opened at all: other decoders run programs, or guess
ORIENTATION, EXIF, GPS = 0x0112, 0x8769, 0x8825  # tags of EXIF: the turn, and two directories
DESCRIBING = {0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298}  # what, whose camera, software, when, who, whose
ENDINGS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jfif", ".jpe"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
}


def to_float(pixels: Pixels) -> Images:
    """x = pixels / 127.5 - 1: uint8 [B, C, H, W] to float32 in [-1, 1]."""
    return pixels.to(torch.float32) / 127.5 - 1.0


def to_uint8(x: Images) -> Pixels:
    """round((x + 1) 127.5), clamped to 0..255; the inverse of `to_float`.

    Example:
        >>> to_uint8(torch.tensor([[[[-1.0, 0.0, 1.0, 7.0]]]])).flatten().tolist()
        [0, 128, 255, 255]
    """
    return ((x + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)


def to_unit(pixels: UInt8[Tensor, " ..."]) -> Float[Tensor, " ..."]:
    """pixels / 255: uint8 to float32 in [0, 1]."""
    return pixels.to(torch.float32) / PEAK


def to_pil(pixels: UInt8[Tensor, "C H W"]) -> Image.Image:
    """One picture as a PIL image: 1 channel is grey, 3 are RGB, 2 are shown as red and green.

    Raises: ShapeError: another number of channels.
    """
    array = pixels.cpu().permute(1, 2, 0).contiguous().numpy()
    if array.shape[2] == 2:
        array = np.concatenate([array, np.zeros_like(array[:, :, :1])], axis=2)
    if array.shape[2] == 1:
        return Image.fromarray(array[:, :, 0], mode="L")
    if array.shape[2] != 3:
        raise ShapeError(f"a picture of {array.shape[2]} channels cannot be shown; 1 (grey), 2 or 3 (RGB) can")
    return Image.fromarray(array)


def from_pil(picture: Image.Image, channels: Literal[1, 3] | int = 3) -> UInt8[Tensor, "C H W"]:
    """A PIL image of any mode as uint8 [channels, H, W]; transparency is laid over white, 16 bits become 8, EXIF turns apply.

    Raises: DataError: pixels of a range that nobody can know: floating-point, or integers beyond 16 bits.
    """
    picture = upright(picture)
    if picture.mode == "F" or picture.mode.startswith("I"):
        picture = Image.fromarray((sixteen_bits(picture) / 257.0).round().astype(np.uint8), mode="L")
    if picture.mode in ("La", "RGBa"):
        picture = picture.convert(picture.mode.upper())
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    picture = picture.convert("L" if channels == 1 else "RGB")
    array = np.array(picture)
    return torch.from_numpy(array[None] if array.ndim == 2 else array.transpose(2, 0, 1).copy())


def upright(picture: Image.Image) -> Image.Image:
    """The picture turned as its EXIF says; malformed EXIF turns nothing and is dropped."""
    try:
        return ImageOps.exif_transpose(picture) if picture.getexif().get(ORIENTATION, 1) != 1 else picture
    except Exception:  # whatever a broken block makes of Pillow's TIFF reader
        picture = picture.copy()
        picture.info.pop("exif", None)
        return picture


def sixteen_bits(picture: Image.Image) -> np.ndarray:
    """The grey levels of a picture of 16 bits, 0 to 65535; Pillow's own conversion would clip instead of scale.

    Raises: DataError: floating-point pixels, or integers out of this range.
    """
    if picture.mode == "F":
        raise DataError("the picture has floating-point pixels of unknown range; save it as 8- or 16-bit PNG")
    array = np.asarray(picture).astype(np.int64)
    if array.size and (array.min() < 0 or array.max() > 65535):
        raise DataError(
            f"the picture has 32-bit pixels from {array.min():,} to {array.max():,}; save it as 8- or 16-bit PNG"
        )
    return array.astype(np.uint16)


@dataclass(frozen=True)
class Opened:
    """A picture file, decoded, and what is peculiar about it."""

    image: Image.Image
    format: str
    """One of FORMATS."""
    lossy: bool
    """Whether compression has changed its pixels."""
    peculiar: tuple[str, ...]
    """What may surprise, as in "has 12 frames, of which the first is taken"."""
    exif: bytes | None = None
    """Its EXIF block without the turn; None where there is none or it is malformed."""


def open_picture(path: Path | str) -> Image.Image:
    """Open and fully decode a picture file.

    Raises: DataError: missing, not a picture, truncated, without pixels, or of more than 64 million pixels.
    """
    return opened_file(path).image


def opened_file(path: Path | str) -> Opened:
    """Open and fully decode a picture file, and say what may surprise.

    Raises: DataError: see `open_picture`.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"no picture at {path}; give the path of a PNG, JPEG, WebP, BMP, GIF or TIFF file")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path} ({error.strerror}); change its permissions") from None
    return opened(content, str(path))


def opened(content: bytes, path: str) -> Opened:
    """Fully decode the content of a picture file, and say what may surprise.

    Raises: DataError: see `open_picture`.
    """
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            if picture.width * picture.height > LARGEST:
                raise DataError(
                    f"{path} has {picture.width} x {picture.height} pixels; at most {LARGEST:,} are read; make it smaller"
                )
            file_format, frames = str(picture.format).replace("MPO", "JPEG"), getattr(picture, "n_frames", 1)
            picture.load()
            told = _peculiar(picture, content, path, file_format, frames)
            lossy = file_format == "JPEG" or (file_format == "WEBP" and b"VP8 " in content[:4096])
            return Opened(picture, file_format, lossy, told, _exif(picture))  # loaded, so it outlives the file
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: {error}; make it smaller first") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on a broken file
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "no known picture format" if unknown else f"{type(error).__name__}: {error}"
        reason = reason if content else "an empty file"
        raise DataError(f"{path} is not a readable picture ({reason}); replace or remove it") from None


def _peculiar(picture: Image.Image, content: bytes, path: str, file_format: str, frames: int) -> tuple[str, ...]:
    """What a reader of the file should know."""
    told = []
    ending = Path(path).suffix.lower()
    if ending in (known for endings in ENDINGS.values() for known in endings) and ending not in ENDINGS[file_format]:
        told.append(f"is {file_format} inside, though its name ends in {ending}")
    if frames > 1:
        told.append(f"has {frames} frames, of which the first is taken")
    if file_format == "PNG" and content[24:25] == b"\x10" and content[25:26] in (b"\x02", b"\x06"):
        told.append("has 16 bits a colour, of which 8 are read")
    if picture.mode not in ("1", "P", "PA") and not picture.mode.startswith(("I", "F")):
        highest = max(high for _, high in _extrema(picture))
        if highest == 1:
            told.append("holds only 0 and 1 of 255, so it looks black; multiply by 255 if it is a mask")
    if picture.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX") and not picture.mode.startswith(
        ("I", "F")
    ):
        told.append(f"is {picture.mode}, read as RGB")
    return tuple(told)


def _exif(picture: Image.Image) -> bytes | None:
    """A TIFF's own tags say how its pixels lie, so of these only what describes the picture is handed on.

    The tags of the camera and of the place lie in directories of their own; one that is broken is left out alone.
    """
    kept = Image.Exif()
    try:
        found = picture.getexif()
        for tag, value in found.items():
            if tag not in (ORIENTATION, EXIF, GPS) and (picture.format != "TIFF" or tag in DESCRIBING):
                kept[tag] = value
        for directory in (EXIF, GPS):
            with suppress(Exception):
                if inner := found.get_ifd(directory):
                    kept.get_ifd(directory).update(inner)
        return kept.tobytes() if len(kept) or kept.get_ifd(EXIF) or kept.get_ifd(GPS) else None
    except Exception:  # whatever a broken block makes of Pillow's TIFF reader
        return None


def _extrema(picture: Image.Image) -> list[tuple[int, int]]:
    found = picture.getextrema()
    return list(found) if isinstance(found[0], tuple) else [found]  # type: ignore[list-item]


def read_picture(path: Path | str, channels: int = 3) -> UInt8[Tensor, "C H W"]:
    """A picture file as uint8 [channels, H, W].

    Raises: DataError: see `open_picture` and `from_pil`.
    """
    return from_pil(open_picture(path), channels)


def check_target(path: Path) -> str:
    """The format that the ending of a picture to be written names.

    Raises: DataError: it names none.
    """
    Image.init()
    file_format = Image.EXTENSION.get(path.suffix.lower(), "")
    if file_format not in Image.SAVE:  # Pillow reads more formats than it writes
        raise DataError(f"{path.name} has no picture format that can be written; end it in .png")
    return file_format


def write_picture(pixels: UInt8[Tensor, "C H W"], path: Path | str) -> None:
    """Write one picture atomically; the file's ending names the format.

    Raises: DataError: an unknown ending, or the file cannot be written.
    """
    path = Path(path)
    file_format = check_target(path)
    try:
        content = encode(pixels, file_format)
    except (KeyError, OSError, ValueError) as error:
        raise DataError(f"{path.name} cannot hold this picture ({error}); end it in .png") from None
    write_atomic(path, content)


def encode(pixels: UInt8[Tensor, "C H W"], file_format: str = "PNG") -> bytes:
    """One picture as the bytes of a file."""
    buffer = io.BytesIO()
    to_pil(pixels).save(buffer, format=file_format)
    return buffer.getvalue()


def grid(pixels: Pixels, columns: int | None = None, gap: int = 1, scale: int = 1) -> UInt8[Tensor, "C H W"]:
    """Lay pictures out row by row on white, each enlarged by an integer factor without smoothing.

    Raises: ShapeError: there is no picture.
    """
    if len(pixels) == 0:
        raise ShapeError("a grid needs at least one picture")
    columns = columns or math.ceil(math.sqrt(len(pixels)))
    pixels = pixels.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    n, channels, height, width = pixels.shape
    rows = math.ceil(n / columns)
    sheet = torch.full((channels, rows * (height + gap) - gap, columns * (width + gap) - gap), 255, dtype=torch.uint8)
    for i, picture in enumerate(pixels):
        top, left = (i // columns) * (height + gap), (i % columns) * (width + gap)
        sheet[:, top : top + height, left : left + width] = picture.cpu()
    return sheet
