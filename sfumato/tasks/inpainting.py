"""Inpainting: y = known x, where `known` follows a mask law (paper 000, section 3.1)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from sfumato.config import Strict
from sfumato.images import Size
from sfumato.kinds import build, choice
from sfumato.streams import Rngs
from sfumato.tasks.base import Region, Task
from sfumato.tasks.masks import Box, MaskLaw
from sfumato.tasks.operators import Masking


class Inpainting(Task):
    """Some pixels are lost and have to be made; the others are given, exactly or with noise.

    Example:
        >>> import torch
        >>> from sfumato.streams import stream
        >>> task = Inpainting(Inpainting.Config(mask="centre"))
        >>> float(task.observe(torch.ones(1, 3, 8, 8), stream(0, "mask")).known.mean())
        0.75
    """

    class Config(Strict):
        kind: Literal["inpainting"] = "inpainting"
        mask: Annotated[Any, choice(MaskLaw, "box")] = Box.Config()
        """The law of the holes: box, centre, strokes, half or pixels."""
        region: Region = "unknown"
        """Where a loss looks: the unknown pixels (paper 000), the known ones, or all."""
        noise: float = Field(default=0.0, ge=0.0)
        """Standard deviation of the noise in what is given, on the scale of images (-1 to 1); then every pixel is made."""

    def __init__(self, config: Config):
        super().__init__(config)
        self.law: MaskLaw = build(config.mask)

    @property
    def name(self) -> str:
        """inpainting for the paper's box, else with the law, its share and the noise, so that a study can hold several."""
        mask = self.config.mask
        telling = [name for name in ("smallest", "largest", "fraction") if name in type(mask).model_fields]
        shares = [f"{getattr(mask, name):g}" for name in telling] if any(map(mask.changed, telling)) else []
        law = [] if isinstance(self.law, Box) and not shares else [str(mask.kind)]
        return "-".join(["inpainting", *law, *shares, *self.noise_in_name])

    def operator(self, rngs: Rngs, n: int, size: Size) -> Masking:
        """Draw a mask for each image."""
        return Masking(self.law.known(rngs, n, size))
