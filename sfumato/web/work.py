"""Work of the page: one request, done in a thread of its own, that says how far it is and stops when it is told to."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from sfumato.errors import DataError, SfumatoError
from sfumato.images import PEAK, open_picture, write_picture
from sfumato.removal import GUESS, Settings, remove, segmenter
from sfumato.restorers.answerer import answerer_of, chosen
from sfumato.restorers.picture import restore_file

What = Literal["fill", "remove", "continue", "enlarge"]
SHOWN = 1200  # pixels of the longer side of what the browser is shown


class Stopped(Exception):
    """Somebody wants this no more."""


@dataclass(frozen=True)
class Request:
    """What is asked of a picture; sizes in pixels of the file."""

    picture: Path
    what: What
    model: str | None = None
    painted: UInt8[np.ndarray, "h w"] | None = None
    """What was painted over the picture as it is shown; above 0 is to be made."""
    border: int = 64
    scale: int = 2
    seed: int = 0
    device: str = "auto"


@dataclass
class Work:
    """A request under way."""

    request: Request
    done: int = 0
    of: int = 0
    out: Path | None = None
    said: list[str] = field(default_factory=list)
    failed: str = ""
    _stop: threading.Event = field(default_factory=threading.Event)
    _folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="sfumato-")))

    def forget(self) -> None:
        """Remove what was written; what is wanted has been copied by now."""
        self._stop.set()
        shutil.rmtree(self._folder, ignore_errors=True)

    def follow(self, every: float = 0.2) -> Iterator[Work]:
        """Itself, again and again until it is done; where nobody follows any more, it stops after the part at hand."""
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            while thread.is_alive():
                yield self
                thread.join(every)
        finally:
            self._stop.set()
        yield self

    def _run(self) -> None:
        try:
            self.out = self._made()
        except Stopped:
            self.failed = "stopped"
        except SfumatoError as error:
            self.failed = str(error)
        except MemoryError:
            self.failed = "not enough memory for a picture of this size"

    def _watch(self, done: int, of: int) -> None:
        self.done, self.of = done, of
        if self._stop.is_set():
            raise Stopped

    def _made(self) -> Path:
        asked = self.request
        out = self._folder / f"{asked.picture.stem}-{asked.what}.png"
        painted = asked.painted if asked.painted is not None and asked.painted.any() else None
        if asked.what == "remove":
            fills = chosen(asked.model, fills=True, scale=None, device=asked.device)
            how = Settings(seed=asked.seed, device=asked.device)
            what = segmenter("people", {}) if painted is None else self._mask(painted, out)
            removed = remove(asked.picture, out, what, fills, how, watch=self._watch)
            if removed is None:
                raise DataError("nobody found; paint over what is to be removed")
            self.said = [removed.report(), *removed.warnings, GUESS]
            return out
        more: dict[str, Any] = {}
        if asked.what == "fill":
            if painted is None:
                raise DataError("paint over what is to be made")
            more["mask"] = self._mask(painted, out)
        elif asked.what == "continue":
            more["border"] = asked.border
        else:
            more["scale"] = asked.scale
        model = None if asked.model is None else answerer_of(asked.model, asked.device)
        self.said = restore_file(
            asked.picture, out, model, seed=asked.seed, device=asked.device, watch=self._watch, **more
        )
        return out

    def _mask(self, painted: UInt8[np.ndarray, "h w"], out: Path) -> Path:
        """What was painted, at the size of the picture, as a file."""
        with open_picture(self.request.picture) as picture:
            size = picture.size
        levels = Image.fromarray((painted > 0).astype(np.uint8) * int(PEAK)).resize(size, Image.Resampling.NEAREST)
        path = out.with_name("mask.png")
        write_picture(torch.from_numpy(np.array(levels))[None], path)
        return path


def shown(picture: Path) -> Image.Image:
    """A picture as the browser is shown it: upright, in RGB, not larger than needed.

    Raises: DataError: it is none.
    """
    with open_picture(picture) as image:
        small = image.convert("RGB")
        small.thumbnail((SHOWN, SHOWN))
        return small


def painted_over(editor: dict[str, Any] | None) -> UInt8[np.ndarray, "h w"] | None:
    """The opacity of what was painted in all layers of an image editor."""
    layers = [np.asarray(layer) for layer in (editor or {}).get("layers") or []]
    alphas = [layer[..., 3] for layer in layers if layer.ndim == 3 and layer.shape[2] == 4]
    return np.max(alphas, axis=0) if alphas else None
