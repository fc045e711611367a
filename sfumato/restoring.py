"""Restore with anybody's denoiser: any network that says what a noisy image was, by any zero-shot method.

answers = sfumato.restore(network, y, mask=hole, method="diffpir", calls=50, draws=4, schedule="linear", predicts="eps")
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sfumato.config import Strict
from sfumato.data.base import DataSpec
from sfumato.errors import ConfigError, ShapeError
from sfumato.families.abilities import Denoises
from sfumato.families.diffusion import shown
from sfumato.families.predictions import Prediction
from sfumato.images import Images
from sfumato.kinds import build, parse
from sfumato.networks.condition import NOTHING, Condition
from sfumato.restorers.base import Restorer
from sfumato.restorers.zero_shot import ZeroShot
from sfumato.samplers.denoiser import Denoised, Denoiser, From, Times
from sfumato.samplers.schedules import Schedule
from sfumato.streams import stream
from sfumato.tasks.base import Observation, Operator
from sfumato.tasks.down_sampling import BlockMean
from sfumato.tasks.operators import Masking

Network = Callable[[Tensor, Tensor], Any]
Told = Literal["time", "index", "sigma"]


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
    noise: Schedule = build(parse(Schedule, schedule))
    prediction: Prediction = build(parse(Prediction, predicts))
    if told == "index" and noise.grid is None:
        raise ConfigError(
            f"told = 'index' counts the levels of a grid, which {schedule!r} has not; use 'time' or 'sigma'"
        )

    def call(x_t: Images, t: Times) -> Denoised:
        alpha, sigma = shown(noise.alpha(t), x_t), shown(noise.sigma(t), x_t)
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

    Raises: ConfigError: none or several of mask, scale and operator; no such method. ShapeError: mask and y differ in size.
    CapabilityError: the method cannot undo this operator.

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
    n, channels, rows, columns = y.shape
    if mask is not None:
        if mask.dtype != torch.bool or tuple(mask.shape[-2:]) != (rows, columns):
            raise ShapeError(
                f"a bool mask of {rows} x {columns} is needed; this is {mask.dtype} of {tuple(mask.shape)}"
            )
        known = (~mask.to(y.device)).to(y.dtype).reshape(-1, 1, rows, columns).expand(n, -1, -1, -1)
        operator, y = Masking(known), y * known
    elif scale is not None:
        operator = BlockMean(n, (rows * scale, columns * scale), scale).to(y.device)
    assert operator is not None
    config: Any = parse(Restorer, method)
    if not issubclass(config.owner, ZeroShot):
        raise ConfigError(
            f"method {config.kind!r} does not restore with a denoiser alone; take ddnm, diffpir, flower ..."
        )
    config = config if calls is None else config.owner.within(config, calls)
    used: Any = denoiser if hasattr(denoiser, "schedule") else denoiser_from(denoiser, schedule, predicts, told)
    lent: Any = Lent(used, DataSpec(channels=channels, size=operator.size), y.device)
    restorer: ZeroShot = build(config, lent)
    observation = Observation(y, operator, torch.ones_like(operator.known), noise)
    return torch.stack(
        [restorer.restore(observation, rng=stream(seed + k, "restore", device=y.device)) for k in range(draws)]
    )
