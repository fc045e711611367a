"""PSGAN (Bergmann, Jetchev and Vollgraf, 2017): SGAN with noise that is global, and with waves whose lengths are learnt."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sfumato.families.spatial_gan import SpatialConfig, SpatialGAN


class PSGAN(SpatialGAN):
    """x = G(z), z = cat(local noise, global noise g, sin(k_1(g) i + k_2(g) j + phi)) at cell (i, j), phi uniform a picture.

    Waves let the generator count, so that what is regular in the exemplar is regular over any distance. The global part is
    the same in all cells and tells several textures, or parts of one, from one another; with none k_1 and k_2 are weights.
    Reference: Bergmann, Jetchev and Vollgraf (2017), Learning texture manifolds with the periodic spatial GAN.

    Example:
        >>> from sfumato.data.base import DataSpec
        >>> from sfumato.streams import stream
        >>> model = PSGAN(PSGAN.Config(width=2), DataSpec(channels=3, size=(16, 16)))
        >>> tuple(model.sample(1, size=(20, 30), rng=stream(0, "sample")).shape)
        (1, 3, 20, 30)
    """

    class Config(SpatialConfig):
        kind: Literal["psgan"] = "psgan"
        global_channels: int = Field(default=0, ge=0, le=1024)
        """Channels that are the same in all cells of a picture; the paper has 60 for many textures, none for one."""
        periodic_channels: int = Field(default=3, ge=0, le=64)
        """Channels that are waves."""

    def prepare(self) -> None:
        """Both networks, for all three parts of the field."""
        self.connect(self.config.global_channels, self.config.periodic_channels)
