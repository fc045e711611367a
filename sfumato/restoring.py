"""Restore with anybody's denoiser: any network that says what a noisy image was, by any zero-shot method.

answers = sfumato.restore(network, y, mask=hole, method="diffpir", calls=50, draws=4, schedule="linear", predicts="eps")
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sfumato.config import Strict
from sfumato.data.base import DataSpec
from sfumato.errors import ConfigError, DataError, DivergedError, ShapeError
from sfumato.families.abilities import Denoises
from sfumato.families.diffusion import shown
from sfumato.families.predictions import Prediction
from sfumato.images import Images
from sfumato.kinds import build, parse
from sfumato.networks.condition import NOTHING, Condition
from sfumato.restorers.base import Restorer
from sfumato.restorers.zero_shot import ZeroShot
from sfumato.samplers.denoiser import LEAST, Denoised, Denoiser, From, Times
from sfumato.samplers.schedules import Schedule
from sfumato.streams import stream
from sfumato.tasks.base import Observation, Operator
from sfumato.tasks.down_sampling import BlockMean
from sfumato.tasks.operators import Masking

Network = Callable[[Tensor, Tensor], Any]
Told = Literal["time", "index", "sigma"]
FAR = 16.0  # beyond what measurements of images in [-1, 1] are, with much noise


class Lent(Denoises):
    """A denoiser in the place of a family."""

    kind, draws, labelled = "denoiser", True, False

    def __init__(self, denoiser: Denoiser, spec: DataSpec, device: torch.device):
        self.lent, self.spec, self.device, self.config, self.owner = denoiser, spec, device, self, type(self)

    def denoiser(self, condition: Condition = NOTHING) -> Denoiser:
        """The one that was lent."""
        return self.lent

    def labels(self, label: None, n: int, rng: Any) -> None:
        """It hears none."""


def denoiser_from(
    network: Network, schedule: str | Strict = "linear", predicts: str = "eps", told: Told = "index"
) -> Denoiser:
    """A Denoiser from a network(x_t, t), its schedule, and what it predicts: eps, x0, v or direction.

    `t` is a number an image: the time in (0, 1], the index 0 .. T - 1 of a grid (as in diffusers), or sigma / alpha. What comes
    back may be a tensor, have it as `.sample`, or begin with it.

    Raises: ConfigError: no such schedule or prediction, or an index without a grid.
    """
    if told not in get_args(Told):
        raise ConfigError(f"told = {told!r}: a network is told {', '.join(get_args(Told))}")
    noise: Schedule = build(parse(Schedule, schedule))
    prediction: Prediction = build(parse(Prediction, predicts))
    if told == "index" and noise.grid is None:
        raise ConfigError(
            f"told = 'index' counts the levels of a grid, which {schedule!r} has not; use 'time' or 'sigma'"
        )

    def call(x_t: Images, t: Times) -> Denoised:
        alpha, sigma = shown(noise.alpha(t).clamp(min=LEAST), x_t), shown(noise.sigma(t), x_t)
        heard = {"time": t, "index": t * (noise.grid or 0) - 1, "sigma": noise.sigma(t) / noise.alpha(t)}[told]
        said = network(x_t, heard.round().long() if told == "index" else heard.to(x_t.dtype))
        output = said if isinstance(said, Tensor) else getattr(said, "sample", None)
        output = said[0] if output is None else output
        return Denoised(prediction.x_0(output[:, : x_t.shape[1]], x_t, alpha, sigma))

    return From(noise, call)


def restore(
    denoiser: Network | Denoiser,
    y: Float[Tensor, "B C h w"],
    *,
    mask: Bool[Tensor, "*B H W"] | None = None,
    scale: int | None = None,
    operator: Operator | None = None,
    noise: float = 0.0,
    method: str | Strict = "ddnm",
    calls: int | None = None,
    draws: int = 1,
    schedule: str | Strict = "linear",
    predicts: str = "eps",
    told: Told = "index",
    seed: int = 0,
) -> Float[Tensor, "draws B C H W"]:
    """Several answers to y = A x + noise n, all in [-1, 1], by a zero-shot method over anybody's denoiser.

    A is a mask (True where the picture is to be made), a `scale` (y is so many times smaller than x, by the mean of blocks),
    or any `operator`. `denoiser` is a sfumato Denoiser, or a network(x_t, t) as `denoiser_from` takes them.

    Raises: ConfigError: none or several of mask, scale and operator; no such method; a number out of its range. ShapeError: y
    or the mask is not of the shape they should have. DataError: y is not of floats about -1 to 1. CapabilityError: the method
    cannot undo this operator. DivergedError: the denoiser said what is not finite.

    Example:
        >>> from sfumato.samplers.denoiser import Denoised, From
        >>> from sfumato.samplers.schedules import Cosine
        >>> plain = From(Cosine(Cosine.Config()), lambda x, t: Denoised(0.5 * x))
        >>> hole = torch.zeros(8, 8, dtype=torch.bool)
        >>> hole[2:5, 2:5] = True
        >>> restore(plain, torch.zeros(2, 3, 8, 8), mask=hole, method="flower", calls=5, draws=4).shape
        torch.Size([4, 2, 3, 8, 8])
    """
    given = [name for name, value in (("mask", mask), ("scale", scale), ("operator", operator)) if value is not None]
    if len(given) != 1:
        raise ConfigError(
            f"one of mask, scale and operator says what was measured; got {' and '.join(given) or 'none'}"
        )
    _require(y, noise, calls, draws, scale)
    n, channels, rows, columns = y.shape
    if mask is not None:
        mask = torch.as_tensor(mask, device=y.device)
        if mask.dtype != torch.bool or tuple(mask.shape) not in ((rows, columns), (n, rows, columns)):
            raise ShapeError(
                f"a mask is bool, {rows} x {columns} or {n} x {rows} x {columns}; this is {mask.dtype} of {tuple(mask.shape)}"
            )
        hole = mask.reshape(-1, 1, rows, columns).expand(n, -1, -1, -1)
        operator, y = Masking((~hole).to(y.dtype)), torch.where(hole, 0.0, y)
    elif scale is not None:
        operator = BlockMean(n, (rows * scale, columns * scale), scale).to(y.device)
    assert operator is not None
    config: Any = parse(Restorer, method)
    if not issubclass(config.owner, ZeroShot):
        raise ConfigError(
            f"method {config.kind!r} does not restore with a denoiser alone; take ddnm, diffpir, flower ..."
        )
    config = config if calls is None else config.owner.within(config, calls)
    used: Any = _denoiser(denoiser, schedule, predicts, told)
    lent: Any = Lent(used, DataSpec(channels=channels, size=operator.size), y.device)
    restorer: ZeroShot = build(config, lent)
    observation = Observation(y, operator, torch.ones_like(operator.known), noise)
    if not bool(observation.y.isfinite().all()):
        raise DataError(
            "y has numbers that are not finite where it was measured; take them out, or hide them by a mask"
        )
    made = [restorer.restore(observation, rng=stream(seed + k, "restore", device=y.device)) for k in range(draws)]
    if not all(bool(x.isfinite().all()) for x in made):
        raise DivergedError(f"{config.kind} ended in numbers that are not finite; does the denoiser say any?")
    return torch.stack(made)


def _require(y: Tensor, noise: float, calls: int | None, draws: int, scale: int | None) -> None:
    """Raises: ShapeError, DataError, ConfigError: a tensor or a number is not what it should be."""
    if y.ndim != 4:
        raise ShapeError(f"y is of {tuple(y.shape)}; give images, channels, rows and columns")
    largest = float(y.nan_to_num(0.0, 0.0, 0.0).abs().max()) if y.is_floating_point() and y.numel() else 0.0
    if not y.is_floating_point() or largest > FAR:
        told = f"{y.dtype}" if not y.is_floating_point() else f"floats up to {largest:.3g}"
        raise DataError(f"y is of {told}; images are floats from -1 to 1: take levels / 127.5 - 1")
    if not (math.isfinite(noise) and noise >= 0):
        raise ConfigError(f"noise = {noise} is no standard deviation; give 0 or more")
    for name, value, least in (("calls", calls, 1), ("draws", draws, 1), ("scale", scale, 2)):
        if value is not None and (not isinstance(value, int) or value < least):
            raise ConfigError(f"{name} = {value} is not a whole number of {least} or more")


def _denoiser(given: Any, schedule: str | Strict, predicts: str, told: Told) -> Any:
    """What was given as a Denoiser: one already, a family that is one, or a network."""
    if hasattr(given, "schedule") and callable(given):
        return given
    if isinstance(given, Denoises):
        return given.denoiser()
    if not callable(given):
        raise ConfigError(
            f"a {type(given).__name__} is no network(x_t, t) and no Denoiser; of a trained run take run.family"
        )
    return denoiser_from(given, schedule, predicts, told)
