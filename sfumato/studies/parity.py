"""Parity: the settings at which a family has the wanted number of deployed parameters, found and counted, not claimed.

Two knobs: `width` sets the channels, in steps that keep groups and heads alike between families that share a network, and
`embedding`, the length of the vector that every block is told, makes up the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch

from sfumato.config import Strict
from sfumato.data.base import DataSpec
from sfumato.errors import ConfigError
from sfumato.families.base import Family, parameter_count
from sfumato.kinds import build

STEP = 1 / 8  # widths are tried on this grid; levels round at different widths, so it is finer than whole channels
FINE = 4  # embeddings are tried in multiples of this
MOST = 4096  # of either
NONE: Mapping[str, Family] = MappingProxyType({})


def deployed_parameters(config: Strict, spec: DataSpec, parts: Mapping[str, Family] = NONE) -> int:
    """The number of weights that sampling needs, counted on networks that hold no numbers."""
    with torch.device("meta"):
        return parameter_count(build(config, spec, parts).deployed())


def fit_parameters(
    config: Any, spec: DataSpec, target: int, tolerance: float, parts: Mapping[str, Family] = NONE
) -> Any:
    """The family's settings with the width, and the embedding if it has one, that come nearest to `target` parameters.

    With an embedding the width is the largest whose count stays below the target when the embedding is as long as the
    width is: that leaves families on one network with the same channels, groups and heads, and differences to the embedding.

    Raises: ConfigError: the family has no width, or the nearest count is further off than `tolerance`.

    Example:
        >>> from sfumato.families.ddpm import DDPM
        >>> spec = DataSpec(channels=3, size=32)
        >>> abs(deployed_parameters(fit_parameters(DDPM.Config(), spec, 500_000, 0.02), spec) / 500_000 - 1) < 0.02
        True
    """
    if "width" not in type(config).model_fields:
        raise ConfigError(
            f"parity turns the setting `width`, which {config.kind!r} does not have; leave parity.parameters out"
        )

    def counted(fitted: Any) -> int:
        return deployed_parameters(fitted, spec, parts)

    fine = embeds(config, counted)

    def at(width: float, embedding: int | None) -> Any:
        return config.model_copy(update={"width": width} | ({"embedding": embedding} if fine else {}))

    def coarse(step: int) -> int:
        return counted(at(step * STEP, FINE * max(round(step * STEP / FINE), 1)))

    step = first(coarse, target, round(1 / STEP), round(MOST / STEP))
    if coarse(round(MOST / STEP)) < target:
        raise ConfigError(
            f"{config.kind!r} does not reach {target:,} parameters at any sensible width; lower parity.parameters"
        )
    if fine:
        width = max(step - 1, round(1 / STEP)) * STEP
        place = first(lambda n: counted(at(width, FINE * n)), target, 1, MOST // FINE)
        candidates = [at(width, FINE * n) for n in (place - 1, place) if n > 0]
    else:
        # A rounded level can make the count step back a little, so look at a few neighbours.
        candidates = [at(near * STEP, None) for near in range(max(step - 8, round(1 / STEP)), step + 9)]
    best = min(candidates, key=lambda fitted: abs(counted(fitted) - target))
    count = counted(best)
    off = count / target - 1
    if abs(off) > tolerance:
        raise ConfigError(
            f"{config.kind!r} comes no nearer to {target:,} parameters than {count:,} ({off:+.1%}); "
            f"raise parity.tolerance above {abs(off):.3f} or change parity.parameters"
        )
    return best


def embeds(config: Any, count: Callable[[Any], int]) -> bool:
    """Whether the networks are told a vector whose length can be set."""
    if "embedding" not in type(config).model_fields:
        return False
    try:
        count(config.model_copy(update={"embedding": FINE}))
    except ConfigError:
        return False
    return True


def first(count: Callable[[int], int], target: int, low: int, high: int) -> int:
    """The smallest number in low..high whose count reaches the target, by bisection, since counts rise; else `high`."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if count(middle) >= target else (middle + 1, high)
    return low
