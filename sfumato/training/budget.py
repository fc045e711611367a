"""Budget: how much a training may spend, and how each step is made."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from sfumato.config import Strict
from sfumato.kinds import choice
from sfumato.training.averages import Average, HalfLife
from sfumato.training.precision import Precision


class Budget(Strict):
    """How much a training may spend, and how each step is made."""

    images: int = Field(default=100_000, ge=1, le=10**12)
    """Real images consumed over all players' turns; a WGAN with five critic turns sees six batches a generator step."""
    batch: int = Field(default=64, ge=1)
    """Images a turn, over all processes."""
    at_once: int | None = Field(default=None, ge=1)
    """Images in one pass; where memory is short, a batch is worked through in parts of so many. Null: all at once."""
    flip: bool = False
    """Mirror each training image with probability 1/2."""
    average: Annotated[Any, choice(Average, "half_life")] = HalfLife.Config()
    """The average of the weights that is deployed: half_life (a share of the images seen), constant or none."""
    mix_tasks: bool = True
    """Where several tasks are trained, each batch holds all of them; else each batch serves one, drawn at random."""
    moments: int = Field(default=0, ge=0, le=100)
    """Moments, at equal distances before the end, whose averaged weights are kept for validation images to choose from."""
    precision: Precision = "auto"
    """Arithmetic of the networks: float32, bfloat16, or auto: bfloat16 where the hardware has it and it is faster."""
    compile: bool | str = False
    """Use torch.compile, or name its backend: minutes to start, worth it on a GPU."""
    save_every: float = Field(default=60.0, gt=0.0)
    """Seconds between checkpoints."""
