"""Parity: the width at which a family has the wanted number of deployed parameters, found and counted, not claimed."""

from __future__ import annotations

from typing import Any

import torch

from sfumato.config import Strict
from sfumato.data.base import DataSpec
from sfumato.errors import ConfigError
from sfumato.families.base import parameter_count
from sfumato.kinds import build

STEP = 1 / 8  # widths are tried on this grid; levels round at different widths, so it is finer than whole channels


def deployed_parameters(config: Strict, spec: DataSpec) -> int:
    """The number of weights that sampling needs, counted on networks that hold no numbers."""
    with torch.device("meta"):
        return parameter_count(build(config, spec).deployed())


def fit_width(config: Any, spec: DataSpec, target: int, tolerance: float) -> Any:
    """The family's settings with the width whose deployed parameters are nearest to `target`.

    Bisection on a grid of eighths, since the count rises with the width; then the nearest of the neighbours.

    Raises: ConfigError: the family has no width, or the nearest count is further off than `tolerance`.

    Example:
        >>> from sfumato.families.ddpm import DDPM
        >>> spec = DataSpec(channels=3, size=32)
        >>> abs(deployed_parameters(fit_width(DDPM.Config(), spec, 500_000, 0.02), spec) / 500_000 - 1) < 0.02
        True
    """
    if "width" not in type(config).model_fields:
        raise ConfigError(
            f"parity turns the setting `width`, which {config.kind!r} does not have; leave parity.parameters out"
        )

    def count(step: int) -> int:
        return deployed_parameters(config.model_copy(update={"width": step * STEP}), spec)

    low, high = 8, 16
    while count(high) < target:
        low, high = high, 2 * high
        if high * STEP > 4096:
            raise ConfigError(
                f"{config.kind!r} does not reach {target:,} parameters at any sensible width; lower parity.parameters"
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) < target else (low, middle)
    # A rounded level can make the count step back a little, so look at a few neighbours too.
    best = min(range(max(low - 8, 8), high + 9), key=lambda step: abs(count(step) - target))
    off = count(best) / target - 1
    if abs(off) > tolerance:
        raise ConfigError(
            f"{config.kind!r} comes no nearer to {target:,} parameters than {count(best):,} ({off:+.1%}); "
            f"raise parity.tolerance above {abs(off):.3f} or change parity.parameters"
        )
    return config.model_copy(update={"width": best * STEP})
