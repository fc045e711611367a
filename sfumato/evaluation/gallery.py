"""Gallery: the pictures behind the figures; nearest neighbours, worst cases, what is missing and what looks copied."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Float64
from PIL import Image, ImageOps
from torch import Tensor

from sfumato.config import Strict
from sfumato.data.imageset import ImageSet, Picture
from sfumato.evaluation.evaluate import Measured, Sets
from sfumato.evaluation.pairs import paired
from sfumato.files import write_atomic
from sfumato.images import encode, from_pil, grid, to_pil
from sfumato.maths.neighbours import Nearest, nearest
from sfumato.metrics.base import Score
from sfumato.streams import stream

SHOWN = 9  # columns of a panel
NEIGHBOURS = 3
SIDE = 96  # pixels of a shown picture


class Column(Strict):
    """Pictures below one another."""

    caption: str
    """A word below."""
    picture: str
    """A PNG file in base64."""


class Panel(Strict):
    """Columns that show one thing."""

    title: str
    """What is shown."""
    text: str
    """How to read it."""
    columns: list[Column]
    """From left to right."""


class Gallery(Strict):
    """All panels of an evaluation."""

    panels: list[Panel]
    """From top to bottom."""


def build_gallery(measured: Measured, sets: Sets, folder: Path) -> Gallery:
    """Choose the pictures, and write them to gallery.json."""
    panels: list[Panel] = []
    first = next(iter(measured.samples.values()), None)
    real = sets.real if isinstance(sets.real, ImageSet) else None
    if first is not None and first["made"].vectors is not None:
        made = first["made"].vectors
        others = first["real"].vectors
        if real is not None and others is not None:
            panels += against_real(sets.made, made, real, others)
        if sets.train is not None and first["train"].vectors is not None:
            panels.append(against_train(sets.made, made, sets.train, first["train"].vectors))
    for score in measured.evaluation.scores:
        if real is not None and "paired_by" in score.card and len(score.samples) <= len(sets.made):
            panels.append(worst_pairs(score, sets.made, real))
            break
    gallery = Gallery(panels=panels)
    write_atomic(folder / "gallery.json", gallery.to_json())
    return gallery


def against_real(made: ImageSet, x: Float[Tensor, "m d"], real: ImageSet, y: Float[Tensor, "n d"]) -> list[Panel]:
    """Some made images with their nearest real ones, the least likely made ones, and the least covered real ones."""
    forth = nearest(x, y, min(NEIGHBOURS, len(y)))
    back = nearest(y, x, min(NEIGHBOURS, len(x)))
    some = torch.randperm(len(x), generator=stream(0, "gallery", len(x)))[:SHOWN]
    far = forth.distance[:, 0].argsort(descending=True)[:SHOWN]
    missed = back.distance[:, 0].argsort(descending=True)[:SHOWN]
    rows = f"Top: made. Below: its {forth.index.shape[1]} nearest real images in feature space."
    return [
        panel("Made images and their nearest real ones", f"Drawn at random. {rows}", some, made, real, forth),
        panel("Least like any real image", f"Worst cases, farthest first. {rows}", far, made, real, forth),
        panel(
            "Real images that nothing made comes near",
            "Farthest first. Top: real. Below: the made images nearest to it.",
            missed,
            real,
            made,
            back,
        ),
    ]


def against_train(made: ImageSet, x: Float[Tensor, "m d"], train: ImageSet, t: Float[Tensor, "k d"]) -> Panel:
    """The made images that look most like copies."""
    found = nearest(x, t, min(NEIGHBOURS, len(t)))
    between = nearest(t).distance[:, 0][found.index[:, 0]]
    ratio = found.distance[:, 0] / between.clamp(min=1e-12)
    return panel(
        "Nearest to training images",
        "Most suspicious first: the distance to the nearest training image over that image's distance to its own nearest"
        " neighbour; below 1 a picture is nearer to a training image than training images are to one another.",
        ratio.argsort()[:SHOWN],
        made,
        train,
        found,
        caption=lambda i: f"{float(ratio[i]):.2f}",
    )


def panel(
    title: str,
    text: str,
    places: Tensor,
    tops: ImageSet,
    others: ImageSet,
    found: Nearest,
    caption: Callable[[int], str] | None = None,
) -> Panel:
    """A column for each place: the image, then its neighbours."""
    columns = []
    for i in places.tolist():
        pictures = tops.pick([i]) + others.pick(found.index[i].tolist())
        columns.append(column(pictures, caption(i) if caption else f"{float(found.distance[i, 0]):.3g}"))
    return Panel(title=title, text=text, columns=columns)


def worst_pairs(score: Score, made: ImageSet, real: ImageSet) -> Panel:
    """The pairs with the worst values of a paired metric."""
    values: Float64[Tensor, " n"] = torch.tensor(score.samples, dtype=torch.float64)
    undefined = set(score.card.get("undefined_places", []))
    place = [i for i in range(len(made)) if i not in undefined]  # of each value
    losses = torch.tensor([score.loss(value) for value in values.tolist()])
    order = losses.argsort(descending=True)[:SHOWN].tolist()
    made, real, _ = paired(made, real)  # as they were measured
    columns = []
    for turn in order:
        i = place[turn]
        columns.append(column([*made.pick([i]), *real.pick([i])], f"{float(values[turn]):.3g}"))
    text = f"Worst first by {score.label}. Top: made. Below: its true image."
    return Panel(title=f"Worst pairs by {score.label}", text=text, columns=columns)


def column(pictures: Sequence[Picture], caption: str) -> Column:
    """Pictures below one another, each fitted into a square; small ones keep their pixels visible."""
    tiles = torch.stack([tile(picture) for picture in pictures])
    content = encode(grid(tiles, columns=1, gap=3))
    return Column(caption=caption, picture=base64.b64encode(content).decode())


def tile(picture: Picture) -> Picture:
    """A picture as RGB in a white square."""
    image = to_pil(picture).convert("RGB")
    small = max(image.size) <= SIDE // 2
    if small:
        times = SIDE // max(image.size)
        image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    return from_pil(ImageOps.pad(image, (SIDE, SIDE), color="white") if not small else padded(image), 3)


def padded(image: Image.Image) -> Image.Image:
    """An image in the middle of a white square."""
    square = Image.new("RGB", (SIDE, SIDE), "white")
    square.paste(image, ((SIDE - image.width) // 2, (SIDE - image.height) // 2))
    return square
