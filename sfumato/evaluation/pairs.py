"""Pairs: metrics that compare each made image with its own true one, over two sets of images."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.data.imageset import ImageSet, Picture
from sfumato.data.matching import How, matches
from sfumato.errors import CapabilityError, DataError, ShapeError
from sfumato.evaluation import sources
from sfumato.evaluation.request import Request
from sfumato.evaluation.vectors import Watch, nobody
from sfumato.images import to_float
from sfumato.metrics.base import Metric, PairedMetric, Score
from sfumato.tasks.base import Observation
from sfumato.tasks.operators import Masking

AT_ONCE, ROOM = 64, 1 << 22  # images in one step, and their pixels; a few more steps are decoded ahead
GUESSED = {
    "number": "{} are paired by the numbers in their names, since the names differ",
    "order": "{} are paired by the order of their names, since the names differ",
}


def paired(made: ImageSet, real: ImageSet) -> tuple[ImageSet, ImageSet, How]:
    """Both sets so that image i of one belongs to image i of the other: by name, by the numbers in the names, or by order.

    Raises: DataError: another number of images, names that agree in part, or unlike subsets without common names.
    """
    one, two = (names(part) for part in (made, real))
    if len(made) != len(real):
        raise DataError(
            f"{made.name} has {len(made)} images and {real.name} {len(real)}; paired metrics need one true image for each"
        )
    common = set(one) & set(two) if made.named and real.named else set()
    for part, own in ((made, one), (real, two)):
        twice = [name for name, count in Counter(own).items() if count > 1]
        if twice:
            raise DataError(f"{part.name} has {twice[0]} more than once, with other endings; keep one of each name")
    places, how = matches(one, two)
    if common and how != "name":
        odd = sorted(set(one) - common)[0]
        raise DataError(
            f"{made.name} and {real.name} share {len(common)} of {len(made)} names, but not {odd}; name all alike"
        )
    if how == "order" and made.of != real.of:
        raise DataError(f"subsets of {made.of} and {real.of} images without common names have no pairs; leave --n out")
    if not (made.named and real.named):
        return made, real, "order"
    return made, replace(real, entries=[real.entries[place] for place in places or ()]), how


def names(images: ImageSet) -> list[str]:
    """The names of images without their endings."""
    return [str(PurePosixPath(entry.name).with_suffix("")) for entry in images.entries]


def judge(
    metric: Metric,
    request: Request,
    made: ImageSet,
    real: ImageSet,
    watch: Watch = nobody,
    device: torch.device | str = "cpu",
) -> list[Score]:
    """A paired metric over all pairs, with what the card should say of both sets.

    Raises: CapabilityError: it needs several answers to one observation, or an operator that only a task knows.
    DataError and ShapeError: the images do not fit each other.
    """
    if metric.draws > 1 or not metric.paired:
        raise CapabilityError(f"{metric.label} needs a model that answers; use it in a study, or evaluate a run")
    made, real, how = paired(made, real)
    masks, guessed = mask_set(request, made)
    at_once = max(min(AT_ONCE, ROOM // made.entries[0].decode()[0].numel()), 1)
    parts = [part.parts(at_once) for part in (made, real, masks) if part is not None]
    done, turned = 0, Turned()
    for groups in zip(*parts, strict=True):
        batch = []
        for i, entry in enumerate(groups[0][0]):
            x, y = alike(groups[0][1][i], groups[1][1][i])
            if x.shape != y.shape and getattr(metric, "same_size", True):
                sizes = [f"{part.shape[1]} x {part.shape[2]}" for part in (x, y)]
                raise ShapeError(
                    f"{entry.name} is {sizes[0]}, its true image {sizes[1]}; give --size {min(x.shape[1:])}"
                )
            mask = None if masks is None else groups[2][1][i]
            batch.append((x, y, known_of(mask, y, entry.name, request.size is not None)))
        shapes = {tuple(part.shape for part in triple) for triple in batch}
        for triples in [batch] if len(shapes) == 1 else [[triple] for triple in batch]:
            x, y, known = (torch.stack(list(part)).to(device) for part in zip(*triples, strict=True))
            if masks is not None:
                turned.see(x, y, known)
            operator = Masking(known)
            metric.update(x, y, Observation(operator.forward(to_float(y)), operator, 1.0 - known))
        done += len(batch)
        watch(metric.label, done, len(made))
    told: dict[str, Any] = {"made": made.about(), "real": real.about(), "paired_by": how}
    told |= {"masks": masks.about()} if masks is not None else {}
    warnings = [GUESSED[how].format(part) for part, how in (("images", how), ("masks", guessed)) if how in GUESSED]
    told |= {"warnings": warnings + turned.warnings()} if warnings + turned.warnings() else {}
    if isinstance(metric, PairedMetric) and not all(defined := metric.defined()):
        told["undefined_places"] = [place for place, yes in enumerate(defined) if not yes]
    return [score.model_copy(update={"card": {**score.card, **told}}) for score in metric.scores()]


def alike(x: Picture, y: Picture) -> tuple[Picture, Picture]:
    """Both with three channels where one is grey and the other is not."""
    if x.shape[0] == y.shape[0]:
        return x, y
    return x.expand(3, -1, -1), y.expand(3, -1, -1)


def mask_set(request: Request, made: ImageSet) -> tuple[ImageSet | None, How | None]:
    """The masks of the made images, in their order, and how they were found; there may be more of them than of images."""
    if request.masks is None:
        return None, None
    masks = sources.find(request.masks, None, request.on_broken, masks=True)
    places, how = matches(names(made), names(masks))
    if made.named and masks.named and places is not None and how != "order":
        return replace(masks, entries=[masks.entries[place] for place in places]), how
    _, ordered, how = paired(made, masks)
    return ordered, how


@dataclass
class Turned:
    """Whether masks look the wrong way round: what they call kept should be that of the true image, and the hole smaller."""

    kept: float = 0.0
    made: float = 0.0
    share: float = 0.0
    n: int = 0

    def see(self, x: Tensor, y: Tensor, known: Tensor) -> None:
        """Take in made and true pixels with what is known."""
        error = (x.float() - y.float()).abs().mean(1, keepdim=True)
        self.kept += float((error * known).sum())
        self.made += float((error * (1 - known)).sum())
        self.share += float((1 - known).mean((1, 2, 3)).sum())
        self.n += len(x)

    def warnings(self) -> list[str]:
        """What should be looked at."""
        share = self.share / max(self.n, 1)
        if self.n and self.made < 0.01 * self.kept:
            return [
                "the masks seem to be the wrong way round: pictures differ from their true ones where masks say kept, and "
                "agree where they say made (white); turn the masks over"
            ]
        if self.n and share > 0.5:
            return [
                f"the masks ask for {share:.0%} of the pictures (white = made); if they are the wrong way round, turn them over"
            ]
        return []


def known_of(mask: Picture | None, image: Picture, name: str, resized: bool = False) -> Tensor:
    """1 where a mask is dark, 0 where it is light: masks are white where the picture was made; all 0 without a mask.

    Where the images were resized the mask is too: a pixel is known where all of it is.

    Raises: ShapeError: the mask has another size.
    """
    if mask is None:
        return torch.zeros(1, *image.shape[1:])
    if resized and mask.shape[1:] != image.shape[1:]:
        light = (mask.float().mean(0, keepdim=True) >= 128).float()
        return (F.interpolate(light[None], image.shape[1:], mode="area")[0] == 0).float()
    if mask.shape[1:] != image.shape[1:]:
        sizes = [f"{part.shape[1]} x {part.shape[2]}" for part in (mask, image)]
        raise ShapeError(f"the mask of {name} is {sizes[0]}, the image {sizes[1]}; they must be of one size")
    return (mask.float().mean(0, keepdim=True) < 128).float()
