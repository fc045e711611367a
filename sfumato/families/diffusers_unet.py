"""diffusers' UNet2DModel as a denoising network: what its folders hold runs here, and what is trained with it goes there."""

from __future__ import annotations

import inspect
from typing import Any, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from sfumato.config import Strict
from sfumato.data.base import DataSpec
from sfumato.errors import CapabilityError, ConfigError
from sfumato.families.denoisers import DenoisingNetwork
from sfumato.images import Images
from sfumato.networks.condition import Condition
from sfumato.networks.layers import rounded
from sfumato.networks.unet import level_count

GROUPS = 8  # of a group norm, where the settings name none: theirs of 32 does not divide a small network's channels


def library() -> Any:
    """The package diffusers.

    Raises: CapabilityError: it is not installed.
    """
    try:
        import diffusers
    except ImportError:
        raise CapabilityError("a network of diffusers needs the package; pip install 'sfumato[diffusers]'") from None
    return diffusers


class Indexed(nn.Module):
    """A UNet2DModel that is told our times: level k of T is its time step k - 1."""

    def __init__(self, net: nn.Module, levels: int):
        super().__init__()
        self.net, self.levels = net, levels

    def forward(self, x_t: Images, time: Float[Tensor, " B"], condition: Condition) -> Images:
        """[B, C, H, W], [B] and what is told to [B, C, H, W]."""
        step = (time.double() * self.levels - 1).clamp(min=0).float()
        out: Tensor = self.net(condition.beside(x_t), step, class_labels=condition.label).sample
        return out


class UNet2D(DenoisingNetwork):
    """UNet2DModel of diffusers (Ho et al.'s network with options), with any of its settings.

    Levels are `width` times each multiplier wide, rounded to the groups of its norms; those whose longer side is at most
    `attention` attend. What `settings` says wins, as the whole config.json of a model that was trained elsewhere.
    """

    class Config(Strict):
        kind: Literal["unet_2d"] = "unet_2d"
        multipliers: tuple[int, ...] = Field(default=(1, 2, 2), min_length=1)
        """Channels of each level, as multiples of the width."""
        blocks: int = Field(default=1, ge=1)
        """Residual blocks a level; one more on the way up."""
        attention: int = Field(default=8, ge=0)
        """Levels whose longer side is at most so many pixels attend; 0 for none."""
        levels: int = Field(default=1000, ge=2)
        """T, by which a time between 0 and 1 becomes a time step; of a folder, that of its scheduler."""
        settings: dict[str, Any] = {}
        """Further settings of UNet2DModel by their names there, as {"norm_eps": 1e-6}."""

    def network(
        self, spec: DataSpec, width: float, labels: int = 0, embedding: int | None = None, outputs: int | None = None
    ) -> nn.Module:
        """The network, with fresh weights.

        Raises: CapabilityError: diffusers is not installed. ConfigError: a setting that UNet2DModel does not know or refuses.
        """
        model, told = library().UNet2DModel, self.config.settings
        known = list(inspect.signature(model.__init__).parameters)[1:]
        if wrong := sorted(set(told) - set(known)):
            raise ConfigError(f"network.settings: UNet2DModel has no setting {wrong[0]!r}; it has {', '.join(known)}")
        groups = told.get("norm_num_groups", GROUPS)
        count = level_count(spec.size, len(self.config.multipliers), smallest=2)
        wide = [rounded(width * multiplier, groups) for multiplier in self.config.multipliers[:count]]
        attends = [max(spec.size) >> level <= self.config.attention for level in range(count)]
        settings = {
            "sample_size": spec.size[0] if spec.size[0] == spec.size[1] else spec.size,
            "in_channels": spec.channels + spec.condition,
            "out_channels": outputs or spec.channels,
            "block_out_channels": wide,
            "layers_per_block": self.config.blocks,
            "down_block_types": ["AttnDownBlock2D" if attend else "DownBlock2D" for attend in attends],
            "up_block_types": ["AttnUpBlock2D" if attend else "UpBlock2D" for attend in reversed(attends)],
            "norm_num_groups": groups,
            "num_class_embeds": labels or None,
            "time_embedding_dim": embedding,
        }
        try:
            return Indexed(model(**{**settings, **told}), self.config.levels)
        except (ValueError, TypeError, ZeroDivisionError, NotImplementedError) as error:
            raise ConfigError(f"network.settings: UNet2DModel refuses them: {error}") from None
