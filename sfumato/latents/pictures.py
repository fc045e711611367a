"""Pictures of codes: rows between two draws, sums and differences, tables of mixtures, images and what they become."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from sfumato import display
from sfumato.errors import CapabilityError, ConfigError
from sfumato.families.abilities import Decodes, Encodes
from sfumato.images import Pixels, grid, to_float, to_uint8, write_picture
from sfumato.kinds import build
from sfumato.latents.films import is_film, write_film
from sfumato.latents.spaces import PARTS, Part, space_of
from sfumato.networks.condition import Condition
from sfumato.streams import stream
from sfumato.training.run import load

LONG = 64  # pixels that an image is enlarged to, to be seen
MOST = 1_000_000  # numbers of draws are below
NEARBY = 9  # results of arithmetic, the first as it is and the others moved a little


def enlarged(pixels: Pixels, columns: int) -> Tensor:
    """Laid out in rows, each image large enough to be seen."""
    return grid(pixels, columns=columns, scale=max(1, LONG // pixels.shape[-1]))


@torch.no_grad()
def interpolation(
    folder: Path,
    out: Path,
    rows: int,
    steps: int,
    seed: int,
    device: str,
    label: int | None = None,
    changes: Sequence[str] = (),
) -> None:
    """A picture of rows of images between two draws, or a film of them there and back.

    Raises: CapabilityError: the model decodes no latent vectors, or was trained to restore.
    """
    space = space_of(load(folder, device, changes=changes).family, label)
    family, condition = space.family, space.condition(rows, seed)
    first, last = (
        space.of(
            family.latent(rows, [stream(seed, "end", end, row, device=family.device) for row in range(rows)]), condition
        )
        for end in (0, 1)
    )
    codes = [space.between(first, last, i / (steps - 1)) for i in range(steps)]
    made = [space.pixels(code, condition) for code in codes]
    if is_film(out):
        frames = [enlarged(images, columns=rows) for images in made]
        write_film([*frames, *frames[-2:0:-1]], out)
    else:
        write_picture(enlarged(torch.stack(made, 1).flatten(0, 1), steps), out)
    display.say(out)


@torch.no_grad()
def arithmetic(
    folder: Path,
    out: Path,
    groups: Sequence[Sequence[int]],
    nearby: float,
    seed: int,
    device: str,
    label: int | None = None,
    changes: Sequence[str] = (),
) -> None:
    """The mean codes of three groups of draws, a - b + c, and what lies about it.

    A row for the members of each group and their mean, then nine results, the first as it is.
    Reference: Radford, Metz and Chintala (2016), DCGAN, section 6.3.2: single draws are unsteady, means of three are not.
    """
    space = space_of(load(folder, device, changes=changes).family, label)
    space.one_class()
    longest = max(map(len, groups))
    rows, means = [], []
    for numbers in groups:
        codes, _ = space.draws(numbers, seed)
        mean = codes.mean(0, keepdim=True)
        shown = space.pixels(torch.cat([codes, mean]), space.condition(len(codes) + 1))
        blank = white(longest - len(numbers), shown)
        rows.append(torch.cat([shown[:-1], blank, shown[-1:]]))
        means.append(mean)
    found = means[0] - means[1] + means[2]
    results = torch.cat([found, space.beside(found, nearby, NEARBY - 1, seed)])
    made = space.pixels(results, space.condition(NEARBY))
    columns = longest + 1
    filler = white(-NEARBY % columns, made)
    write_picture(enlarged(torch.cat([*rows, made, filler]), columns), out)
    display.say(f"{out}: a row for each group with its mean at the end, then a - b + c and eight codes beside it")


@torch.no_grad()
def mixing(
    folder: Path,
    out: Path,
    rows: Sequence[int],
    columns: Sequence[int],
    parts: Sequence[Part],
    seed: int,
    device: str,
    label: int | None = None,
    changes: Sequence[str] = (),
) -> None:
    """A table for each part: the draw of its row with that part of its code from the draw of its column.

    The first row and column show the draws as they are. Reference: Karras, Laine and Aila (2019), StyleGAN, figure 3.
    """
    space = space_of(load(folder, device, changes=changes).family, label)
    (own, classes), (other, others) = space.draws(rows, seed), space.draws(columns, seed)
    first, heads = space.pixels(own, classes), space.pixels(other, others)
    tables = []
    for part in parts:
        corner = white(1, first)
        lines = [torch.cat([corner, heads])]
        for i in range(len(rows)):
            mixed = space.parted(own[i : i + 1].expand_as(other), other, part)
            told = classes.pick(torch.full((len(columns),), i, device=mixed.device))
            lines.append(torch.cat([first[i : i + 1], space.pixels(mixed, told)]))
        tables += lines
    write_picture(enlarged(torch.cat(tables), len(columns) + 1), out)
    said = ", ".join(parts)
    display.say(f"{out}: rows are draws, columns give them their {said} part{'s' if len(parts) > 1 else ''}")


def white(n: int, like: Pixels) -> Pixels:
    """n white images."""
    return to_uint8(torch.ones(n, *like.shape[1:]))


def numbers(text: str) -> list[int]:
    """Numbers of draws, as "3,7,9" or "4-8".

    Raises: ConfigError: anything else.

    Example:
        >>> numbers("1,4-6")
        [1, 4, 5, 6]
    """
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        whole = all(number.isascii() and number.isdigit() for number in ([first, last] if dash else [first]))
        if not whole or int(last or first) < int(first) or int(last or first) >= MOST:
            raise ConfigError(
                f"{text!r} are no numbers of draws; write them as 3,7,9 or 4-8, as `sfumato sample` counts from 0"
            )
        found += range(int(first), int(last or first) + 1)
    return found


def parts_of(text: str) -> list[Part]:
    """Parts of a code, as "coarse" or "coarse,fine"; all of them for "all".

    Raises: ConfigError: no such part.
    """
    if text == "all":
        return [*PARTS]
    named = [part for name in text.split(",") for part in PARTS if part == name.strip()]
    if len(named) != len(text.split(",")):
        raise ConfigError(f"part {text!r} is not one of {', '.join(PARTS)} or all")
    return named


def reconstructions(folder: Path, out: Path, n: int, device: str) -> None:
    """A picture of test images, each above what the model makes of its latent vector.

    Raises: CapabilityError: the model finds no latent vectors, or was trained to restore.
    """
    run = load(folder, device)
    family = run.family
    if not (isinstance(family, Encodes) and isinstance(family, Decodes)):
        raise CapabilityError(
            f"a {family.config.kind} finds no latent vectors of images; a vae or vq_vae does, and `sfumato latent project` "
            "searches one for any model that decodes"
        )
    space_of(family)
    pixels, labels, _ = build(run.config.data).load().test.read(slice(0, n))
    told = labels.to(family.device) if labels is not None and family.labelled else None
    condition = Condition(label=told)
    with torch.no_grad():
        again = to_uint8(family.decode(family.encode(to_float(pixels.to(family.device)), condition), condition)).cpu()
    columns = min(16, len(pixels))
    rows = [torch.cat([pixels[i : i + columns], again[i : i + columns]]) for i in range(0, len(pixels), columns)]
    write_picture(enlarged(torch.cat(rows), columns), out)
    display.say(out)
