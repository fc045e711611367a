"""DiffuseVAE: a diffusion that refines the blurred pictures of a trained autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from sfumato.config import Strict
from sfumato.errors import ConfigError
from sfumato.families.abilities import Decodes, Encodes
from sfumato.families.base import Batch, Family, Objective, Player, Stage, Terms
from sfumato.families.ddpm import DDPM
from sfumato.families.diffusion import Diffusion
from sfumato.images import Images, Size
from sfumato.kinds import build, choice
from sfumato.networks.condition import NOTHING, Condition
from sfumato.streams import Rngs


class DiffuseVAE(Family):
    """x ~ p(x | decode(encode(x))) by a diffusion that sees the reconstruction; to draw, that of a vector of the prior.

    Reference: Pandey et al. (2022), DiffuseVAE: Efficient, controllable and high-fidelity generation from low-dimensional
    latents, formulation 1.
    """

    wants = {"codes": Decodes}

    class Config(Strict):
        kind: Literal["diffuse_vae"] = "diffuse_vae"
        inner: Annotated[Any, choice(Family, "ddpm")] = DDPM.Config()
        """The diffusion that refines: ddpm, edm or flow_matching, with all of its settings."""
        width: float | None = Field(default=None, gt=0)
        """Channels of its widest map, in place of its own; parity solves for it."""

    def build(self) -> None:
        """The diffusion, beside whose image a picture is seen.

        Raises: ConfigError: the part does not encode, or fits other images; the inner family is no diffusion.
        """
        codes: Any = self.codes
        if not issubclass(type(codes), Encodes) or codes.lossless or codes.spec.condition:
            raise ConfigError(
                f"codes: a {codes.config.kind} is none that was trained on generation and loses something"
            )
        if (codes.spec.channels, codes.spec.size) != (self.spec.channels, self.spec.size):
            raise ConfigError(f"codes: it is of images of {codes.spec.channels} x {codes.spec.size}, these are others")
        own = {"impose": False} | ({} if self.config.width is None else {"width": self.config.width})
        settings = self.config.inner.model_copy(update=own)
        self.inner: Family = build(settings, self.spec.model_copy(update={"condition": self.spec.channels + 1}))
        if not isinstance(self.inner, Diffusion):
            raise ConfigError(f"inner: a {settings.kind} is no diffusion; take ddpm, edm or flow_matching")

    def stages(self) -> Sequence[Stage]:
        """Those of the diffusion."""
        return self.inner.stages()

    def players(self, stage: Stage) -> Sequence[Player]:
        """Those of the diffusion, which is shown reconstructions."""
        return [
            replace(player, objectives=[replace(one, loss=self._refined(one)) for one in player.objectives])
            for player in self.inner.players(stage)
        ]

    def _refined(self, objective: Objective) -> Any:
        def loss(batch: Batch) -> Terms:
            codes: Any = self.codes
            with torch.no_grad():
                blurred = codes.picture(codes.encode(batch.x, NOTHING), NOTHING)
            return objective.loss(replace(batch, condition=Condition(beside(blurred))))

        return loss

    def deployed(self) -> Sequence[nn.Module]:
        """The diffusion and the decoder."""
        codes: Any = self.codes
        return (*self.inner.deployed(), *codes.deployed())

    def frozen(self) -> Sequence[nn.Module]:
        """The decoder."""
        codes: Any = self.codes
        return tuple(codes.deployed())

    def companions(self) -> Sequence[nn.Module]:
        """What encodes."""
        codes: Any = self.codes
        return tuple(codes.companions())

    def calls(self) -> int:
        """Those of the diffusion and of the decoder."""
        codes: Any = self.codes
        return self.inner.calls() + int(codes.calls())

    def draw(self, n: int, condition: Condition, size: Size, rng: Rngs) -> Images:
        """A picture of the autoencoder, refined."""
        codes: Any = self.codes
        return self.inner.draw(n, Condition(beside(codes.sample(n, rng=rng))), size, rng)


def beside(picture: Images) -> Float[Tensor, "B d H W"]:
    """A picture as something that is seen, of which no pixel is known."""
    return torch.cat([picture, torch.zeros_like(picture[:, :1])], 1)
