"""Pictures in and out: float [-1, 1] NCHW tensors, uint8 tensors, PIL images and files; the only place with 127.5 and 255.

Everything from outside is hostile until `read_picture` has seen it: broken, empty, huge, 16-bit, CMYK, palette, transparent.
"""

from __future__ import annotations

import io
import math
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
LARGEST = 64_000_000  # pixels; a picture above it is refused before it is decoded


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

    Raises: DataError: floating-point pixels, whose range nobody can know.
    """
    picture = ImageOps.exif_transpose(picture)
    if picture.mode == "F":
        raise DataError("the picture has floating-point pixels of unknown range; save it as 8- or 16-bit PNG")
    if picture.mode.startswith("I"):  # 16 bits a channel; Pillow's own conversion would clip instead of scale
        array = np.asarray(picture).astype(np.int64)
        picture = Image.fromarray((array.clip(0, 65535) / 257.0).round().astype(np.uint8), mode="L")
    if picture.mode in ("La", "RGBa"):
        picture = picture.convert(picture.mode.upper())
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    picture = picture.convert("L" if channels == 1 else "RGB")
    array = np.array(picture)
    return torch.from_numpy(array[None] if array.ndim == 2 else array.transpose(2, 0, 1).copy())


def open_picture(path: Path | str) -> Image.Image:
    """Open and fully decode a picture file.

    Raises: DataError: missing, not a picture, truncated, without pixels, or of more than 64 million pixels.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"no picture at {path}; give the path of a PNG, JPEG, WebP, BMP, GIF or TIFF file")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path} ({error.strerror}); change its permissions") from None
    return open_content(content, str(path))


def open_content(content: bytes, path: str) -> Image.Image:
    """Fully decode the content of a picture file; `path` is what messages call it.

    Raises: DataError: see `open_picture`.
    """
    try:
        with Image.open(io.BytesIO(content)) as picture:
            if picture.width * picture.height > LARGEST:
                raise DataError(
                    f"{path} has {picture.width} x {picture.height} pixels; at most {LARGEST:,} are read; make it smaller"
                )
            picture.load()
            return picture.copy()
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: {error}; make it smaller first") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on a broken file
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "no known picture format" if unknown else f"{type(error).__name__}: {error}"
        reason = reason if content else "an empty file"
        raise DataError(f"{path} is not a readable picture ({reason}); replace or remove it") from None


def read_picture(path: Path | str, channels: int = 3) -> UInt8[Tensor, "C H W"]:
    """A picture file as uint8 [channels, H, W].

    Raises: DataError: see `open_picture` and `from_pil`.
    """
    return from_pil(open_picture(path), channels)


def write_picture(pixels: UInt8[Tensor, "C H W"], path: Path | str) -> None:
    """Write one picture atomically; the file's ending names the format.

    Raises: DataError: an unknown ending, or the file cannot be written.
    """
    path = Path(path)
    Image.init()
    file_format = Image.EXTENSION.get(path.suffix.lower(), "")
    if file_format not in Image.SAVE:  # Pillow reads more formats than it writes
        raise DataError(f"{path.name} has no picture format that can be written; end it in .png")
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
