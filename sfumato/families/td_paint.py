"""TD-Paint: a diffusion in which every pixel has its own time; known pixels are at 0 from the beginning."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from sfumato.families.abilities import Denoises, Likelihood
from sfumato.families.denoisers import DenoisingNetwork, Modern
from sfumato.families.diffusion import Diffusion, DiffusionConfig
from sfumato.kinds import choice


class TDPaint(Diffusion, Denoises, Likelihood):
    """E |x_0 - net(x_t, t)|^2 over unknown pixels, where x_t = x_0 and t = 0 at known ones, wherever these are.

    No channels are told of a condition, so it is no larger than a model of generation, and may be trained on generation beside
    (`tasks = ["inpainting", "generation"]`), as it is published. Masks and borders are all that it restores.
    Reference: Mayet et al. (2025), TD-Paint: Faster diffusion inpainting through time-aware pixel conditioning.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = TDPaint(TDPaint.Config(width=8), DataSpec(channels=1, size=(8, 12)))
        >>> tuple(model.sample(2, rng=stream(0, "sample")).shape)
        (2, 1, 8, 12)
    """

    class Config(DiffusionConfig):
        kind: Literal["td_paint"] = "td_paint"
        network: Annotated[Any, choice(DenoisingNetwork, "unet")] = Modern.Config(known="by_time")
        """unet; `known` says how it sees what is known."""
