"""StyleGAN3 (Karras et al., 2021): a generator without aliases, whose details move with what they belong to."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from sfumato.families.adversaries import Adversaries
from sfumato.families.style import Style, StyleConfig
from sfumato.families.style_adversaries import Styled3
from sfumato.kinds import choice


class StyleGAN3(Style):
    """G(z) = paint(f(z)) of plane waves and filtered layers, against StyleGAN2's critic with lazy penalties.

    R is without the blur that its paper gives the critic's images at the beginning.
    Reference: Karras et al. (2021), Alias-free generative adversarial networks.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = StyleGAN3(StyleGAN3.Config(width=8), DataSpec(channels=1, size=8))
        >>> tuple(model.sample(2, rng=stream(0, "sample")).shape)
        (2, 1, 8, 8)
    """

    class Config(StyleConfig):
        kind: Literal["stylegan3"] = "stylegan3"
        network: Annotated[Any, choice(Adversaries, "stylegan3")] = Styled3.Config()
        """stylegan3, T or R."""

    def build(self) -> None:
        """Both networks."""
        self.connect_styles()
