"""Pictures of latent vectors: what lies between two of them, and what becomes of images that go through."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from sfumato import display
from sfumato.errors import CapabilityError
from sfumato.families.abilities import Decodes, Encodes
from sfumato.families.base import Family
from sfumato.images import grid, to_float, to_uint8, write_picture
from sfumato.kinds import build
from sfumato.networks.condition import Condition
from sfumato.streams import stream
from sfumato.training.run import load

LONG = 64  # pixels that an image is enlarged to, to be seen


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """From a to b along the arc between them, lengths changing evenly: what lies between normal vectors is as long as they are.

    Example:
        >>> [round(float(v), 4) for v in slerp(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), 0.5)[0]]
        [0.7071, 0.7071]
    """
    flat = a.flatten(1), b.flatten(1)
    lengths = [part.norm(dim=1, keepdim=True).clamp(min=1e-12) for part in flat]
    one, two = (part / length for part, length in zip(flat, lengths, strict=True))
    angle = (one * two).sum(1, keepdim=True).clamp(-1 + 1e-6, 1 - 1e-6).arccos()
    way = (torch.sin((1 - t) * angle) * one + torch.sin(t * angle) * two) / torch.sin(angle)
    return (way * torch.lerp(lengths[0], lengths[1], t)).view_as(a)


def interpolation(folder: Path, out: Path, rows: int, steps: int, seed: int, device: str) -> None:
    """A picture of rows of images between two draws.

    Raises: CapabilityError: the model decodes no latent vectors, or was trained to restore.
    """
    family = _free(load(folder, device).family)
    if not isinstance(family, Decodes):
        raise CapabilityError(f"a {family.config.kind} decodes no latent vectors; a gan, vae or vq_vae does")
    ends = [
        family.latent(rows, [stream(seed, "end", end, row, device=family.device) for row in range(rows)])
        for end in (0, 1)
    ]
    label = family.untold(rows, stream(seed, "label", device=family.device)) if family.labelled else None
    with torch.no_grad():
        made = [family.picture(slerp(ends[0], ends[1], i / (steps - 1)), Condition(label=label)) for i in range(steps)]
    pixels = to_uint8(torch.stack(made, 1).flatten(0, 1)).cpu()
    write_picture(grid(pixels, columns=steps, scale=max(1, LONG // pixels.shape[-1])), out)
    display.say(out)


def reconstructions(folder: Path, out: Path, n: int, device: str) -> None:
    """A picture of test images, each above what the model makes of its latent vector.

    Raises: CapabilityError: the model finds no latent vectors, or was trained to restore.
    """
    run = load(folder, device)
    family = _free(run.family)
    if not (isinstance(family, Encodes) and isinstance(family, Decodes)):
        raise CapabilityError(f"a {family.config.kind} finds no latent vectors of images; a vae or vq_vae does")
    pixels, labels, _ = build(run.config.data).load().test.read(slice(0, n))
    told = labels.to(family.device) if labels is not None and family.labelled else None
    condition = Condition(label=told)
    with torch.no_grad():
        again = to_uint8(family.decode(family.encode(to_float(pixels.to(family.device)), condition), condition)).cpu()
    columns = min(16, len(pixels))
    rows = [torch.cat([pixels[i : i + columns], again[i : i + columns]]) for i in range(0, len(pixels), columns)]
    write_picture(grid(torch.cat(rows), columns=columns, scale=max(1, LONG // pixels.shape[-1])), out)
    display.say(out)


def _free(family: Family) -> Family:
    if family.spec.condition:
        raise CapabilityError(
            f"this {family.config.kind} was trained to restore, so its latent vectors say nothing alone; train it on generation"
        )
    return family
