"""Memory: how much of it may still be taken."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def free_memory() -> int:
    """Bytes that this process may still allocate, by the system and by its own limits; much where nobody says."""
    free = 1 << 62
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            free = max(limit - pages * resource.getpagesize(), 0)
    except (ImportError, OSError, ValueError):  # another system
        pass
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = min(free, int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) * 1024)
    return free
