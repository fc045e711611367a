"""Time two or more pieces of work in turn, A B A B ..., so that a machine whose speed drifts is fair to each."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def alternate(sides: Mapping[str, Callable[[], None]], rounds: int, warmup: int = 1) -> dict[str, float]:
    """Median seconds of each side over `rounds` turns, after `warmup` turns that do not count."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(warmup + rounds):
        for name, work in sides.items():
            start = time.perf_counter()
            work()
            if turn >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}
