"""Projection: the code whose image is nearest to one that was given, by descent; how near tells what a model knows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps
from safetensors.torch import save
from torch import Tensor

from sfumato import display
from sfumato.errors import ConfigError, ShapeError
from sfumato.features.base import Features, extractor
from sfumato.features.lite0 import Lite0
from sfumato.files import write_atomic
from sfumato.images import Images, Pixels, from_pil, open_picture, to_float, to_uint8, upright, write_picture
from sfumato.kinds import build
from sfumato.latents.pictures import enlarged
from sfumato.latents.spaces import Space, space_of
from sfumato.networks.condition import Condition
from sfumato.streams import normals, stream
from sfumato.training.run import Run, load

STAGES = 6  # pictures of a projection on its way
RATE, RISE, FALL = 0.1, 0.05, 0.25  # of Adam; shares of the steps in which the rate rises and falls
LOUD, QUIET = (
    0.05,
    0.75,
)  # noise that codes are moved by at first, in deviations; the share of the steps in which it ends
PERCEIVED = 0.1  # weight of the maps beside the pixels


def distance(a: Images, b: Images, features: Any) -> Float[Tensor, " B"]:
    """mean (a - b)^2 + 0.1 mean (N(a) - N(b))^2 of each image, N the first two maps of a trained network at unit length.

    Pixels alone where images are neither grey nor of three colours.
    """
    total = (a - b).square().flatten(1).mean(1)
    if a.shape[1] not in (1, 3):
        return total
    for _, (_, ours), (_, theirs) in zip(range(2), features.maps(a), features.maps(b), strict=False):
        one, other = (m / (m.square().sum(1, keepdim=True) + 1e-8).sqrt() for m in (ours, theirs))
        total = total + PERCEIVED * (one - other).square().sum(1).flatten(1).mean(1)
    return total


def search(
    space: Space,
    x: Images,
    condition: Condition,
    steps: int,
    features: Any,
    watch: Any,
    each: bool = False,
) -> list[Tensor]:
    """Codes on their way to the images, the first and the last among them; each image has its own search.

    Adam from the mean style or a draw, with noise that explores at first and is gone after three quarters of the steps.
    Reference: Karras et al. (2020), StyleGAN2, appendix D; its noise maps stay as they are here.
    """
    code, spread = space.start(len(x), each).requires_grad_(True), space.spread()
    mover, rng = torch.optim.Adam([code], lr=RATE), stream(0, "projection", device=x.device)
    looks = {round(i * steps / (STAGES - 1)) for i in range(STAGES)}
    kept = [code.detach().clone()]
    for step in range(steps):
        t = step / steps
        mover.param_groups[0]["lr"] = RATE * min(1.0, t / RISE + 1e-3) * falls(t)
        loud = LOUD * spread * max(0.0, 1 - t / QUIET) ** 2
        noisy = code + loud * normals(rng, len(x), *code.shape[1:])
        with torch.enable_grad():
            apart = distance(space.image(noisy, condition), x, features).sum()
            (code.grad,) = torch.autograd.grad(apart, code)
        mover.step()
        watch(step + 1, steps)
        if step + 1 in looks:
            kept.append(code.detach().clone())
    return kept


def falls(t: float) -> float:
    """1, then half a cosine to 0 over the last quarter."""
    return 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - t) / FALL))


def projection(
    folder: Path,
    pictures: Sequence[Path],
    test: int,
    out: Path,
    steps: int,
    keep: Path | None,
    device: str,
    label: int | None,
    each: bool = False,
    changes: Sequence[str] = (),
) -> None:
    """A row for each picture: it, and the image on its way to it; the distance and PSNR of each are printed.

    Raises: CapabilityError: the model decodes no latent vectors. ConfigError: neither pictures nor test images.
    """
    run = load(folder, device, changes=changes)
    space = space_of(run.family, label)
    pixels, classes = targets(run, pictures, test)
    x, condition = to_float(pixels.to(space.family.device)), Condition(label=classes)
    if classes is None or label is not None:
        if pictures:
            space.one_class()
        condition = space.condition(len(pixels))
    features: Features = extractor(Lite0.Config(layer="b4"), x.device)
    with display.working("searching") as told:
        codes = search(space, x, condition, steps, features, told, each)
    with torch.no_grad():
        made = [space.image(code, condition) for code in codes]
        first, last = (distance(images, x, features).tolist() for images in (made[0], made[-1]))
        psnr = (10 * torch.log10(4 / (made[-1] - x).square().flatten(1).mean(1).clamp(min=1e-10))).tolist()
    for i, (before, after, decibels) in enumerate(zip(first, last, psnr, strict=True)):
        name = pictures[i].name if i < len(pictures) else f"test image {i - len(pictures)}"
        display.say(f"{name}: distance {after:.4f} after {steps} steps ({before:.4f} before), PSNR {decibels:.1f} dB")
    shown = torch.stack([pixels, *(to_uint8(images).cpu() for images in made)], 1).flatten(0, 1)
    write_picture(enlarged(shown, len(made) + 1), out)
    display.say(out)
    if keep is not None:
        write_atomic(keep, save({"code": codes[-1].contiguous().cpu()}))
        display.say(f"{keep}: the codes, to be decoded again")


def targets(run: Run, pictures: Sequence[Path], test: int) -> tuple[Pixels, Tensor | None]:
    """Pictures in the middle square and at the size that the model draws, and test images; classes where all have one.

    Raises: ConfigError: there is none. ShapeError: a picture is smaller than the model's images.
    """
    made = [fitted(path, run)[None] for path in pictures]
    images, labels, _ = build(run.config.data).load().test.read(slice(0, test)) if test else (None, None, None)
    if not made and images is None:
        raise ConfigError("nothing to project; name pictures, or --test 4 for the first test images of the run")
    known = labels.to(run.family.device) if labels is not None and run.family.labelled and not made else None
    return torch.cat([*made, *([] if images is None else [images])]), known


def fitted(path: Path, run: Run) -> UInt8[Tensor, "C H W"]:
    """The largest middle part of the model's shape, made as small as it draws."""
    rows, columns = run.spec.size
    picture = upright(open_picture(path))
    if picture.height < rows or picture.width < columns:
        raise ShapeError(
            f"{path.name} has {picture.height} x {picture.width} pixels and the model draws {rows} x {columns}; "
            "give a larger one"
        )
    return from_pil(ImageOps.fit(picture, (columns, rows), Image.Resampling.LANCZOS), run.spec.channels)
