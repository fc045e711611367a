"""People: MediaPipe's pose detection says where people stand, its selfie segmentation which pixels they are.

Both are small mobile networks, run by torch. Their weights lie in a wheel that the user brings; it is read and not installed.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from pydantic import Field
from torch import Tensor

from sfumato.config import Strict
from sfumato.errors import WeightsError
from sfumato.files import at_home, write_atomic
from sfumato.images import PEAK
from sfumato.maths.regions import Box, regions, starts
from sfumato.segmenters.base import Segmenter
from sfumato.segmenters.pose import people
from sfumato.segmenters.tflite import Network

FOLDER = "mediapipe/modules"
FILES = {  # and their SHA-256
    "selfie_segmentation/selfie_segmentation.tflite": "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
    "pose_detection/pose_detection.tflite": "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    "pose_landmark/pose_landmark_full.tflite": "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
}
KEPT = Path("~/.cache/sfumato")
BRING = (
    "pip download --no-deps mediapipe==0.10.21 (35 MB, Apache-2.0; it is read, not installed), then give the .whl file once: "
    "--weights mediapipe-0.10.21-....whl"
)
ROOM, BODY = 1.1, 1.25  # of the views for segmentation and for landmarks, around the circle of a body


class People(Segmenter):
    """People of any size: looked for in the whole and in square parts of it, then each cut out of its own close view.

    The segmentation was made for people within two metres (IoU 96 % on its makers' 1,594 selfies), the detection for whole
    or upper bodies whose face or back is seen; small, lying and hidden people may be missed.

    Raises: WeightsError: the weights are missing or not the ones with these SHA-256. CapabilityError: the extra is missing.
    """

    nothing = "nobody found"

    class Config(Strict):
        kind: Literal["people"] = "people"
        weights: Path | None = None
        """MediaPipe's wheel 0.10.21; what is needed is kept in ~/.cache/sfumato, so that once is enough."""
        sure: float = Field(default=0.5, gt=0.0, lt=1.0)
        """Probability from which the detector's word is taken."""
        threshold: float = Field(default=0.5, gt=0.0, lt=1.0)
        """Probability from which a pixel belongs to a person."""
        present: float = Field(default=0.9, gt=0.0, lt=1.0)
        """Probability of a body in a close view, below which the detector is not believed."""
        levels: int = Field(default=0, ge=0, le=5)
        """How often square parts as long as the shorter side are halved: the more, the smaller the people, and the more that
        is taken for one."""

    def __init__(self, config: Config):
        super().__init__(config)
        self.segmentation, self.detection, self.landmarks = (Network(content) for content in weights(config.weights))

    def mask(self, pixels: UInt8[Tensor, "3 H W"]) -> Bool[Tensor, "H W"]:
        """True on people."""
        rows, columns = pixels.shape[1:]
        found = torch.zeros(rows, columns, dtype=torch.bool)
        views = [Box(0, 0, rows, columns)]
        for level in range(self.config.levels + 1):
            views += squares(rows, columns, max(min(rows, columns) >> level, 64))
        for view in dict.fromkeys(views):
            for person in people(self.detection, pixels[:, *view.place], self.config.sure):
                row, column = view.top + person.row, view.left + person.column
                close = around(row, column, ROOM * person.radius, rows, columns)
                if min(close.rows, close.columns) >= 16 and self.present(pixels, row, column, BODY * person.radius):
                    found[close.place] |= self.look(pixels, close) > self.config.threshold
        return without_specks(found)

    def present(self, pixels: UInt8[Tensor, "3 H W"], row: float, column: float, radius: float) -> bool:
        """Whether the landmark network sees a body in a square view, black beyond the picture."""
        side, half = max(round(2 * radius), 8), round(radius)
        first = round(row) - half, round(column) - half
        seen = around(row, column, radius, *pixels.shape[1:])
        view = torch.zeros(3, side, side)
        part = pixels[:, *seen.place][:, :side, :side]
        down, across = min(max(seen.top - first[0], 0), side), min(max(seen.left - first[1], 0), side)
        part = part[:, : side - down, : side - across]
        view[:, down : down + part.shape[1], across : across + part.shape[2]] = part / PEAK
        small = F.interpolate(view[None], self.landmarks.size, mode="bilinear", antialias=True)
        outputs = self.landmarks(small.permute(0, 2, 3, 1))
        return float(next(out for out in outputs if out.numel() == 1)) >= self.config.present

    def look(self, pixels: UInt8[Tensor, "3 H W"], view: Box) -> Float[Tensor, "h w"]:
        """Probabilities of a view."""
        x = pixels[:, *view.place].float()[None] / PEAK
        small = F.interpolate(x, self.segmentation.size, mode="bilinear", antialias=True)
        likely = self.segmentation(small.permute(0, 2, 3, 1))[0].permute(0, 3, 1, 2)
        return F.interpolate(likely, (view.rows, view.columns), mode="bilinear", align_corners=False)[0, 0]


def without_specks(mask: Bool[Tensor, "H W"]) -> Bool[Tensor, "H W"]:
    """The regions of a mask that have a fiftieth of the pixels of the largest one, or more."""
    found = list(regions(mask))
    most = max((int(region.mask.sum()) for region in found), default=0)
    kept = mask.clone()
    for region in found:
        if 50 * int(region.mask.sum()) < most:
            kept[region.box.place] &= ~region.mask
    return kept


def squares(rows: int, columns: int, side: int) -> list[Box]:
    """Squares of a side that cover a picture, each half over the next.

    Example:
        >>> [(square.top, square.left) for square in squares(4, 8, 4)]
        [(0, 0), (0, 2), (0, 4)]
    """
    down, across = (starts(length, side, max(side // 2, 1)) for length in (rows, columns))
    return [Box(top, left, min(side, rows), min(side, columns)) for top in down for left in across]


def around(row: float, column: float, radius: float, rows: int, columns: int) -> Box:
    """What of a square around a circle lies inside the picture."""
    ends = []
    for middle, length in ((row, rows), (column, columns)):
        ends.append((min(max(round(middle - radius), 0), length), min(max(round(middle + radius), 0), length)))
    (top, bottom), (left, right) = ends
    return Box(top, left, bottom - top, right - left)


def weights(path: Path | None) -> list[bytes]:
    """The three networks' files, from a wheel or from where they are kept.

    Raises: WeightsError: one is missing, or another one.
    """
    kept = [at_home(KEPT / Path(name).name) for name in FILES]
    try:
        if path is None:
            found = [file.read_bytes() for file in kept]
        else:
            with zipfile.ZipFile(at_home(path)) as wheel:
                found = [wheel.read(f"{FOLDER}/{name}") for name in FILES]
    except (OSError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise WeightsError(f"no weights that find people at {path or at_home(KEPT)} ({error}); {BRING}") from None
    for (name, digest), content in zip(FILES.items(), found, strict=True):
        seen = hashlib.sha256(content).hexdigest()
        if seen != digest:
            raise WeightsError(
                f"{path or at_home(KEPT)}: {name} has SHA-256 {seen[:8]}..., not {digest[:8]}...; {BRING}"
            )
    if path is not None:
        for file, content in zip(kept, found, strict=True):
            write_atomic(file, content)
    return found
