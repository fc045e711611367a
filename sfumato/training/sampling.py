"""Images drawn from a finished run, many at a time and each from a stream of its own."""

from __future__ import annotations

import torch

from sfumato.errors import CapabilityError
from sfumato.images import Pixels, to_uint8
from sfumato.streams import stream
from sfumato.training.run import Run

AT_ONCE = 256  # images drawn in one call, so that a large sheet needs no more memory than a small one


def sample_pixels(run: Run, n: int, seed: int, label: int | None = None, start: int = 0) -> Pixels:
    """Images start to start + n, uint8, of one class if wanted, from a run trained on generation; image i depends on i alone.

    Raises: CapabilityError: it was only trained to restore.
    """
    free = next((task for task in run.tasks if not task.conditional), None)
    if free is None:
        names = ", ".join(task.name for task in run.tasks)
        raise CapabilityError(f"this model was trained for {names}, not for generation; use `sfumato restore`")
    device = run.family.device
    parts = []
    for first in range(start, start + n, AT_ONCE):
        rngs = [stream(seed, "sample", i, device=device) for i in range(first, min(first + AT_ONCE, start + n))]
        observation = None
        if run.spec.condition:
            blank = torch.zeros(len(rngs), run.spec.channels, *run.spec.size, device=device)
            observation = free.observe(blank, stream(seed, "mask"))
        parts.append(to_uint8(run.family.sample(len(rngs), observation=observation, label=label, rng=rngs)).cpu())
    return torch.cat(parts)
