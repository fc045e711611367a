"""Original: a picture file with all that a restored copy must keep: mode, depth, alpha, colour profile, EXIF, resolution."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from sfumato.errors import DataError
from sfumato.files import write_atomic
from sfumato.images import ENDINGS, PEAK, from_pil, opened, opened_file, sixteen_bits, upright
from sfumato.restorers.border import Border, sides

SOLID = int(PEAK)
ROWS = 256  # of a strip
QUALITY: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True, "exact": True},
    "TIFF": {"compression": "tiff_lzw"},
}


@dataclass(frozen=True)
class Original:
    """What was read: colours as they lie in the file, whatever covers them, and what else the file says."""

    colours: NDArray[Any]
    """[H, W, C], uint8, or uint16 for 16 bits; C = 1 or 3."""
    alpha: UInt8[np.ndarray, "H W"] | None
    bilevel: bool
    """Whether the file has one bit a pixel."""
    keep: dict[str, Any]
    """What is handed on when it is saved: colour profile, EXIF, resolution."""
    warnings: list[str]

    @property
    def pixels(self) -> UInt8[Tensor, "C H W"]:
        """What a restorer is given: 8 bits, grey or RGB, without transparency."""
        colours = self.colours
        if colours.dtype == np.uint16:
            colours = (colours / 257.0).round().astype(np.uint8)
        return torch.from_numpy(np.ascontiguousarray(colours.transpose(2, 0, 1)))

    @property
    def hidden(self) -> UInt8[Tensor, "H W"] | None:
        """1 where nothing can be seen of the picture, so that its colours mean nothing."""
        return None if self.alpha is None else torch.from_numpy((self.alpha == 0).astype(np.uint8))

    def bordered(self, border: Border) -> Original:
        """The same with that much more around it, of which nothing is known."""
        above, right, below, left = sides(border)

        def wider(levels: NDArray[Any]) -> NDArray[Any]:
            return np.pad(levels, [(above, below), (left, right), (0, 0)][: levels.ndim])

        alpha = None if self.alpha is None else wider(self.alpha)
        return replace(self, colours=wider(self.colours), alpha=alpha)

    def restored(self, made: UInt8[Tensor, "C h w"], hole: Tensor | None = None) -> Image.Image:
        """The picture with `made` in the hole, or everywhere; the other pixels are those of the file, bit by bit.

        What is made in a transparent hole becomes opaque. A picture of another size has its alpha resized.
        """
        new = made.permute(1, 2, 0).numpy()
        old = np.repeat(self.colours, 3, axis=2) if new.shape[2] > self.colours.shape[2] else self.colours
        if old.dtype == np.uint16:
            new = new.astype(np.uint16) * 257
        alpha = self.alpha
        if hole is not None:
            where = hole.bool().numpy()
            made_there, new = new[where], old.copy()
            new[where] = made_there
            alpha = None if alpha is None else np.where(where & (alpha == 0), SOLID, alpha).astype(np.uint8)
        elif alpha is not None and alpha.shape != new.shape[:2]:
            size = new.shape[1], new.shape[0]
            alpha = np.asarray(Image.fromarray(alpha).resize(size, Image.Resampling.LANCZOS))
        grey = new.shape[2] == 1
        if self.bilevel and grey and alpha is None:
            return Image.fromarray(new[..., 0]).point(lambda level: SOLID * (level >= 128), mode="1")
        if alpha is not None:
            new = np.concatenate([new, alpha[..., None]], axis=2)
        return Image.fromarray(new[..., 0] if new.shape[2] == 1 else new, mode="LA" if new.shape[2] == 2 else None)


def read_original(path: Path | str) -> Original:
    """Read a picture file with everything that a restored copy has to keep.

    Raises: DataError: see `open_picture`; 16 bits with transparency, which cannot be kept.
    """
    file = opened_file(path)
    image = upright(file.image)
    warnings = [f"{path} {line}" for line in file.peculiar]
    keep: dict[str, Any] = {}
    if profile := image.info.get("icc_profile"):
        if image.mode in ("CMYK", "LAB"):
            warnings.append(f"{path} has a colour profile for {image.mode}, which cannot be kept with RGB")
        else:
            keep["icc_profile"] = profile
    if "dpi" in image.info:
        keep["dpi"] = tuple(float(value) for value in image.info["dpi"])
    if file.exif:
        keep["exif"] = file.exif
    alpha = None
    if image.mode.startswith("I") or image.mode == "F":
        colours = sixteen_bits(image)[..., None]
    else:
        if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
            whole = np.asarray(image.convert("RGBA"))
            alpha, image = whole[..., 3], image.convert("LA" if image.mode in ("L", "LA", "La") else "RGBA")
            image = image.convert("L" if image.mode == "LA" else "RGB")
        if image.mode == "P":
            warnings.append(f"{path} has a palette; the restored picture has full colours")
        colours = from_pil(image, 1 if image.mode in ("1", "L") else 3).permute(1, 2, 0).numpy()
    return Original(colours, alpha, file.image.mode == "1", keep, warnings)


def write_restored(
    picture: Image.Image,
    path: Path,
    original: Original,
    hole: Tensor | None = None,
    texts: Mapping[str, str] = MappingProxyType({}),
) -> list[str]:
    """Write a restored picture atomically in the format of the ending, and say what that format could not keep.

    `texts` are written into a PNG, compressed; other formats have no place for them.

    Raises: DataError: an ending that is none, or a format that cannot hold this picture at all.
    """
    formats = {ending: name for name, endings in ENDINGS.items() for ending in endings}
    file_format = formats.get(path.suffix.lower())
    if file_format is None:
        raise DataError(f"{path.name} has no ending of a format that keeps a picture; end it in {', '.join(formats)}")
    buffer = io.BytesIO()
    more: dict[str, Any] = {}
    if texts and file_format == "PNG":
        more["pnginfo"] = PngInfo()
        for key, text in texts.items():
            more["pnginfo"].add_text(key, text, zip=True)
    try:
        picture.save(buffer, format=file_format, **QUALITY.get(file_format, {}), **original.keep, **more)
        content = buffer.getvalue()
        del buffer
        again = opened(content, path.name)
    except (KeyError, OSError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path.name} cannot hold this picture ({reason}); end it in .png") from None
    lost, back = [], again.image
    if back.size != picture.size:
        raise DataError(f"{file_format} would change the size of {path.name} to {back.size}; end it in .png")
    average, most = _change(picture, back, None if hole is None else ~hole.bool().numpy())
    if most > 0:
        lost.append(
            f"{file_format} changed the {'kept' if hole is not None else 'restored'} pixels of {path.name} by "
            f"{average:.2f} levels on average, {most:.0f} at most; end it in .png to keep them"
        )
    if "A" in picture.getbands() and "A" not in back.convert(_full(back)).getbands():
        lost.append(f"{file_format} lost the transparency of {path.name}; end it in .png to keep it")
    lost += [
        f"{file_format} keeps no {name} in {path.name}"
        for key, name in (("icc_profile", "colour profile"), ("exif", "EXIF"), ("dpi", "resolution"))
        if key in original.keep and key not in back.info and not (key == "exif" and again.exif)
    ]
    write_atomic(path, content)
    return lost


def _full(picture: Image.Image) -> str:
    return "RGBA" if picture.mode in ("P", "PA") and "transparency" in picture.info else picture.mode


def _change(picture: Image.Image, back: Image.Image, kept: NDArray[np.bool_] | None) -> tuple[float, float]:
    """By how much kept pixels differ after they were written, on average and at most, in levels of 255."""

    def levels(image: Image.Image) -> NDArray[Any]:
        if image.mode.startswith("I"):
            return np.asarray(image).astype(np.float32)[..., None] / 257.0
        return np.asarray(image.convert("RGB")).astype(np.int16)

    total, count, most = 0.0, 0, 0.0
    for top in range(0, picture.height, ROWS):  # a strip at a time, to save memory
        part = (0, top, picture.width, min(top + ROWS, picture.height))
        strip = picture.crop(part)
        change = np.abs(levels(strip) - levels(back.crop(part))).max(2)
        if "A" in picture.getbands():  # colours under full transparency are not seen
            change = change * (np.asarray(strip.getchannel("A")) > 0)
        change = change if kept is None else change[kept[part[1] : part[3]]]
        total, count = total + float(change.sum()), count + change.size
        most = max(most, float(change.max(initial=0)))
    return total / max(count, 1), most
