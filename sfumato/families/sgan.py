"""SGAN (Jetchev, Bergmann and Vollgraf, 2016): a GAN whose noise is a field and whose critic judges each position."""

from __future__ import annotations

from typing import Literal

from sfumato.families.spatial_gan import SpatialConfig, SpatialGAN


class SGAN(SpatialGAN):
    """x = G(z), z uniform in [-1, 1] in each channel of each cell of the plane; both networks are fully convolutional.

    Patches that lie further apart than a few cells are independent: what is regular over a larger distance is not learnt.
    Reference: Jetchev, Bergmann and Vollgraf (2016), Texture synthesis with spatial generative adversarial networks.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = SGAN(SGAN.Config(width=2), DataSpec(channels=3, size=(16, 16)))
        >>> tuple(model.sample(1, size=(20, 30), rng=stream(0, "sample")).shape)
        (1, 3, 20, 30)
    """

    class Config(SpatialConfig):
        kind: Literal["sgan"] = "sgan"

    def prepare(self) -> None:
        """Both networks, for local noise alone."""
        self.connect(shared=0, periodic=0)
