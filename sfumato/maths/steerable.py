"""Steerable pyramid: a picture in bands of scale and orientation, taken in the Fourier domain, with nothing lost."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Complex, Float, Int64
from torch import Tensor


class Pyramid(NamedTuple):
    """What is finer than all bands, the bands from fine to coarse, each with its orientations, and what is coarser."""

    high: Float[Tensor, "C H W"]
    bands: list[Float[Tensor, "O C h w"]]
    low: Float[Tensor, "C h w"]


def decomposed(x: Float[Tensor, "C H W"], scales: int, orientations: int = 4) -> Pyramid:
    """b_(s, k) = F^-1[F[x] L_0 ... L_s H_s A_k]: filters of the radius r and the angle of a frequency, real bands of a torus.

    A low pass L falls from 1 to 0 in the octave that ends at the fastest frequency of the next grid, as the cosine of log2 r,
    and L^2 + H^2 = 1. A_k is proportional to (-i cos(angle - k pi / O))^(O - 1), and sum_k |A_k|^2 = 1. So the bands of a scale
    hold all that is between its two low passes, and `recomposed`, with the same filters, gives the picture back. After each
    scale the spectrum, which is 0 there, is cut to half the rows and columns, rounded up: any size has a pyramid.
    References: Simoncelli and Freeman (1995), The steerable pyramid; Portilla and Simoncelli (2000) for these filters.

    Example:
        >>> from sfumato.streams import stream
        >>> x = torch.randn(3, 21, 30, generator=stream(0, "x"))
        >>> pyramid = decomposed(x, 2)
        >>> [tuple(band.shape) for band in pyramid.bands], tuple(pyramid.low.shape)
        ([(4, 3, 21, 30), (4, 3, 11, 15)], (3, 6, 8))
        >>> torch.allclose(recomposed(pyramid), x, atol=1e-5)
        True
    """
    whole = (x.shape[1], x.shape[2])
    radius, _ = polar(whole, whole, 0, x)
    spectrum = torch.fft.fft2(x)
    high = torch.fft.ifft2(spectrum * above(radius)).real
    spectrum, bands = spectrum * below(radius), []
    for s in range(scales):
        size = (spectrum.shape[1], spectrum.shape[2])
        radius, angle = polar(size, whole, s, x)
        turned = oriented(angle, orientations) * above(2 * radius)
        bands.append(torch.fft.ifft2(spectrum * turned[:, None]).real)
        rows, columns = kept(size[0]), kept(size[1])
        share = len(rows) * len(columns) / (size[0] * size[1])
        spectrum = (spectrum * below(2 * radius))[:, rows[:, None], columns] * share
    return Pyramid(high, bands, torch.fft.ifft2(spectrum).real)


def recomposed(pyramid: Pyramid) -> Float[Tensor, "C H W"]:
    """The picture that has these bands, or where none has them, the nearest one's: the filters once more, and their sum."""
    whole = (pyramid.high.shape[1], pyramid.high.shape[2])
    spectrum = torch.fft.fft2(pyramid.low)
    for s in reversed(range(len(pyramid.bands))):
        band = pyramid.bands[s]
        size = (band.shape[2], band.shape[3])
        radius, angle = polar(size, whole, s, band)
        rows, columns = kept(size[0]), kept(size[1])
        coarse = spectrum.new_zeros(spectrum.shape[0], *size)
        coarse[:, rows[:, None], columns] = spectrum * (size[0] * size[1] / (len(rows) * len(columns)))
        turned = oriented(angle, band.shape[0]).conj() * above(2 * radius)
        spectrum = coarse * below(2 * radius) + (torch.fft.fft2(band) * turned[:, None]).sum(0)
    radius, _ = polar(whole, whole, 0, pyramid.high)
    return torch.fft.ifft2(spectrum * below(radius) + torch.fft.fft2(pyramid.high) * above(radius)).real


def polar(
    size: tuple[int, int], whole: tuple[int, int], scale: int, like: Tensor
) -> tuple[Float[Tensor, "h w"], Float[Tensor, "h w"]]:
    """Radius, pi at the fastest frequency of the grid's axes, and angle of the frequencies of a grid cut from the whole one.

    Frequencies are counted in the whole picture and doubled at each scale: exact where a side is odd.
    """
    y, x = (
        torch.fft.fftfreq(n, 1 / n, dtype=torch.float64, device=like.device) * (2 * math.pi * 2**scale / all_)
        for n, all_ in zip(size, whole, strict=True)
    )
    radius, angle = torch.hypot(y[:, None], x), torch.atan2(y[:, None], x)
    return radius.to(like.dtype), angle.to(like.dtype)


def below(radius: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """The low pass: 1 up to pi / 2, 0 from pi on."""
    return (math.pi / 2 * octave(radius)).cos()


def above(radius: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """What the low pass leaves: its square and this one's add up to 1."""
    return (math.pi / 2 * octave(radius)).sin()


def octave(radius: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """Where in the octave that ends at pi, 0 to 1."""
    return (radius / math.pi).log2().add(1).clamp(0, 1)


def oriented(angle: Float[Tensor, "h w"], orientations: int) -> Complex[Tensor, "O h w"]:
    """A_k(angle) = a (-i cos(angle - k pi / O))^(O - 1) with a such that the squares add up to 1."""
    order = orientations - 1
    turns = torch.arange(orientations, device=angle.device)[:, None, None] * (math.pi / orientations)
    scale = 2**order * math.factorial(order) / math.sqrt(orientations * math.factorial(2 * order))
    return (-1j) ** order * scale * (angle - turns).cos() ** order


def kept(length: int) -> Int64[Tensor, " m"]:
    """The places in a spectrum of the slowest frequencies, half of them rounded up.

    Example:
        >>> kept(6).tolist(), kept(7).tolist()
        ([0, 1, 5], [0, 1, 5, 6])
    """
    m = (length + 1) // 2
    return torch.cat([torch.arange((m + 1) // 2), torch.arange(length - m // 2, length)])
