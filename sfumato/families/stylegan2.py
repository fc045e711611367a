"""StyleGAN2 (Karras et al., 2020): weights that hear the style, no growing, lazy penalties, even paths."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from sfumato.families.adversaries import Adversaries
from sfumato.families.style import Style, StyleConfig
from sfumato.families.style_adversaries import Styled2
from sfumato.kinds import choice


class StyleGAN2(Style):
    """G(z) = paint(f(z)) with modulated convolutions, against a residual critic, lazy penalties and path length.

    Reference: Karras et al. (2020), Analyzing and improving the image quality of StyleGAN.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = StyleGAN2(StyleGAN2.Config(width=8), DataSpec(channels=1, size=8))
        >>> tuple(model.sample(2, rng=stream(0, "sample")).shape)
        (2, 1, 8, 8)
    """

    class Config(StyleConfig):
        kind: Literal["stylegan2"] = "stylegan2"
        network: Annotated[Any, choice(Adversaries, "stylegan2")] = Styled2.Config()
        """stylegan2, skip or residual."""
        mixing: float = Field(default=0.9, ge=0.0, le=1.0)
        """Share of made images that hear a second code from a random layer on; StyleGAN2-ADA has none at 32 pixels."""
        path_length: float = Field(default=2.0, ge=0.0)
        """Weight of the path length's distance from its mean, on each fourth turn; StyleGAN2-ADA has none at 32 pixels."""

    def build(self) -> None:
        """Both networks."""
        self.connect_styles()
