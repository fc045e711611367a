"""Anomalies: how odd an image is to a model of usual ones, by its likelihood, its reconstruction or a latent search."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato import display
from sfumato.errors import CapabilityError, ConfigError
from sfumato.evaluation.sources import find
from sfumato.families.abilities import Decodes, Encodes, Likelihood, Rates
from sfumato.families.base import Family
from sfumato.files import write_atomic
from sfumato.images import Images, to_float
from sfumato.maths.ranks import auroc
from sfumato.metrics.likelihood import log_prob
from sfumato.restorers.latent_search import LatentSearch
from sfumato.streams import stream
from sfumato.tasks.base import Observation
from sfumato.tasks.operators import Masking
from sfumato.training.run import Run, load

AT_ONCE = 64
Rate = Callable[[Family, Any, int], Float[Tensor, " B"]]


def by_likelihood(family: Any, pixels: Tensor, first: int) -> Float[Tensor, " B"]:
    """-log p(x) in nats: the rarer an image, the more."""
    return -log_prob(family, pixels, stream(0, "bits", first, device=family.device))


def by_reconstruction(family: Any, pixels: Tensor, first: int) -> Float[Tensor, " B"]:
    """Mean squared error of D(E(x)), on the scale -1 to 1."""
    x, condition = to_float(pixels), family.condition(None)
    return _error(family.decode(family.encode(x, condition), condition), x)


def by_search(family: Any, pixels: Tensor, first: int) -> Float[Tensor, " B"]:
    """Mean squared error of the nearest image that a latent search finds (Schlegl et al., 2017, AnoGAN)."""
    x = to_float(pixels)
    search = LatentSearch(LatentSearch.Config(), family)
    observation = Observation(x, Masking(torch.ones_like(x[:, :1])), torch.ones_like(x[:, :1]))
    rngs = [stream(0, "search", first + i, device=family.device) for i in range(len(x))]
    condition = family.condition(None)
    z = search.search(family.latent(len(x), rngs), observation, condition)
    return _error(family.decode(z, condition), x)


def _error(made: Images, x: Images) -> Float[Tensor, " B"]:
    return (made - x).double().square().flatten(1).mean(1)


def by_rating(family: Any, pixels: Tensor, first: int) -> Float[Tensor, " B"]:
    """What a family says that was made to rate images."""
    rngs = [stream(0, "rate", first + i, device=family.device) for i in range(len(pixels))]
    score: Tensor = family.rate(to_float(pixels), rngs)
    return score


WAYS: dict[str, tuple[tuple[type, ...], Rate]] = {
    "likelihood": ((Likelihood,), by_likelihood),
    "reconstruction": ((Encodes, Decodes), by_reconstruction),
    "search": ((Decodes,), by_search),
    "rating": ((Rates,), by_rating),
}


def chosen(family: Family, by: str) -> str:
    """The way that was asked for, or the first that the family has.

    Raises: ConfigError: no such way. CapabilityError: the family has not what it needs.
    """
    fits = [name for name, (needs, _) in WAYS.items() if all(isinstance(family, need) for need in needs)]
    if getattr(family, "lossless", False):
        fits.remove("reconstruction")  # which is every image itself
    if by and by not in WAYS:
        raise ConfigError(f"--by {by}: no such way; there are {', '.join(WAYS)}")
    if family.spec.condition or family.labelled:
        raise CapabilityError("a model that is told an observation or a class rates no image alone; train without")
    if not fits or (by and by not in fits):
        raise CapabilityError(
            f"a {family.config.kind} cannot rate images by {by or 'any of the ways'}; it can by: {fits}"
        )
    return by or fits[0]


def rated(run: Run, images: str, way: str, n: int | None) -> tuple[list[str], Float[Tensor, " N"]]:
    """Names and scores of images.

    Raises: ConfigError: they are not of the size that the model knows.
    """
    found, family = find(images, n, "refuse"), run.family
    names, scores = list[str](), list[Tensor]()
    shape = (family.spec.channels, *family.spec.size)
    with display.extraction_bars() as watch:
        for entries, pictures in found.parts(AT_ONCE):
            odd = next((p for p in pictures if tuple(p.shape) != shape), None)
            if odd is not None:
                raise ConfigError(
                    f"{found.name} has an image of {' x '.join(map(str, odd.shape))} (channels, rows, columns), the model "
                    f"knows {' x '.join(map(str, shape))}; bring them to the same"
                )
            with torch.no_grad():
                part = WAYS[way][1](family, torch.stack(list(pictures)).to(family.device), len(names))
            scores.append(part.cpu())
            names += [entry.name for entry in entries]
            watch(f"rating {found.name}", len(names), len(found))
    return names, torch.cat(scores)


def anomaly(
    folder: Path, images: str, by: str, odd: str | None, n: int | None, json_out: Path | None, device: str
) -> None:
    """Rate images, name the oddest, and say how well odd ones are told from usual ones where both are given."""
    run = load(folder, device)
    way = chosen(run.family, by)
    names, scores = rated(run, images, way, n)
    told: dict[str, Any] = {"by": way, "scores": dict(zip(names, scores.tolist(), strict=True))}
    order = scores.argsort(descending=True)
    for place in order[:10].tolist():
        display.say(f"{scores[place]:.4g}  {names[place]}")
    display.say(f"{len(names):,} images by {way}: {scores.mean():.4g} on average, {scores.median():.4g} in the middle")
    if odd is not None:
        other_names, other = rated(run, odd, way, n)
        told |= {"odd": dict(zip(other_names, other.tolist(), strict=True)), "auroc": auroc(scores, other)}
        display.say(f"AUROC {told['auroc']:.3f}: {len(other):,} odd against {len(scores):,} usual images")
    if json_out is not None:
        write_atomic(json_out, json.dumps(told, indent=2) + "\n")
