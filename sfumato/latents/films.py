"""Films: frames as an animated GIF, WebP or PNG, by Pillow alone; and a walk through codes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from sfumato import display
from sfumato.errors import DataError
from sfumato.files import write_atomic
from sfumato.images import grid, to_pil
from sfumato.latents.spaces import space_of
from sfumato.training.run import load

MOVING = {".gif": "GIF", ".webp": "WEBP", ".apng": "PNG"}
LONG = 96  # pixels that an image is enlarged to


def is_film(path: Path) -> bool:
    """Whether the ending means a film."""
    return path.suffix.lower() in MOVING


def write_film(frames: Sequence[UInt8[Tensor, "C H W"]], path: Path, milliseconds: int = 60) -> None:
    """Write frames of one size as a film that begins again at its end, whole or not at all.

    Raises: DataError: the ending means no film, or the file cannot be written.
    """
    if not is_film(path):
        raise DataError(f"{path.name} cannot move; end it in {', '.join(MOVING)}")
    first, *others = (to_pil(frame) for frame in frames)
    buffer = io.BytesIO()
    lossless = {"lossless": True} if path.suffix.lower() == ".webp" else {}
    first.save(
        buffer,
        MOVING[path.suffix.lower()],
        save_all=True,
        append_images=others,
        duration=milliseconds,
        loop=0,
        **lossless,
    )
    write_atomic(path, buffer.getvalue())


@torch.no_grad()
def walk(
    folder: Path,
    out: Path,
    images: int,
    stops: int,
    steps: int,
    seed: int,
    device: str,
    label: int | None = None,
    changes: Sequence[str] = (),
) -> None:
    """A film of images that go from draw to draw and back to the first.

    Raises: CapabilityError: the model decodes no latent vectors. DataError: the ending means no film.
    """
    if not is_film(out):
        raise DataError(f"{out.name} cannot move; end it in {', '.join(MOVING)}")
    space = space_of(load(folder, device, changes=changes).family, label)
    drawn = [space.draws(range(stop * images, (stop + 1) * images), seed) for stop in range(stops)]
    codes, condition = [code for code, _ in drawn], drawn[0][1]  # an image keeps its class on all of its way
    frames = []
    with display.working("walking") as told:
        for stop in range(stops):
            for step in range(steps):
                code = space.between(codes[stop], codes[(stop + 1) % stops], step / steps)
                made = space.pixels(code, condition)
                frames.append(grid(made, scale=max(1, LONG // made.shape[-1])))
                told(len(frames), stops * steps)
    write_film(frames, out)
    display.say(out)
