"""What a trained SinGAN does beside drawing: pictures that enter at a scale (harmonisation, editing, painting), the exemplar
made larger, and the exemplar in motion.

Reference for all: Shaham, Dekel and Michaeli (2019), SinGAN: learning a generative model from a single natural image.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from sfumato.errors import ConfigError
from sfumato.families.singan import SinGAN
from sfumato.images import Images
from sfumato.maths.clusters import k_means, nearest
from sfumato.networks.singan import enlarged, shrunk


@torch.no_grad()
def inject(
    family: SinGAN,
    picture: Images,
    scale: int,
    rng: Generator,
    *,
    mask: Float[Tensor, "1 1 H W"] | None = None,
    colours: int | None = None,
) -> Images:
    """x = G_0(... G_n(sigma_n z_n, y)), y a picture that was made as small as scale n + 1 and enlarged again: [1, C, H, W].

    What is larger than a patch of scale n stays as in the picture, what is smaller comes from the exemplar: a coarse scale
    makes a photograph of a painting, a fine one gives something pasted the looks of its surroundings. With `colours` a
    painting takes the nearest of so many colours of the exemplar first. With a `mask`, 1 where something was pasted or
    edited and 0 elsewhere, with values between at a soft border, the rest of the picture is left as it is.

    Raises: ConfigError: no picture can enter there.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> family = SinGAN(SinGAN.Config(width=2), DataSpec(channels=3, size=(16, 16)))
        >>> tuple(inject(family, torch.zeros(1, 3, 20, 24), 1, stream(0, "noise")).shape)
        (1, 3, 20, 24)
    """
    size = picture.shape[2], picture.shape[3]
    sizes = family.sizes(size)
    if not 0 <= scale < len(sizes) - 1:
        raise ConfigError(f"a picture enters at a scale from 0, the finest, to {len(sizes) - 2}; got {scale}")
    y = shrunk(picture, torch.ones_like(picture[:, :1]), sizes[scale + 1])[0]
    if colours is not None:
        palette = k_means(family.pyramid.exemplar[0].flatten(1).T, colours, rng)
        C, rows, columns = y.shape[1:]
        y = palette[nearest(y[0].flatten(1).T, palette)].T.reshape(1, C, rows, columns)
    made = enlarged(family.pyramid(family.noise(sizes[: scale + 1], rng), y), size).clamp(-1.0, 1.0)
    return made if mask is None else picture + mask * (made - picture)


@torch.no_grad()
def enlarge(family: SinGAN, factor: float) -> Images:
    """Super-resolution: the exemplar k times a little larger, each time through the finest generator, [1, C, f h, f w].

    x <- G_0(0, x enlarged by f^(1 / k)), with k such that each step is about that between two scales: what small patches look
    like next to larger ones is taken to go on beyond the finest scale.

    Raises: ConfigError: a factor that makes nothing larger.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> family = SinGAN(SinGAN.Config(width=2), DataSpec(channels=3, size=(16, 16)))
        >>> tuple(enlarge(family, 2.5).shape)
        (1, 3, 40, 40)
    """
    if factor <= 1:
        raise ConfigError(f"an enlargement is by a factor above 1; got {factor:g}")
    x = family.pyramid.exemplar
    rows, columns = x.shape[2:]
    steps = max(round(math.log(factor) / -math.log(family.config.factor)), 1)
    for k in range(1, steps + 1):
        part = factor ** (k / steps)
        x = family.pyramid([x.new_zeros(*x.shape[:2], round(rows * part), round(columns * part))], x)
    return x.clamp(-1.0, 1.0)


@torch.no_grad()
def animate(
    family: SinGAN, frames: int, rng: Generator, alpha: float = 0.1, beta: float = 0.9, first: int | None = None
) -> Float[Tensor, "T C h w"]:
    """The exemplar in motion, from itself on: a random walk of the noise at each scale, drawn back to z*.

    z_(t + 1) = alpha z* + (1 - alpha)(z_t + beta (z_t - z_(t - 1)) + (1 - beta) u_t) with u_t standard normal. A large alpha
    keeps near to the exemplar, a large beta makes motions smooth. Scales coarser than `first`, left out: none, stand still.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> family = SinGAN(SinGAN.Config(width=2), DataSpec(channels=3, size=(16, 12)))
        >>> tuple(animate(family, 3, stream(0, "walk")).shape)
        (3, 3, 16, 12)
    """
    still = family.pyramid.still()
    now, before = still, still
    moving = len(still) if first is None else first + 1
    found = []
    for _ in range(frames):
        found.append(family.pyramid(now))
        u = family.noise(family.pyramid.sizes, rng)
        ahead = [
            alpha * z + (1 - alpha) * (a + beta * (a - b) + (1 - beta) * c) if n < moving else z
            for n, (z, a, b, c) in enumerate(zip(still, now, before, u, strict=True))
        ]
        now, before = ahead, now
    return torch.cat(found).clamp(-1.0, 1.0)
