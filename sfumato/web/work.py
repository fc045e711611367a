"""Work of the page: one request, done in a thread of its own, that says how far it is and stops when it is told to."""

from __future__ import annotations

import logging
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
from torch import Tensor

from sfumato.errors import DataError, SfumatoError
from sfumato.images import PEAK, open_picture, to_pil, upright
from sfumato.removal import GUESS, Settings, remove, segmenter
from sfumato.restorers.answerer import Answerer, answerer_of, chosen, limited
from sfumato.restorers.original import read_original
from sfumato.restorers.picture import restore_file

What = Literal["fill", "remove", "continue", "enlarge"]
SHOWN = 1200  # pixels of the longer side of what the browser is shown
ONE = threading.Lock()  # a machine has memory for one at a time


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
    restorer: str | None = None
    """How a model that only saw images restores, as diffpir; None for one that was trained to."""
    calls: int | None = None
    """The most times that restorer may ask its network; None for its own number."""


@dataclass
class Work:
    """A request under way."""

    request: Request
    done: int = 0
    of: int = 0
    promised: str = ""
    """What all parts will take, as soon as it is known."""
    out: Path | None = None
    said: list[str] = field(default_factory=list)
    failed: str = ""
    _stop: threading.Event = field(default_factory=threading.Event)
    _folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="sfumato-")))
    _thread: threading.Thread | None = None

    def follow(self, every: float = 0.2) -> Iterator[Work]:
        """Itself, again and again until it is done; where nobody follows any more, it stops after the part at hand."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        try:
            while self._thread.is_alive():
                yield self
                self._thread.join(every)
        except GeneratorExit:
            self._stop.set()
            raise
        yield self

    def forget(self) -> None:
        """Stop, and remove what was written, now or as soon as the thread ends."""
        self._stop.set()
        if self._thread is None or not self._thread.is_alive():
            shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self) -> None:
        try:
            with ONE:
                self._watch(0, 0)
                self.out = self._made()
                self._watch(self.done, self.of)
        except Stopped:
            self.out, self.failed = None, "stopped"
        except SfumatoError as error:
            self.failed = str(error)
        except Exception as error:  # out of memory, as torch says it, or a fault of ours
            logging.getLogger("sfumato").exception("the page could not restore a picture")
            self.failed = f"it could not be done ({type(error).__name__}); the terminal has the details"
        finally:
            if self._stop.is_set():
                shutil.rmtree(self._folder, ignore_errors=True)

    def _watch(self, done: int, of: int) -> None:
        self.done, self.of = done, of
        if self._stop.is_set():
            raise Stopped

    def _made(self) -> Path:
        asked = self.request
        out = self._folder / f"{asked.picture.stem}-{asked.what}.png"
        painted = asked.painted if asked.painted is not None and asked.painted.any() else None
        if asked.what == "remove":
            model = self._named() or chosen(None, fills=True, scale=None, device=asked.device)
            how = Settings(seed=asked.seed, device=asked.device)
            what = segmenter("people", {}) if painted is None else self._levels(painted)
            removed = remove(asked.picture, out, what, model, how, watch=self._watch)
            if removed is None:
                raise DataError("nobody found; paint over what is to be removed")
            self.said = [removed.report(), *removed.warnings, GUESS]
            return out
        more: dict[str, Any] = {}
        if asked.what == "fill":
            if painted is None:
                raise DataError("paint over what is to be made")
            more["mask"] = self._levels(painted)
        elif asked.what == "continue":
            more["border"] = asked.border
        else:
            more["scale"] = asked.scale
        named = self._named()

        def watch(done: int, of: int) -> None:
            if done == 0 and named is not None:
                self.promised = named.promise(of)
            self._watch(done, of)

        said = restore_file(asked.picture, out, named, seed=asked.seed, device=asked.device, watch=watch, **more)
        self.said = [line for line in said if "--invert" not in line]  # what is painted is meant
        return out

    def _named(self) -> Answerer | None:
        """Who answers, where a model is named.

        Raises: CapabilityError: the model cannot restore, or not so.
        """
        asked = self.request
        if asked.model is None and asked.restorer is None:
            return None
        if asked.model is None:
            raise DataError(f"{asked.restorer} restores with a model of images; choose one under Model")
        return answerer_of(asked.model, asked.device, limited(asked.restorer, asked.calls))

    def _levels(self, painted: UInt8[np.ndarray, "h w"]) -> UInt8[Tensor, "H W"]:
        """What was painted, at the size of the picture."""
        with open_picture(self.request.picture) as picture:
            size = upright(picture).size
        levels = Image.fromarray((painted > 0).astype(np.uint8) * int(PEAK)).resize(size, Image.Resampling.NEAREST)
        return torch.from_numpy(np.array(levels))


def shown(picture: Path) -> Image.Image:
    """A picture as the browser is shown it: upright, in RGB of 8 bits, not larger than needed.

    Raises: DataError: it is none.
    """
    small = to_pil(read_original(picture).pixels).convert("RGB")
    small.thumbnail((SHOWN, SHOWN))
    return small


def beside(before: Image.Image, after: Image.Image, grown: bool) -> Image.Image:
    """What was given, as large as what was made: enlarged, or with grey around it where the picture was continued."""
    if before.size == after.size:
        return before
    if not grown:
        return before.resize(after.size, Image.Resampling.NEAREST)
    page = Image.new("RGB", after.size, "grey")
    page.paste(before, ((after.width - before.width) // 2, (after.height - before.height) // 2))
    return page


def painted_over(editor: dict[str, Any] | None) -> UInt8[np.ndarray, "h w"] | None:
    """The opacity of what was painted in all layers of an image editor."""
    layers = [np.asarray(layer) for layer in (editor or {}).get("layers") or []]
    alphas = [layer[..., 3] for layer in layers if layer.ndim == 3 and layer.shape[2] == 4]
    return np.max(alphas, axis=0) if alphas else None
