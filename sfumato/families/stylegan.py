"""StyleGAN (Karras, Laine and Aila, 2019): styles by AdaIN, noise, codes mixed in training, grown from small images."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from sfumato.families.adversaries import Adversaries
from sfumato.families.growth import Growth
from sfumato.families.progressive_gan import GrowingAdversarial
from sfumato.families.style import Style, StyleConfig
from sfumato.families.style_adversaries import Styled
from sfumato.kinds import choice


class StyleGAN(GrowingAdversarial, Style):
    """G(z) = paint(f(z)) against progressive GAN's critic, at each resolution in turn.

    Reference: Karras, Laine and Aila (2019), A style-based generator architecture for generative adversarial networks.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = StyleGAN(StyleGAN.Config(width=8), DataSpec(channels=1, size=8))
        >>> tuple(model.sample(2, rng=stream(0, "sample")).shape), model.painter.layers
        ((2, 1, 8, 8), 4)
    """

    grown = named = "'stylegan'"

    class Config(StyleConfig, Growth):
        kind: Literal["stylegan"] = "stylegan"
        network: Annotated[Any, choice(Adversaries, "stylegan")] = Styled.Config()
        """stylegan: other networks have no styles or do not grow."""
        mixing: float = Field(default=0.9, ge=0.0, le=1.0)
        """Share of made images that hear a second code from a random layer on."""

    def build(self) -> None:
        """Both networks with all their levels."""
        self.connect_styles()
        self.begin_growth(self.growing()[0].levels)
